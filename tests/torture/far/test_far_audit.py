"""The auditor of storms over workers notices each thing that could be wrong, and has nothing to say of books that are in order."""

from collections.abc import Sequence

import msgspec
import pytest

from perdure.model import fact as facts
from perdure.model.fact import AnyFact, encode_facts
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Payload
from perdure.model.run import RunRow, Status
from perdure.ports.store import Loaded, Transition
from tests.torture.far.audit import Effect, judge

ONE, TWO = CallName("1"), CallName("2")
FIRST, SECOND = "a#1#1~1.1", "a#1#2~1.2"
OURS, OTHERS = 7, 8


def payload(value: object) -> Payload:
    return Payload(json=msgspec.Raw(msgspec.json.encode(value)))


def completed(call: CallName, id: str, *, attempt: int = 1, by: int = OURS) -> AnyFact:
    return facts.ActionCompleted(call, payload({"number": 2, "attempt": id, "by": by}), attempt)


def failed(attempt: int) -> AnyFact:
    return facts.AttemptFailed(TWO, attempt, Failure("Stumbled", "over 3"), 1)


def scheduled(*calls: CallName) -> list[AnyFact]:
    return [facts.RunStarted("far_errand"), *(facts.ActionScheduled(call, "far_mark") for call in calls)]


GOOD = [*scheduled(ONE, TWO), completed(ONE, FIRST), failed(1), completed(TWO, SECOND, attempt=2), facts.RunCompleted(payload(6))]
EFFECTS = [
    Effect("begun", FIRST, 3, OURS),
    Effect("done", FIRST, 3, OURS),
    Effect("begun", "a#1#2~1.1", 3, OURS),
    Effect("begun", SECOND, 3, OURS),
    Effect("done", SECOND, 3, OURS),
]


def complaints_of(
    entries: Sequence[AnyFact] = GOOD,
    *,
    status: Status = Status.COMPLETED,
    told: Sequence[str] = ("a",),
    effects: Sequence[Effect] = EFFECTS,
) -> str:
    row = RunRow(id=RunId("a"), definition="far_errand", created_us=1, updated_us=1, status=status, base=1)
    found = Loaded(row, [Transition(row.id, 1, 1, encode_facts(entries))], [], [])
    return "\n".join(judge([found], told, effects).complaints)


def test_books_that_are_in_order_are_passed() -> None:
    assert complaints_of() == ""


@pytest.mark.parametrize("id", [FIRST, "a#1#2~1.1", SECOND])
def test_what_is_said_of_an_attempt_that_was_not_made_is_noticed(id: str) -> None:
    assert "nobody has" in complaints_of(effects=[effect for effect in EFFECTS if effect.attempt != id])


def test_a_start_that_was_acknowledged_and_is_lost_is_noticed() -> None:
    assert "b: its start was acknowledged" in complaints_of(told=["a", "b"])


def test_an_errand_that_did_not_end_well_is_noticed() -> None:
    assert "should have completed and is running" in complaints_of(GOOD[:-1], status=Status.RUNNING)


def test_a_second_outcome_of_a_call_is_noticed() -> None:
    assert "call 1 has 2 outcomes" in complaints_of([*GOOD[:-1], completed(ONE, FIRST), GOOD[-1]])


def test_an_outcome_that_another_attempt_or_worker_has_said_is_noticed() -> None:
    assert f"is what {OURS} said of {SECOND}" in complaints_of([*scheduled(ONE), completed(ONE, SECOND), GOOD[-1]])
    assert f"is what {OTHERS} said" in complaints_of([*scheduled(ONE), completed(ONE, FIRST, by=OTHERS), GOOD[-1]])


def test_an_attempt_that_ended_twice_is_noticed() -> None:
    assert "attempt 1 of call 2 ended 2 times" in complaints_of([*GOOD[:4], failed(1), *GOOD[4:]])
