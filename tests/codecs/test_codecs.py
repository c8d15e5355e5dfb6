"""Each codec gives back what it was given, or says what is wrong; chains of them are read whatever is written now."""

import contextlib
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from perdure.codecs import Codec, Compression, Encryption, new_key
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidOption, InvalidValue, PayloadTooLarge, Unsupported
from perdure.model.payload import Content, packed, unpacked

KEY, OTHER = bytes(range(32)), bytes(range(100, 132))


@dataclass
class Order:
    id: UUID
    paid: datetime
    total: Decimal
    lines: dict[str, list[int | None]]


class Reversed:
    """A codec of a user's own."""

    name = "reversed"

    def encode(self, data: bytes) -> bytes | None:
        return data[::-1] if len(data) > 3 else None

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (b"", bytes),
    (b"\x00\xff" * 50_000, bytes),
    (random.Random(1).randbytes(70_000), bytes),
    ("", str),
    ("naïve – 日本 \u0000", str),
    (["a" * 5_000] * 3, list[str]),
    (2**60, int),
    (-0.5, float),
    ({"a": [1, None, {"b": True}]}, dict[str, Any]),
    (Order(UUID(int=7), datetime(2026, 11, 21, tzinfo=UTC), Decimal("10.20"), {"x": [1, None]}), Order),
    ([b"inner", b""], list[bytes]),
]
CHAINS: list[Sequence[Codec]] = [
    (),
    (Compression(bytes_min=0),),
    (Compression(),),
    (Encryption({"a": KEY}, current="a"),),
    (Compression(bytes_min=10), Encryption({"a": KEY}, current="a")),
    (Reversed(), Compression(bytes_min=10), Encryption({"a": KEY}, current="a")),
]


@pytest.mark.covers("I38")
@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "+".join(codec.name for codec in chain) or "plain")
@pytest.mark.parametrize(("value", "wanted"), VALUES, ids=lambda value: str(value)[:20])
def test_every_value_comes_back_through_every_chain_and_when_the_chain_is_switched_off(
    chain: Sequence[Codec], value: Any, wanted: Any
) -> None:
    content = Serializer(chain).encode(value)
    assert Serializer(chain).decode(content, wanted) == value
    assert Serializer((), known=chain).decode(content, wanted) == value
    assert Serializer(chain).decode(Serializer(()).encode(value), wanted) == value


@given(some.binary(max_size=3_000), some.sampled_from([Compression(bytes_min=0), Encryption({"a": KEY}, current="a")]))
def test_a_codec_gives_back_any_bytes(data: bytes, codec: Codec) -> None:
    encoded = codec.encode(data)
    assert encoded is None or codec.decode(encoded) == data


@given(some.binary(max_size=200), some.sampled_from([Compression(bytes_min=0), Encryption({"a": KEY}, current="a")]))
def test_bytes_that_no_codec_made_are_an_invalid_value_and_nothing_else(data: bytes, codec: Codec) -> None:
    # Whatever is raised beside it fails the test; bytes that happen to be good are fine.
    with contextlib.suppress(InvalidValue):
        codec.decode(data)


def test_compression_is_used_only_where_it_pays() -> None:
    codec = Compression(bytes_min=100)
    assert codec.encode(b"a" * 99) is None
    assert len(codec.encode(b"a" * 100) or b"") < 30
    assert codec.encode(random.Random(1).randbytes(1_000)) is None
    assert Serializer([codec]).encode(b"a" * 99) == Content("bytes", b"a" * 99)
    with pytest.raises(InvalidOption, match="level"):
        Compression(level=10)


def test_cut_or_changed_bytes_are_noticed() -> None:
    for codec in (Compression(bytes_min=0), Encryption({"a": KEY}, current="a")):
        encoded = codec.encode(b"secret " * 50)
        assert encoded is not None
        for broken in (encoded[:-1], b"", encoded[:-1] + bytes([encoded[-1] ^ 1])):
            with pytest.raises(InvalidValue, match="cannot be read"):
                codec.decode(broken)


def test_a_key_is_rotated_without_touching_what_was_written() -> None:
    old = Encryption({"2026-10": KEY}, current="2026-10")
    both = Encryption({"2026-10": KEY, "2026-11": OTHER}, current="2026-11")
    new = Encryption({"2026-11": OTHER}, current="2026-11")
    assert both.decode(old.encode(b"before")) == b"before"
    assert new.decode(both.encode(b"after")) == b"after"
    with pytest.raises(InvalidValue, match=r"the key '2026-10'; this engine has '2026-11'"):
        new.decode(old.encode(b"before"))
    wrong = Encryption({"2026-10": OTHER}, current="2026-10")
    with pytest.raises(InvalidValue, match="the key '2026-10' does not open it"):
        wrong.decode(old.encode(b"before"))


def test_equal_large_payloads_get_equal_bytes_and_equal_small_ones_do_not() -> None:
    codec = Encryption({"a": KEY}, current="a")
    assert codec.encode(b"yes") != codec.encode(b"yes")
    large = random.Random(1).randbytes(100_000)
    assert codec.encode(large) == codec.encode(bytes(bytearray(large)))
    assert codec.encode(large) != codec.encode(large[:-1] + b"!")
    assert codec.encode(large)[-99:] != Encryption({"a": OTHER}, current="a").encode(large)[-99:]


@pytest.mark.parametrize(
    ("keys", "current", "said"),
    [
        ({}, "a", "none"),
        ({"a": KEY}, "b", "'a'"),
        ({"a": b"short"}, "a", "5 bytes"),
        ({"": KEY}, "", "1 to 255"),
        ({"x" * 256: KEY}, "x" * 256, "1 to 255"),
    ],
)
def test_keys_that_cannot_work_are_refused_at_once(keys: dict[str, bytes], current: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        Encryption(keys, current=current)
    assert len(new_key()) == 32
    assert new_key() != new_key()


def test_without_its_package_encryption_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(Unsupported, match=r"perdure\[encryption\]"):
        Encryption({"a": KEY}, current="a")


def test_codecs_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(InvalidOption, match="two codecs named 'zlib'"):
        Serializer([Compression()], known=[Compression()])
    odd = Reversed()
    odd.name = "a+b"
    with pytest.raises(InvalidOption, match="letters"):
        Serializer([odd])


def test_a_payload_of_an_unknown_codec_names_the_codec() -> None:
    content = Serializer([Reversed()]).encode("something")
    with pytest.raises(InvalidValue, match=r"the codec 'reversed'.*known_codecs"):
        Serializer().decode(content)


def test_the_limit_counts_the_value_not_what_codecs_make_of_it() -> None:
    with pytest.raises(PayloadTooLarge, match="limit payload_bytes_max is 100"):
        Serializer([Compression(bytes_min=0)], bytes_max=100).encode(b"a" * 101)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "+".join(codec.name for codec in chain) or "plain")
def test_a_json_object_is_packed_into_one_json_text(chain: Sequence[Codec]) -> None:
    state = {"codec": "json", "data": ["x" * 5_000]}
    content = Serializer(chain).encode(state)
    assert unpacked(packed(content)) == content
    assert Serializer(chain).decode(unpacked(packed(content))) == state
