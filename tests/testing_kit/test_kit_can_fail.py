"""Each thing that the kit is for, done wrong on purpose, is reported."""

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

import perdure
from perdure import Retry, action, workflow
from perdure.engine.calls.dispatcher import Dispatcher
from perdure.engine.inbox.intake import Intake
from perdure.engine.pump import Pump
from perdure.engine.runs.live import LiveRun
from perdure.engine.wakes import Wakes
from perdure.testing import Report, crash_everywhere


@action
async def fetch(n: int) -> int:
    return n


@workflow
async def three_steps() -> int:
    first = await fetch(1)
    await asyncio.sleep(10)
    return first + await fetch(2) + await fetch(3)


def problems(report: Report) -> str:
    assert not report
    return "\n".join(problem for failure in report.failures for problem in failure.problems)


# Workflows that are not deterministic.


def test_state_kept_outside_the_run_is_reported() -> None:
    seen: list[int] = []

    @workflow
    async def remembers() -> int:
        seen.append(1)
        if len(seen) % 2:
            await fetch(1)
        await asyncio.sleep(1)
        return await fetch(2)

    assert "Replay disagrees" in problems(crash_everywhere(remembers, before=seen.clear))


def test_a_clock_read_through_a_back_door_is_reported() -> None:
    ticks: Iterator[int] = count()

    @workflow
    async def looks_at_the_clock() -> int:
        await fetch(1)
        now = next(ticks)
        await asyncio.sleep(1)
        return now

    assert "is now" in problems(crash_everywhere(looks_at_the_clock))


def test_the_order_of_a_set_of_addresses_is_reported() -> None:
    class Thing:
        def __init__(self, n: int) -> None:
            self.n = n

        def __hash__(self) -> int:
            return hash((next(addresses), self.n)) % 1009

    addresses = count()

    @action
    async def weigh(n: int) -> int:
        return n

    @workflow(check="strict")
    async def in_any_order() -> list[int]:
        return [await weigh(thing.n) for thing in {Thing(n) for n in range(8)}]

    assert "Replay disagrees" in problems(crash_everywhere(in_any_order))


# Actions whose effect is doubled.


def test_an_effect_without_an_idempotency_key_is_reported() -> None:
    balance = {"now": 0}

    @action
    async def deposit(amount: int) -> None:
        balance["now"] += amount

    @workflow
    async def pays() -> None:
        await deposit(5)

    report = crash_everywhere(pays, before=lambda: balance.update(now=0), effects=lambda: dict(balance))
    assert "the effects were {'now': 5} and are now {'now': 10}" in problems(report)
    assert "before commit 2" in report.failures[0].case


def test_an_effect_with_an_idempotency_key_is_fine() -> None:
    deposits: dict[str, int] = {}

    @action
    async def deposit_once(amount: int) -> None:
        deposits[perdure.attempt().key] = amount

    @workflow
    async def pays_once() -> None:
        await deposit_once(5)

    assert crash_everywhere(pays_once, before=deposits.clear, effects=lambda: sum(deposits.values()))


# An engine that is broken.


def test_a_dispatch_before_the_commit_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    settle, advance = Pump._carry_out, Pump.advance

    def too_early(self: Pump, run: LiveRun, now_us: int) -> None:
        advance(self, run, now_us)
        settle(self, self.committer.pieces[-1])

    monkeypatch.setattr(Pump, "advance", too_early)
    assert "began before the call was durable" in problems(crash_everywhere(three_steps))


def test_a_dropped_outcome_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dispatcher, "_on_outcome", lambda self, attempt, outcome: None)
    assert "has not ended" in problems(crash_everywhere(three_steps))


def test_a_forgotten_timer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wakes, "set", lambda self, run, due_us: None)
    monkeypatch.setattr(Wakes, "note_store", lambda self, wake_us: None)
    assert "has not ended" in problems(crash_everywhere(three_steps))


def test_a_timer_that_is_forgotten_over_a_crash_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from perdure.stores.memory import MemoryStore

    async def nothing(self: MemoryStore, *args: object) -> list[object]:
        return []

    async def never(self: MemoryStore, partitions: object) -> None:
        return None

    monkeypatch.setattr(MemoryStore, "due", nothing)
    monkeypatch.setattr(MemoryStore, "next_wake_us", never)
    report = crash_everywhere(three_steps)
    assert "has not ended" in problems(report)
    assert "crash" in report.failures[0].case or "restart" in report.failures[0].case or "cold" in report.failures[0].case


def test_an_outcome_that_is_recorded_twice_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Intake, "sift", lambda self, run, arrivals: list(arrivals))
    report = crash_everywhere(three_steps)
    assert "second outcome in the journal" in problems(report)
    assert report.failures[0].case == "everything delivered twice"


def test_a_retry_that_comes_too_early_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    @action(retry=Retry(attempts=2, first="10s"))
    async def fails_once() -> int:
        if perdure.attempt().number == 1:
            raise ValueError("once")
        return 1

    @workflow
    async def impatient() -> int:
        return await fails_once()

    carry_out = Pump._carry_out

    def hasty(self: Pump, piece: object) -> None:
        carry_out(self, piece)  # type: ignore[arg-type]
        run = piece.run  # type: ignore[attr-defined]
        for call, entry in run.ledger.calls.items():
            if entry.retry_us:
                self.dispatcher.dispatch(run, call)

    monkeypatch.setattr(Pump, "_carry_out", hasty)
    assert "10.00s too early" in problems(crash_everywhere(impatient))


def test_the_smallest_case_comes_first_and_the_report_reads_well() -> None:
    made = {"count": 0}

    @action
    async def counts() -> int:
        made["count"] += 1
        return made["count"]

    @workflow
    async def counts_thrice() -> list[int]:
        return [await counts(), await counts(), await counts()]

    report = crash_everywhere(counts_thrice, before=lambda: made.update(count=0))
    sizes = [failure.size for failure in report.failures]
    assert sizes == sorted(sizes)
    text = str(report)
    assert "crash_everywhere(counts_thrice)" in text
    assert "smallest first:\n1. " in text
    assert "journal of the run:" in text


def test_of_many_cases_a_random_choice_is_tried() -> None:
    whole, some, others = (crash_everywhere(three_steps, limit=limit, seed=seed) for limit, seed in ((300, 0), (4, 1), (4, 2)))
    assert whole.cases > some.cases == others.cases == 10


def test_a_result_that_depends_on_which_action_ends_first_is_reported_when_shuffled() -> None:
    @workflow
    async def first_come() -> list[int]:
        return [await done for done in asyncio.as_completed([fetch(n) for n in range(6)])]

    assert "is now" in problems(crash_everywhere(first_come, shuffle=True))


def test_an_attempt_that_was_lost_and_is_made_again_in_silence_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dispatcher, "lost_arrivals", lambda self, run, begun: [])
    assert "began again, and the journal has no lost attempt" in problems(crash_everywhere(three_steps))
