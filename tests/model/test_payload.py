"""Where a value lies, and that it is found again; what is not there is named."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import UNSET, Raw, json

from perdure.model.errors import CorruptJournal
from perdure.model.payload import Attachments, Content, Payload, content_of, digest_of

INLINE_MAX = 100

contents = some.lists(
    some.one_of(
        some.builds(Content, some.just("json"), some.one_of(some.text(max_size=150), some.integers()).map(json.encode)),
        some.builds(Content, some.sampled_from(["bytes", "json+zlib", "bytes+zlib+aes-gcm"]), some.binary(max_size=150)),
    ),
    max_size=6,
)


@given(contents)
def test_every_content_is_found_again_wherever_it_was_put(given_contents: list[Content]) -> None:
    attachments = Attachments(INLINE_MAX)
    payloads = [attachments.place(content) for content in given_contents]
    stored = [json.decode(json.encode(payload), type=Payload) for payload in payloads]
    data = None if attachments.data is None else bytes(attachments.data)
    assert [content_of(payload, data, attachments.blobs or {}) for payload in stored] == given_contents


@given(contents)
def test_equal_contents_have_equal_digests_wherever_they_lie(given_contents: list[Content]) -> None:
    attachments = Attachments(INLINE_MAX)
    payloads = [attachments.place(content) for content in given_contents]
    data = None if attachments.data is None else bytes(attachments.data)
    assert [digest_of(payload, data) for payload in payloads] == [sha256(content.data).hexdigest() for content in given_contents]


def test_json_lies_in_the_fact_bytes_beside_it_and_what_is_large_by_its_hash() -> None:
    attachments = Attachments(INLINE_MAX)
    assert attachments.place(Content("json", b'"a"')) == Payload(json=Raw(b'"a"'))
    beside = attachments.place(Content("bytes", b"x" * INLINE_MAX))
    assert (beside.json, beside.at, beside.size) == (UNSET, 0, INLINE_MAX)
    assert attachments.place(Content("bytes", b"yy")).at == INLINE_MAX
    for large in (Content("bytes", b"x" * (INLINE_MAX + 1)), Content("json", b" " * INLINE_MAX + b"1")):
        placed = attachments.place(large)
        assert (placed.blob, placed.size) == (sha256(large.data).hexdigest(), INLINE_MAX + 1)


def test_a_large_value_placed_many_times_is_one_blob() -> None:
    attachments = Attachments(INLINE_MAX)
    for _ in range(191):
        attachments.place(Content("bytes", b"x" * 1_000))
    assert attachments.data is None
    assert list((attachments.blobs or {}).values()) == [b"x" * 1_000]


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (Payload(codec="bytes", at=0, size=4), None),
        (Payload(codec="bytes", at=0, size=4), b"abc"),
        (Payload(codec="bytes", at=2, size=4), b"abcde"),
        (Payload(codec="bytes", at=-1, size=0), b"abc"),
        (Payload(codec="bytes", at=0, size=-2), b"abc"),
        (Payload(codec="bytes", blob="00ff" * 16, size=9), b"abc"),
    ],
)
def test_a_payload_whose_place_is_empty_is_a_corrupt_journal(payload: Payload, data: bytes | None) -> None:
    with pytest.raises(CorruptJournal, match=r"does not hold|not in the blob store"):
        content_of(payload, data, {})
