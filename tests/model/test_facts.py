"""A journal row is JSON that comes back as the same facts, or is called corrupt."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import Raw

from perdure.model import fact as facts
from perdure.model.errors import CorruptJournal
from perdure.model.fact import AnyFact, as_json, decode_facts, encode_facts
from perdure.model.failure import Failure
from perdure.model.payload import Payload

texts = some.text(max_size=8)
counts = some.integers(-(2**62), 2**62)
plain = some.one_of(some.none(), counts, texts, some.lists(texts, max_size=2)).map(lambda value: Raw(json.dumps(value).encode()))
payloads = some.one_of(
    some.builds(Payload, json=plain),
    some.builds(Payload, codec=texts, at=counts, size=counts),
    some.builds(Payload, codec=texts, blob=texts, size=counts),
)
failures = some.builds(Failure, type=texts, message=texts, args=plain, traceback=texts, is_final=some.booleans())
some.register_type_strategy(Raw, plain)
some.register_type_strategy(Payload, payloads)
some.register_type_strategy(Failure, failures)
FACTS: tuple[Any, ...] = get_args(AnyFact)
any_fact = some.one_of(*(some.builds(kind) for kind in FACTS if kind is not facts.RunStarted), some.from_type(facts.RunStarted))


@given(some.lists(any_fact, max_size=4))
def test_facts_come_back_from_their_row(entries: list[AnyFact]) -> None:
    row = encode_facts(entries)
    assert encode_facts(decode_facts(row)) == row
    assert [type(entry) for entry in decode_facts(row)] == [type(entry) for entry in entries]
    assert [entry["fact"] for entry in json.loads(row)] == [type(entry).__name__ for entry in entries]
    assert json.loads(row) == [as_json(entry) for entry in entries]


@given(some.one_of(some.binary(max_size=60), some.text(max_size=60).map(str.encode)))
def test_bytes_that_are_no_row_are_a_corrupt_journal_and_nothing_else(row: bytes) -> None:
    try:
        entries = decode_facts(row)
    except CorruptJournal:
        return
    assert entries == []


@given(some.lists(any_fact, min_size=1, max_size=2), some.data())
def test_a_row_with_flipped_or_missing_bytes_is_read_or_called_corrupt(entries: list[AnyFact], data: some.DataObject) -> None:
    row = bytearray(encode_facts(entries))
    at = data.draw(some.integers(0, len(row) - 1))
    if data.draw(some.booleans()):
        row[at] ^= data.draw(some.integers(1, 255))
    else:
        del row[at:]
    try:
        decode_facts(bytes(row))
    except CorruptJournal as error:
        assert "The row is left as it is" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "row", [b"", b"{}", b"[1]", b'[{"fact":"Unheard"}]', b'[{"call":"1"}]', b'[{"fact":"TimerFired"}]', b"[" * 5_000, b"\xff\xfe"]
)
def test_what_is_no_list_of_known_facts_is_called_corrupt(row: bytes) -> None:
    with pytest.raises(CorruptJournal):
        decode_facts(row)
