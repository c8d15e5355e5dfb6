"""Messages as JSON: what we write we read, and what is no message is refused by its reason."""

import pickle
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from perdure.model.errors import InvalidMessage
from perdure.wire.encoding import decode, encode
from perdure.wire.messages import AnyWireMessage, Leave
from tests.wire import values

LEAVE = b'{"type":"leave","v":1,"worker":"w"}'


@given(values.all_messages)
def test_every_message_comes_back_from_its_json(message: AnyWireMessage) -> None:
    assert decode(encode(message)) == message


@pytest.mark.covers("I6")
def test_fields_that_are_not_known_are_ignored() -> None:
    assert decode(b'{"new":{"a":[1]},"type":"leave","v":1,"worker":"w","later":null}') == Leave(v=1, worker="w")


@pytest.mark.covers("I6")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"type":"hello","v":1}', "the type is '\"hello\"'; known are announce, beat, call, cancel, leave, outcome"),
        (b'{"type":7,"v":1}', "the type is '7'"),
        (b'{"v":1,"worker":"w"}', "the field 'type' is missing"),
        (b'{"type":"leave","v":2,"worker":"w"}', "the schema version is '2'; known is 1"),
        (b'{"type":"leave","v":2,"name":"w"}', "the schema version is '2'; known is 1"),
        (b'{"type":"leave","v":true,"worker":"w"}', "the schema version is 'true'; known is 1"),
        (b'{"type":"leave","worker":"w"}', "the field 'v' is missing"),
        (b'{"type":"leave","v":1}', "missing required field `worker`"),
        (b'{"type":"leave","v":1,"worker":""}', "at `$.worker`"),
        (b'{"type":"leave","v":1,"worker":5}', "Expected `str`, got `int` - at `$.worker`"),
        (b'{"type":"outcome","v":1,"worker":"w","id":"a","key":"k","status":"maybe"}', "`$.status`"),
        (b'{"type":"beat","v":1,"worker":"w","sent_ms":99999999999999999999}', "at `$.sent_ms`"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"", "it is not JSON"),
        (b"hello", "it is not JSON"),
        (b'{"type":"leave","v":1,"worker":NaN}', "it is not JSON"),
        (b'{"type":"leave","v":1,"worker":"\xff"}', "it is not JSON"),
        (b'{"x":"\xff","type":"leave","v":1,"worker":"w"}', "it is not JSON"),
        (b'{"type":"leave","v":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "it is not JSON"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        decode(body)
    assert reason in caught.value.problem


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_a_body_of_another_content_type_is_refused_and_the_right_one_named(content_type: str) -> None:
    with pytest.raises(InvalidMessage, match=r"the content type is .*; send application/json"):
        decode(LEAVE, content_type)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_the_content_type_may_carry_parameters(content_type: str) -> None:
    assert decode(LEAVE, content_type) == Leave(v=1, worker="w")


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the pickle was loaded",)


@pytest.mark.covers("F6")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_by_name_and_never_loaded(protocol: int) -> None:
    with pytest.raises(InvalidMessage, match="it is a Python pickle, which is never loaded"):
        decode(pickle.dumps(Trap(), protocol))


@pytest.mark.covers("F6")
@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/python-pickle", "application/x-pickle"])
def test_the_content_type_of_pickles_is_refused_whatever_it_holds(content_type: str) -> None:
    with pytest.raises(InvalidMessage, match="it is a Python pickle"):
        decode(LEAVE, content_type)


@given(some.binary(max_size=60) | some.binary(max_size=20).map(lambda tail: LEAVE[:-1] + tail))
def test_no_bytes_from_outside_raise_anything_else(body: bytes) -> None:
    with suppress(InvalidMessage):
        decode(body)
