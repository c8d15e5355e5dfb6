"""The same messages as Avro: they come back, older and newer readers understand each other, and no stranger's bytes or schema do harm."""

import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.schema import parse_schema
from hypothesis import given
from hypothesis import strategies as some
from msgspec import json

from perdure.model.errors import InvalidMessage
from perdure.wire.avro import SINGLE, fingerprint_of
from perdure.wire.avro_schema import schemas
from perdure.wire.encoding import AVRO, AVRO_SINGLE, decode, encode
from perdure.wire.messages import AnyWireMessage, Call, Cancel, Leave
from tests.wire import values

LEAVE = Leave(v=1, worker="w")
LEAVE_SCHEMA = {
    "type": "record",
    "name": "perdure.v1.Leave",
    "fields": [{"name": "v", "type": "long"}, {"name": "worker", "type": "string"}],
}


def container(schema: Any, record: Any, codec: str = "null", count: int = 1) -> bytes:
    out = BytesIO()
    fastavro.writer(out, schema, [record] * count, codec=codec)
    return out.getvalue()


def header(schema: Any, block: bytes) -> bytes:
    """A container whose schema no library would write by."""
    out = BytesIO()
    out.write(b"Obj\x01")
    fastavro.schemaless_writer(out, {"type": "map", "values": "bytes"}, {"avro.schema": json.encode(schema)})
    out.write(b"s" * 16)
    for number in (1, len(block)):
        fastavro.schemaless_writer(out, "long", number)
    return out.getvalue() + block + b"s" * 16


def extended(of: str, *fields: Any) -> Any:
    schema = schemas()[of]
    return {**schema, "fields": [*schema["fields"], *fields]}


@pytest.mark.covers("I6")
@given(values.all_messages, some.sampled_from([AVRO, AVRO_SINGLE]))
def test_every_message_comes_back_from_its_avro(message: AnyWireMessage, content_type: str) -> None:
    assert decode(encode(message, content_type), content_type) == message


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_schemas_are_ones_that_avro_knows(name: str) -> None:
    parse_schema(schemas()[name])
    assert [field["name"] for field in schemas()[name]["fields"]] == list(getattr(values.messages, name).__struct_fields__)


def test_the_container_is_one_that_any_avro_library_reads() -> None:
    assert list(fastavro.reader(BytesIO(encode(LEAVE, AVRO)))) == [{"v": 1, "worker": "w"}]
    assert encode(LEAVE, AVRO) == encode(LEAVE, AVRO)


def test_the_fingerprint_is_the_one_of_the_specification() -> None:
    assert int.from_bytes(bytes.fromhex(fingerprint_of("null")), "little") == 0x63DD24E7CC258F8A  # type: ignore[arg-type]
    assert encode(LEAVE, AVRO_SINGLE)[2:10].hex() == fingerprint_of(schemas()["Leave"])


@pytest.mark.covers("I6")
def test_fields_of_a_later_release_are_ignored() -> None:
    more = {"type": "array", "items": {"type": "record", "name": "More", "fields": [{"name": "x", "type": ["null", "string"]}]}}
    schema = extended("Leave", {"name": "new", "type": more}, {"name": "newer", "type": "double"})
    body = container(schema, {"v": 1, "worker": "w", "new": [{"x": "a"}, {"x": None}], "newer": 0.5})
    assert decode(body, AVRO) == LEAVE


@pytest.mark.covers("I6")
def test_fields_that_an_earlier_release_did_not_have_get_their_defaults() -> None:
    fields = [field for field in schemas()["Call"]["fields"] if "default" not in field]
    record = {"v": 1, "id": "r#0#1~1.1", "key": "r#0#1", "run": "r", "call": "1", "attempt": 1, "action": "a", "sent_ms": 1, "lease_ms": 2}
    assert decode(container({**schemas()["Call"], "fields": fields}, record), AVRO) == Call(**record)


@pytest.mark.covers("I6")
def test_a_single_object_of_an_earlier_release_is_read_by_the_schema_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {**schemas()["Cancel"], "fields": [*schemas()["Cancel"]["fields"][:2], {"name": "gone", "type": "string"}]}
    out = BytesIO()
    fastavro.schemaless_writer(out, old, {"v": 1, "attempts": ["a"], "gone": "x"})
    body = SINGLE + bytes.fromhex(fingerprint_of(old)) + out.getvalue()
    with pytest.raises(InvalidMessage, match="is not known here"):
        decode(body, AVRO)
    (tmp_path / "released").mkdir()
    (tmp_path / "released" / f"{fingerprint_of(old)}.avsc").write_bytes(json.encode(old))
    monkeypatch.setattr("perdure.wire.avro.files", lambda package: tmp_path)
    assert decode(body, AVRO) == Cancel(v=1, attempts=["a"])


