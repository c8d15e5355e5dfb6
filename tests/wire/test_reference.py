"""What the reference tells strangers is what the code does."""

import re
from hashlib import sha256

import pytest
from msgspec import Struct, json

from perdure.model.errors import InvalidMessage
from perdure.ports.transport import DEAD, DIED_HEADER, NODES, ORIGIN_HEADER, REASON_HEADER, calls_address, worker_address
from perdure.wire import messages
from perdure.wire.avro import CONTAINER, SINGLE
from perdure.wire.encoding import decode
from perdure.wire.headers import headers_of, http_headers
from perdure.wire.tracing import trace_id
from tests.wire.files import ROOT
from tests.wire.samples import SAMPLES

PAGE = (ROOT / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")
TABLES: dict[str, type[Struct]] = {
    "Call": messages.Call,
    "Outcome": messages.Outcome,
    "Error": messages.WireError,
    "Beat": messages.Beat,
    "Announce": messages.Announce,
    "Announced action": messages.AnnouncedAction,
    "Leave": messages.Leave,
    "Cancel": messages.Cancel,
}


@pytest.mark.covers("F6", "I6")
@pytest.mark.parametrize("heading", TABLES)
def test_the_reference_names_the_fields_of_every_message(heading: str) -> None:
    section = PAGE.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    named = [name for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert named == [name for name in TABLES[heading].__struct_fields__ if name != "v"]


@pytest.mark.covers("F6")
def test_every_example_is_a_message() -> None:
    found = [decode(example.encode()) for example in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
    assert [type(message).__name__ for message in found] == ["Call", "Outcome", "Outcome", "Outcome"]


def test_the_reference_names_every_address_and_header() -> None:
    for address in (calls_address("QUEUE", "ACTION", 1).replace("v1", "vVERSION"), NODES, worker_address("WORKER"), DEAD):
        assert f"`{address}`" in PAGE
    for name in (REASON_HEADER, ORIGIN_HEADER, DIED_HEADER):
        assert f"`{name}`" in PAGE
    call = SAMPLES["call"]
    assert isinstance(call, messages.Call)
    for name in (*headers_of(call), *http_headers(headers_of(call))):
        assert f"`{name}`" in PAGE


def test_the_reference_says_how_a_trace_is_made() -> None:
    assert sha256(b"shop\0order-1").hexdigest()[:32] == trace_id("order-1", "shop")
    assert "printf 'shop\\0order-1' | sha256sum | cut -c1-32" in PAGE
    assert (CONTAINER, SINGLE) == (b"Obj\1", b"\xc3\1")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"type":"leave","v":2}', "application/json"),
        (b'{"type":"leave"}', "application/json"),
        (b"{}", "text/plain"),
        (b'{"type":"leave","v":1}', "application/json"),
    ],
)
def test_the_reasons_in_the_reference_are_those_that_are_given(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        decode(body, content_type)
    assert f"`{caught.value.problem.replace('`', chr(39))}`" in PAGE


def test_the_schemas_lie_beside_the_page() -> None:
    for kind in ("call", "cancel", "outcome", "beat", "announce", "leave"):
        assert f"(wire/{kind}.schema.json)" in PAGE
        assert json.decode((ROOT / "docs" / "reference" / "wire" / f"{kind}.schema.json").read_bytes())["title"].lower() == kind
