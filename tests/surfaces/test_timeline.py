"""The timeline: folded from facts, drawn in any width."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.cli.drawing.axis import Axis
from perdure.cli.drawing.page import ASCII, drawing_of
from perdure.insight import Entry, Kind, State, Step, Timeline, TimelineFold
from perdure.model import fact as facts
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Payload

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Payload()
REFUSED = Failure(type="builtins:ConnectionError", message="refused")


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def us(seconds: float) -> int:
    return int(at(seconds).timestamp() * 1_000_000)


def timeline(*told: tuple[float, facts.AnyFact]) -> Timeline:
    """Fold facts that were written at these seconds."""
    fold = TimelineFold()
    fold.take(Entry(1, at(0), facts.RunStarted("flow")))
    for number, (seconds, fact) in enumerate(told, start=2):
        fold.take(Entry(number, at(seconds), fact))
    return fold.timeline


def call(name: str, action: str = "crop", line: str = "src/flows.py:7") -> facts.ActionScheduled:
    return facts.ActionScheduled(CallName(name), action, line=line)


def done(name: str, attempt: int = 1) -> facts.ActionCompleted:
    return facts.ActionCompleted(CallName(name), NOTHING, attempt)


def drawn(found: Timeline, width: int = 80, until: float = 100, **options: Any) -> list[str]:
    """Draw as plain lines; the first is the axis."""
    return [line.plain for line in drawing_of(found, found.ended or at(until), width, **options)]


def test_attempts_are_told_apart_with_the_pauses_between_them() -> None:
    name = CallName("1")
    found = timeline(
        (0, call("1")),
        (2, facts.AttemptFailed(name, 1, REFUSED, us(3), took_us=2_000_000)),
        (4, facts.AttemptLost(name, 2)),
        (6, done("1", 3)),
    )
    (step,) = found.steps
    assert [(tried.number, tried.state) for tried in step.tries] == [(1, State.FAILED), (2, State.CANCELLED), (3, State.DONE)]
    assert [(tried.began, tried.ended) for tried in step.tries] == [(at(0), at(2)), (at(3), at(4)), (at(4), at(6))]
    assert (step.state, step.ended, step.attempts) == (State.DONE, at(6), 3)
    _, bar, *notes = drawn(found)
    assert "×3" in bar
    assert bar.index("✗") < bar.index("┈") < bar.index("○") < bar.rindex("━")
    assert [note.strip() for note in notes] == ["attempt 1: ConnectionError: refused", "attempt 2: its node died"]


def test_equal_errors_of_a_call_are_told_once() -> None:
    name = CallName("1")
    failures = [(float(n), facts.AttemptFailed(name, n, REFUSED, us(n))) for n in (1, 2, 3)]
    found = timeline((0, call("1")), *failures, (5, facts.ActionFailed(name, Failure("builtins:OSError", "gone"), 4)))
    assert [line.strip() for line in drawn(found)[2:]] == ["attempts 1–3: ConnectionError: refused", "✗ OSError: gone"]


def test_a_long_error_takes_three_lines_and_says_that_there_was_more() -> None:
    found = timeline((0, call("1")), (1, facts.ActionFailed(CallName("1"), Failure("builtins:OSError", "gone " * 200))))
    notes = drawn(found)[2:]
    assert len(notes) == 3
    assert notes[-1].endswith("…")


def test_an_attempt_is_as_long_as_it_took_and_not_as_it_waited() -> None:
    found = timeline((0, call("1")), (10, facts.ActionCompleted(CallName("1"), NOTHING, 1, took_us=1_000_000)))
    assert found.steps[0].tries[0].began == at(9)
    assert "·" in drawn(found)[1]


def test_branches_form_a_tree_in_the_order_of_their_beginning() -> None:
    found = timeline(
        (0, call("1", "download")),
        (1, done("1")),
        (1, call("2/1")),
        (1, call("1/1")),
        (1, call("10/1")),
        (2, done("2/1")),
        (2, call("2/2", "upload")),
        (2, call("2.1/1", "deep")),
        (3, call("2", "save")),
    )
    names = [line.split("━")[0].split("·")[0].rstrip() for line in drawn(found)[1:]]
    assert names == ["1 download", "├ 1/1 crop", "├ 2/1 crop", "│ 2/2 upload", "│ ├ 2.1/1 deep", "├ 10/1 crop", "2 save"]


def test_bars_share_one_time_axis() -> None:
    found = timeline((0, call("1")), (5, done("1")), (5, call("2")), (10, done("2")))
    _, first, second = drawn(found)
    assert first.count("━") == pytest.approx(second.count("━"), abs=1)
    assert second.index("━") == first.rindex("━") + 1


def test_a_long_wait_is_cut_so_that_the_work_stays_visible() -> None:
    week = 7 * 86_400
    told = [(0, call("1")), (5, done("1")), (5, facts.TimerStarted(CallName("2"), us(week)))]
    found = timeline(*told, (week, facts.TimerFired(CallName("2"))), (week, call("3")), (week + 5, done("3")))
    axis, first, wait, last = drawn(found, 100, until=week + 5)
    assert "≈6d 23h≈" in axis
    assert first.count("━") > 10
    assert last.count("━") > 10
    assert "╌" in wait


def test_the_few_calls_of_a_branch_are_not_folded_with_its_many_branches() -> None:
    told: list[tuple[float, facts.AnyFact]] = [(0, call(f"{n}/1")) for n in range(1, 60)]
    told += [(1, call("1", "save")), *((2, call(f"60.{n}/1")) for n in (1, 2)), *((2, call(f"{n}/1")) for n in range(61, 90))]
    told += [(3, done(f"{n}/1")) for n in (*range(1, 60), *range(61, 90))]
    told += [(3, done(name)) for name in ("1", "60.1/1", "60.2/1")]
    names = [line.partition("━")[0].partition("·")[0].rstrip() for line in drawn(timeline(*told))]
    assert "1 save" in names
    nested = drawn(timeline((0, call("60.1/1")), (0, call("60.2/1"))))
    assert [line.partition(" crop")[0] for line in nested[1:]] == ["├ ├ 60.1/1", "│ ├ 60.2/1"]


def test_a_short_pause_is_not_cut() -> None:
    found = timeline((0, call("1")), (0.01, done("1")), (3, call("2")), (3.01, done("2")))
    assert "≈" not in drawn(found, until=3.01)[0]


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=30), st.integers(12, 200))
def test_the_axis_keeps_order_and_stays_inside(instants: list[int], width: int) -> None:
    axis = Axis(instants, width)
    places = [axis.column(instant) for instant in sorted(instants)]
    assert places == sorted(places)
    assert all(0 <= place <= width + 1e-6 for place in places)
    assert len(axis.labels()) <= width


def test_waits_are_dashed_and_name_what_they_wait_for() -> None:
    found = timeline(
        (0, facts.TimerStarted(CallName("1"), us(60), "a.py:1")),
        (0, facts.SignalAwaited(CallName("2"), "approval", "a.py:2")),
        (0, facts.ChildStarted(CallName("3"), RunId("r/3"), "flow", line="a.py:3")),
        (1, facts.ActionScheduled(CallName("4"), "ask")),
        (2, facts.ActionPending(CallName("4"))),
    )
    lines = drawn(found, 100, until=10)[1:]
    assert [line.split("╌")[0].split("·")[0].strip() for line in lines] == ["1 timer 1m", "2 signal approval", "3 run flow", "4 ask"]
    assert all("▶" in line and "…" in line for line in lines)
    assert [line.rpartition(" ")[2] for line in lines[:3]] == ["a.py:1", "a.py:2", "a.py:3"]


def test_what_was_open_when_a_run_ended_ended_with_it() -> None:
    found = timeline((0, call("1")), (0, facts.TimerStarted(CallName("2"), us(60))), (3, facts.RunCancelled("enough")))
    assert [(step.state, step.ended) for step in found.steps] == [(State.CANCELLED, at(3))] * 2
    assert found.open_steps() == []


def test_an_early_signal_and_an_update_have_steps_of_their_own() -> None:
    found = timeline(
        (1, facts.SignalReceived("s", "approval", NOTHING)),
        (2, facts.SignalTaken(CallName("1"), "s", "approval")),
        (3, facts.UpdateAccepted("u", "add")),
        (4, facts.UpdateFailed("u", REFUSED)),
    )
    assert [(step.kind, step.name, step.state) for step in found.steps] == [
        (Kind.SIGNAL, "approval", State.DONE),
        (Kind.UPDATE, "add", State.FAILED),
    ]
    assert [mark.what for mark in found.marks] == ["signal"]


def test_many_branches_are_folded_but_what_failed_is_shown() -> None:
    told: list[tuple[float, facts.AnyFact]] = [(0, call(f"{n}/1")) for n in range(1, 192)]
    told += [(1, done(f"{n}/1")) for n in range(1, 192) if n != 100]
    told += [(1, facts.ActionFailed(CallName("100/1"), REFUSED))]
    found = timeline(*told)
    lines = drawn(found)
    assert len(lines) < 30
    assert any("100/1" in line for line in lines)
    folded = [line for line in lines if "⋮" in line]
    assert [line.partition(":")[0] for line in folded] == ["⋮ 93 more branches", "⋮ 88 more branches"]
    assert len(drawn(found, is_folded=False)) == 1 + 191 + 1


_names = st.lists(st.integers(1, 12), max_size=3).map(lambda parts: ".".join(map(str, parts)))
_texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "M", "Zl", "Zp"]), max_size=60).filter(str.isascii)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(_names, st.integers(1, 30), _texts, st.integers(0, 10**7), st.sampled_from(State)), max_size=40),
    st.integers(40, 200),
)
def test_no_line_is_wider_than_the_terminal(entries: list[tuple[str, int, str, int, State]], width: int) -> None:
    found = Timeline(BEGAN)
    for path, ordinal, text, seconds, state in entries:
        name = CallName(f"{path}/{ordinal}" if path else str(ordinal))
        ended = None if state in (State.OPEN, State.OUTSIDE) else at(seconds + 1)
        error = Failure("builtins:OSError", text) if state is State.FAILED else None
        found.steps.append(Step(name, path, Kind.ACTION, text.strip() or "act", at(seconds), text, ended, state, error=error))
    for line in drawn(found, width, until=10**7 + 2):
        assert len(line) <= width, line


def test_a_terminal_that_knows_only_ascii_gets_ascii() -> None:
    found = timeline(
        (0, call("1")),
        (1, facts.AttemptFailed(CallName("1"), 1, REFUSED, us(2))),
        (0, call("1/1")),
        (3, facts.ActionPending(CallName("1"))),
    )
    assert all(line.translate(ASCII).isascii() for line in drawn(found))
