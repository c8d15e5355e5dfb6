"""Attempts and outcomes over the wire and back; what a stranger sends is proved first."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import Raw, json

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.errors import ActionFailed, InvalidMessage
from perdure.model.failure import Failure, error_types, exception_of, failure_of
from perdure.model.ids import CallName, RunId
from perdure.model.payload import EMPTY_CONTENT, Content
from perdure.wire import messages
from perdure.wire.attempts import Sender, attempt_id, attempt_of, call_of, details_of, held, outcome_of, split_attempt_id, wire_outcome
from perdure.wire.encoding import decode, encode
from tests.wire import values

SENDER = Sender(namespace="shop", node="n1", lease_ms=10_000)
ID = "r#0#1~1.1"


def ended(**fields: Any) -> Outcome:
    message = decode(json.encode({"type": "outcome", "v": 1, "id": ID, "key": "r#0#1", "worker": "bash", **fields}))
    assert isinstance(message, messages.Outcome)
    return outcome_of(message)


def asked(**fields: Any) -> Attempt:
    plain = Attempt(RunId("r"), 0, CallName("1"), 1, ActionSpec("a"), (), {})
    call = decode(json.encode({**json.decode(encode(call_of(plain, SENDER, sent_us=0))), **fields}))
    assert isinstance(call, messages.Call)
    return attempt_of(call, ActionSpec("a"))


@given(values.attempts)
def test_an_attempt_comes_back_from_its_call(attempt: Attempt) -> None:
    call = decode(encode(call_of(attempt, SENDER, sent_us=5_000, version=3, definition="order")))
    assert isinstance(call, messages.Call)
    assert attempt_of(call, attempt.spec) == attempt
    assert (call.id, call.key, call.version, call.sent_ms) == (attempt_id(attempt), attempt.key, 3, 5)


@given(values.attempts)
def test_the_id_of_an_attempt_comes_apart_again(attempt: Attempt) -> None:
    assert split_attempt_id(attempt_id(attempt)) == (attempt.key, attempt.sequence, attempt.number)


@given(some.text(max_size=20) | some.from_regex(r"\A.?~[0-9²٣]*\.[0-9²٣]*\Z"))
def test_what_is_no_id_of_an_attempt_is_told_so(text: str) -> None:
    parts = split_attempt_id(text)
    assert parts is None or f"{parts[0]}~{parts[1]}.{parts[2]}" == text


@given(values.outcomes)
def test_an_outcome_comes_back_from_its_message(outcome: Outcome) -> None:
    message = decode(encode(wire_outcome(ID, outcome, worker="w")))
    assert isinstance(message, messages.Outcome)
    back = outcome_of(message)
    assert msgspec.structs.replace(back, took_us=0) == msgspec.structs.replace(outcome, took_us=0)
    assert abs(back.took_us - outcome.took_us) <= 1


@given(some.none() | values.contents)
def test_the_progress_of_an_attempt_comes_back_from_a_beat(content: Content | None) -> None:
    beat = decode(encode(messages.Beat(v=1, worker="w", attempts=[held(ID, content)], sent_ms=1)))
    assert isinstance(beat, messages.Beat)
    assert details_of(beat.attempts[0]) == content


def test_success_with_nothing_to_pass_on_has_a_status_of_its_own() -> None:
    message = wire_outcome(ID, Outcome(content=EMPTY_CONTENT), worker="w")
    assert json.decode(encode(message)) == {
        "type": "outcome",
        "v": 1,
        "id": ID,
        "key": "r#0#1",
        "worker": "w",
        "status": "empty",
        "took_ms": 0,
    }
    assert ended(status="empty").content == EMPTY_CONTENT


def test_a_pending_outcome_is_neither_data_nor_error() -> None:
    assert ended(status="pending") == Outcome()


def test_a_failure_of_our_own_worker_comes_back_whole() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise OSError(2, "gone", "a.txt") from inner
    except OSError as raised:
        raised.add_note("while packing")
        error = raised
    outcome = Outcome(failure=failure_of(error), error_types=error_types(error))
    message = decode(encode(wire_outcome(ID, outcome, worker="w")))
    assert isinstance(message, messages.Outcome)
    back = outcome_of(message)
    assert back == outcome
    assert back.failure is not None
    again = exception_of(back.failure)
    assert isinstance(again, FileNotFoundError)
    assert again.filename == "a.txt"
    assert "while packing" in again.__notes__
    assert isinstance(again.__cause__, KeyError)
    assert message.error is not None
    assert "builtins:OSError" in message.error.types


@pytest.mark.covers("F6", "I15")
def test_an_error_that_bash_writes_is_raised_as_a_failed_action() -> None:
    outcome = ended(status="error", error={"type": "Error", "message": "x"}, retry_after_ms=250)
    assert outcome == Outcome(failure=Failure("Error", "x"), error_types=("Error",), retry_after_us=250_000)
    assert outcome.failure is not None
    error = exception_of(outcome.failure)
    assert type(error) is ActionFailed
    assert str(error) == "Error: x"


def test_an_empty_error_is_an_error_all_the_same() -> None:
    assert ended(status="error", error={}) == Outcome(failure=Failure("Error"), error_types=("Error",))


def test_a_stranger_cannot_make_a_node_import_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} was imported"))
    outcome = ended(status="error", error={"type": "antigravity:Error", "message": "x"})
    assert outcome.failure is not None
    assert type(exception_of(outcome.failure)) is ActionFailed


@pytest.mark.parametrize("failure", [7, {"type": 7}, {}, [], {"type": "A", "cause": {"message": "no type"}}])
def test_a_failure_that_is_none_leaves_the_parts_beside_it(failure: object) -> None:
    outcome = ended(status="error", error={"type": "Error", "message": "x", "failure": failure})
    assert outcome.failure == Failure("Error", "x")


def test_a_final_error_stays_final_whatever_lies_beside_it() -> None:
    outcome = ended(status="error", error={"type": "E", "is_final": True, "failure": {"type": "E", "message": "m"}})
    assert outcome.failure == Failure("E", "m", is_final=True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "data"}, "'value' is missing"),
        ({"status": "error"}, "'error' is missing"),
        ({"status": "data", "value": 1, "encoding": "bytes"}, "value is not base64"),
        ({"status": "data", "value": "a", "encoding": "bytes"}, "value is not base64"),
        ({"status": "data", "value": "ü", "encoding": "bytes"}, "value is not base64"),
        ({"status": "data", "value": "AAAA", "encoding": "pickle"}, "the encoding of value is 'pickle'"),
        ({"status": "data", "value": "AAAA", "encoding": "json+" + "x" * 99}, "the encoding of value is"),
        ({"status": "data", "value": Raw(b"1e999")}, "value cannot be read: Number out of range"),
    ],
)
def test_an_outcome_that_does_not_hold_what_it_promises_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        ended(**fields)
    assert reason in caught.value.problem


def test_a_value_laid_out_over_lines_is_kept_as_one_line() -> None:
    assert ended(status="data", value=Raw(b'{\r\n "a": [1,\n 2]}')).content == Content("json", b'{"a":[1,2]}')


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": "other#0#1"}, "is not made of run, incarnation and call"),
        ({"key": "r#1"}, "is not made of run, incarnation and call"),
        ({"key": "r#²#1"}, "is not made of run, incarnation and call"),
        ({"id": "r#0#1~1.2"}, "is not made of key, sequence and attempt"),
        ({"encodings": {"0": "bytes"}}, "names the argument '0'"),
        ({"args": ["?"], "encodings": {"0": "bytes"}}, "args[0] is not base64"),
        ({"kwargs": {"x": "?"}, "encodings": {"x": "json+zlib"}}, "kwargs.x is not base64"),
        ({"details": "?", "details_encoding": "bytes"}, "details is not base64"),
        ({"args": [Raw(b"1e999")]}, "args[0] cannot be read"),
    ],
)
def test_a_call_whose_parts_disagree_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        asked(**fields)
    assert reason in caught.value.problem


def test_a_bound_further_off_than_a_message_can_say_is_none() -> None:
    forever = timedelta.max // timedelta(microseconds=1)
    attempt = Attempt(RunId("r"), 0, CallName("1"), 1, ActionSpec("a", timeout_us=forever), (), {}, end_us=forever)
    call = decode(encode(call_of(attempt, SENDER, sent_us=0)))
    assert isinstance(call, messages.Call)
    assert (call.deadline_ms, call.timeout_ms) == (None, None)
    later = decode(encode(wire_outcome(ID, Outcome(failure=Failure("E"), retry_after_us=forever), worker="w")))
    assert isinstance(later, messages.Outcome)
    assert later.retry_after_ms == messages.SPAN_MS_MAX


def test_the_timeout_of_the_call_counts_not_that_of_the_worker() -> None:
    assert asked(timeout_ms=1500).spec.timeout_us == 1_500_000