@pytest.mark.covers("I6")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (container({**LEAVE_SCHEMA, "name": "perdure.v1.Hello"}, {"v": 1, "worker": "w"}), "the type is 'Hello'; known are Announce, Beat"),
        (container({**LEAVE_SCHEMA, "name": "perdure.v2.Leave"}, {"v": 1, "worker": "w"}), "the schema version known is 'perdure.v1'"),
        (container(LEAVE_SCHEMA, {"v": 2, "worker": "w"}), "the schema version is '2'; known is 1"),
        (container(LEAVE_SCHEMA, {"v": 1, "worker": ""}), "at `$.worker`"),
        (container({**LEAVE_SCHEMA, "fields": LEAVE_SCHEMA["fields"][:1]}, {"v": 1}), "No default value for field worker"),
        (container(LEAVE_SCHEMA, {"v": 1, "worker": "w"}, codec="deflate"), "its Avro codec is b'deflate'; send 'null'"),
        (container(LEAVE_SCHEMA, {"v": 1, "worker": "w"}, count=2), "exactly one record"),
        (encode(LEAVE, AVRO)[:-1], "exactly one record"),
        (encode(LEAVE, AVRO_SINGLE)[:-1], "it is not the Avro that it says it is"),
        (encode(LEAVE, AVRO_SINGLE) + b"x", "there are bytes after its Avro record"),
        (SINGLE + b"12345678" + b"\0", "(fingerprint 3132333435363738) is not known here; send a container file"),
        (b"", "neither an Avro container file nor"),
        (b'{"type":"leave","v":1,"worker":"w"}', "neither an Avro container file nor"),
        (b"\x80\x04.", "it is a Python pickle"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        decode(body, AVRO)
    assert reason in caught.value.problem


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ({"name": "x", "type": {"type": "array", "items": "null"}}, "an array of what takes no bytes"),
        (
            {"name": "x", "type": {"type": "array", "items": {"type": "record", "name": "E", "fields": []}}},
            "an array of what takes no bytes",
        ),
        ({"name": "x", "type": "perdure.v1.Leave"}, "which no message needs"),
        ({"name": "x", "type": {"type": "fixed", "name": "F", "size": 0}}, "which no message needs"),
        ({"name": "x"}, "lacks a name or a type"),
        ({"name": "x", "type": []}, "which no message needs"),
    ],
)
def test_a_schema_that_could_hold_up_its_reader_is_refused(field: Any, reason: str) -> None:
    # Two to the power of 62 entries of an array, in nine bytes.
    many = b"\x02\x02w" + b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"
    with pytest.raises(InvalidMessage) as caught:
        decode(header({**LEAVE_SCHEMA, "fields": [*LEAVE_SCHEMA["fields"], field]}, many), AVRO)
    assert reason in caught.value.problem


def test_a_schema_nested_without_end_is_refused() -> None:
    deep: Any = "string"
    for _ in range(30):
        deep = {"type": "map", "values": deep}
    with pytest.raises(InvalidMessage, match="nested more than 20 deep"):
        decode(header({**LEAVE_SCHEMA, "fields": [*LEAVE_SCHEMA["fields"], {"name": "x", "type": deep}]}, b"\x02\x02w\0"), AVRO)


def test_a_value_cannot_close_the_object_that_it_is_put_into() -> None:
    record = {"v": 1, "id": "i", "key": "k", "worker": "w", "status": "data", "value": '1,"status":"empty"'}
    fields = [field for field in schemas()["Outcome"]["fields"] if field["name"] in record]
    with pytest.raises(InvalidMessage, match="trailing characters"):
        decode(container({**schemas()["Outcome"], "fields": fields}, record), AVRO)


def test_without_the_extra_avro_is_refused_and_the_way_out_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "perdure.wire.avro", raising=False)
    monkeypatch.delattr("perdure.wire.avro", raising=False)
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(InvalidMessage, match=r"pip install perdure\[avro\]\); send application/json"):
        decode(b"Obj\x01", AVRO)


@given(
    some.sampled_from([b"Obj\x01", SINGLE, encode(LEAVE, AVRO), encode(LEAVE, AVRO)[:60], encode(LEAVE, AVRO_SINGLE)[:10]]),
    some.binary(max_size=40),
    some.integers(0, 400),
)
def test_no_bytes_from_outside_raise_anything_else(start: bytes, tail: bytes, at: int) -> None:
    for body in (start + tail, start[:at] + tail + start[at + len(tail) :]):
        with suppress(InvalidMessage):
            decode(body, AVRO)
