"""What actions announce of their arguments, and calls that are checked by it before they leave."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import Struct, json

from perdure.deciders.code.signature import Signature
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidArguments, InvalidMessage
from perdure.model.payload import EMPTY_CONTENT, Content
from perdure.wire.checking import InputCheck, input_check
from perdure.wire.schema import input_schema, output_schema
from tests.wire import values

SERIALIZER = Serializer()


class Line(Struct):
    sku: str
    count: int = 1


class Order(Struct):
    id: int
    lines: list[Line]
    parts: "list[Order]" = []


class Custom:
    pass


strict = object()


def order(order: Order, note: str = "", *, when: datetime | None = None) -> Order:
    return order


def wide(first: int, /, second: str, *rest: float, flag: bool, **more: int) -> None: ...


def strange(a: Custom, b: "list[Custom]", c: Any, d=strict) -> Custom: ...  # type: ignore[no-untyped-def]


def picture(data: bytes, size: int = 3) -> bytes:
    return data


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    schema: dict[str, Any] = json.decode(input_schema(Signature(function).parameters))
    jsonschema_rs.meta.validate(schema)
    return schema


def check_call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    check = InputCheck("shop.order", input_schema(Signature(function).parameters))
    check.check([SERIALIZER.encode(value) for value in args], {name: SERIALIZER.encode(value) for name, value in kwargs.items()})


@pytest.mark.covers("F2")
def test_an_action_s_input_is_an_object_with_one_member_for_each_argument() -> None:
    schema = schema_of(order)
    assert schema["properties"] == {
        "order": {"$ref": "#/$defs/Order"},
        "note": {"type": "string", "default": ""},
        "when": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    }
    assert schema["required"] == ["order"]
    assert schema["additionalProperties"] is False
    assert schema["x-perdure-positions"] == ["order", "note"]
    assert set(schema["$defs"]) == {"Order", "Line"}


def test_every_kind_of_parameter_has_its_place() -> None:
    schema = schema_of(wide)
    assert schema["required"] == ["first", "second", "flag"]
    assert schema["additionalProperties"] == {"type": "integer"}
    assert schema["properties"]["rest"] == {"type": "array", "items": {"type": "number"}}
    assert schema["x-perdure-positions"] == ["first", "second"]
    assert schema["x-perdure-rest"] == "rest"
    assert schema["x-perdure-positional-only"] == ["first"]


def test_a_type_that_json_schema_cannot_tell_is_left_open() -> None:
    schema = schema_of(strange)
    assert schema["properties"] == {"a": {}, "b": {}, "c": {}, "d": {}}
    assert schema["required"] == ["a", "b", "c"]
    assert json.decode(output_schema(Custom)) == {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def test_an_action_s_output_has_a_schema_of_its_own() -> None:
    schema = json.decode(output_schema(Order))
    jsonschema_rs.meta.validate(schema)
    assert schema["$ref"] == "#/$defs/Order"
    assert jsonschema_rs.is_valid(schema, {"id": 1, "lines": [{"sku": "a"}], "parts": []})
    assert not jsonschema_rs.is_valid(schema, {"id": 1, "lines": [{}]})
    assert json.decode(output_schema(None))["type"] == "null"


def test_calls_that_the_function_takes_fit_its_schema() -> None:
    check_call(order, Order(1, [Line("a")]), "now")
    check_call(order, order=Order(1, []), when=None)
    check_call(wide, 1, "a", 0.5, 2, flag=True, other=3)
    check_call(wide, 1, second="a", flag=True)
    check_call(wide, 1, "a", flag=True, first=2)
    check_call(picture, b"\xff\x00")


@pytest.mark.covers("F2")
@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        ((), {}, '"order" is a required property'),
        (({"id": 1, "lines": [{"sku": "a"}, {"sku": 5}]},), {}, "order.lines.1.sku: the value is not of type"),
        (({"id": "SECRET", "lines": []},), {}, "order.id: the value is not of type"),
        (({"id": 1, "lines": []},), {"note": 7}, "note: the value is not of type"),
        (({"id": 1, "lines": []},), {"nope": 7}, "'nope' was unexpected"),
        (({"id": 1, "lines": []}, "a", "b"), {}, "3 positions are given, and it has 2"),
        (({"id": 1, "lines": []},), {"order": 1}, "argument 'order' is given by position and by name"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_and_the_field_named(args: tuple[Any, ...], kwargs: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        check_call(order, *args, **kwargs)
    assert str(caught.value).startswith("shop.order cannot be called with these arguments: ")
    assert named in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.covers("F2", "F6")
def test_a_stranger_s_schema_needs_no_keywords_of_ours() -> None:
    check = InputCheck("geo.lookup", b'{"type":"object","properties":{"ip":{"type":"string"},"deep":{"type":"boolean"}},"required":["ip"]}')
    check.check([Content("json", b'"::1"'), Content("json", b"true")], {})
    with pytest.raises(InvalidArguments, match="deep: the value is not of type"):
        check.check([Content("json", b'"::1"'), Content("json", b"1")], {})


@pytest.mark.parametrize("content", [Content("json+zlib", b"?"), Content("bytes+aes-gcm", b"?"), EMPTY_CONTENT])
def test_what_only_the_worker_can_read_is_left_to_it(content: Content) -> None:
    InputCheck("a", b'{"properties":{"x":{"type":"integer"}}}').check([content], {})


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (b"7", "got `int`"),
        (b"{", "truncated"),
        (b'{"type":"nope"}', "is not valid"),
        (b'{"$ref":"http://127.0.0.1:9/schema"}', "http://127.0.0.1:9/schema lies elsewhere"),
        (b'{"$ref":"file:///etc/passwd"}', "file:///etc/passwd lies elsewhere"),
        (b'{"$ref":"#/$defs/none"}', "is no JSON Schema"),
        (b'{"$schema":"http://example.org/own"}', "Unknown meta-schema"),
        (b'{"pattern":"("}', "is no JSON Schema"),
        (b'{"not":' * 900 + b"{}" + b"}" * 900, "Recursion limit"),
        (b'{"not":' * 90_000 + b"{}" + b"}" * 90_000, "is no JSON Schema"),
    ],
)
def test_an_announced_schema_that_is_none_is_refused_with_the_reason(schema: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        InputCheck("a", schema)
    assert caught.value.problem.startswith("the input_schema of 'a' is no JSON Schema: ")
    assert reason in caught.value.problem


def test_a_stranger_s_pattern_cannot_hold_up_a_node() -> None:
    check = InputCheck("a", b'{"properties":{"x":{"pattern":"(?=(a+)+$)x"}}}')
    with pytest.raises(InvalidArguments):
        check.check([Content("json", b'"' + b"a" * 60 + b'!"')], {})


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    InputCheck("a", b'{"$ref":"#"}').check([], {})


def test_without_the_extra_the_check_is_left_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    assert input_check("a", b"{}") is None


@given(
    some.recursive(
        values.trees,
        lambda inner: some.dictionaries(
            some.sampled_from(
                [
                    "type",
                    "properties",
                    "required",
                    "$ref",
                    "items",
                    "x-perdure-positions",
                    "x-perdure-rest",
                    "pattern",
                    "additionalProperties",
                ]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=8,
    ),
    some.lists(values.contents, max_size=3),
)
def test_no_schema_from_outside_raises_anything_else(schema: Any, args: list[Content]) -> None:
    try:
        check = InputCheck("a", json.encode(schema))
    except InvalidMessage:
        return
    try:
        check.check(args, {})
    except InvalidArguments:
        return
