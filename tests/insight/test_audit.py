"""The auditor finds each planted fault, and nothing in stores where none was planted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Raw, structs

import perdure
from perdure import Status, action, signal, workflow
from perdure.insight import Audit, Fault, Rule, faults_of
from perdure.model import fact as facts
from perdure.model.errors import InvalidValue
from perdure.model.fact import AnyFact, encode_facts
from perdure.model.ids import CallName, RunId
from perdure.model.message import EndChild, encode_message
from perdure.model.payload import Payload
from perdure.model.run import HELD, RunRow, Transition
from perdure.ports.store import Batch, InboxItem, Loaded, Store
from perdure.stores.memory import MemoryStore
from perdure.stores.postgres import PostgresStore
from perdure.stores.sqlite import SqliteStore
from perdure.testing.conformance.harness import message, start
from perdure.testing.env import Environment

NOTHING = Payload(json=Raw(b"null"))
CALL = CallName("1")
BEGUN = facts.RunStarted("order")
MADE = facts.ActionScheduled(CALL, "pay")
DONE = facts.ActionCompleted(CALL, NOTHING)
END = facts.RunCompleted(NOTHING)
go = signal("audit_go", int)


@asynccontextmanager
async def stores(name: str, folder: Path, url: str) -> AsyncIterator[Store]:
    store: Store = {"memory": MemoryStore, "sqlite": lambda: SqliteStore(folder / "a.db"), "postgres": lambda: PostgresStore(url)}[name]()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def audited(store: Store) -> list[Fault]:
    return [fault async for fault in Audit(store).faults()]


def row(number: int, *entries: AnyFact, data: bytes | None = None) -> Transition:
    return Transition(RunId("a"), number, 1_000 + number, encode_facts(entries), data)


def completed(**fields: int) -> RunRow:
    return start("a", status=Status.COMPLETED, wake_us=None, **fields)


def waiting(status: Status = Status.WAITING, wake_us: int | None = None) -> RunRow:
    return start("a", status=status, wake_us=wake_us)


SCENES: dict[str, tuple[Rule, RunRow, list[Transition]]] = {
    "a row is missing": (Rule.GAP, completed(), [row(1, BEGUN, MADE), row(3, DONE, END)]),
    "the first row is missing": (Rule.GAP, completed(), [row(2, BEGUN, END)]),
    "an ended run has no journal": (Rule.GAP, completed(), []),
    "facts that are none": (Rule.UNREADABLE, completed(), [Transition(RunId("a"), 1, 1, b'[{"fact":"Odd"}]')]),
    "ended, says the row alone": (Rule.STATUS, completed(), [row(1, BEGUN, facts.SignalAwaited(CALL, "x"))]),
    "ended otherwise": (Rule.STATUS, completed(), [row(1, BEGUN, facts.RunCancelled("no"))]),
    "ended, says the journal alone": (Rule.STATUS, waiting(wake_us=HELD), [row(1, BEGUN, END)]),
    "goes on after the end": (Rule.STATUS, completed(), [row(1, BEGUN, END), row(2, END)]),
    "stalled without a reason": (Rule.STATUS, waiting(Status.STALLED), [row(1, BEGUN, facts.SignalAwaited(CALL, "x"))]),
    "stalled and resumed": (Rule.STATUS, waiting(Status.STALLED), [row(1, BEGUN, facts.RunStalled("bug")), row(2, facts.RunResumed())]),
    "two outcomes": (Rule.OUTCOME, completed(), [row(1, BEGUN, MADE), row(2, DONE), row(3, DONE, END)]),
    "an outcome of nothing": (Rule.OUTCOME, completed(), [row(1, BEGUN, DONE, END)]),
    "a timer that fired twice": (
        Rule.OUTCOME,
        completed(),
        [row(1, BEGUN, facts.TimerStarted(CALL, 5)), row(2, facts.TimerFired(CALL), facts.TimerFired(CALL), END)],
    ),
    "an open call that nobody makes": (Rule.SILENT, waiting(), [row(1, BEGUN, MADE)]),
    "never begun, and no start": (Rule.SILENT, waiting(Status.RUNNING), []),
    "running, and held by nobody": (Rule.SILENT, waiting(Status.RUNNING), [row(1, BEGUN)]),
    "a child that is not there": (Rule.SILENT, waiting(), [row(1, BEGUN, facts.ChildStarted(CALL, RunId("c"), "child"))]),
    "a timer that the row forgot": (
        Rule.TIMER,
        waiting(),
        [row(1, BEGUN, facts.TimerStarted(CALL, 5), facts.SignalAwaited(CallName("2"), "x"))],
    ),
    "a timer that the row has too late": (Rule.TIMER, waiting(wake_us=6), [row(1, BEGUN, facts.TimerStarted(CALL, 5))]),
    "a retry that the row forgot": (
        Rule.TIMER,
        waiting(),
        [row(1, BEGUN, MADE, facts.AttemptFailed(CALL, 1, perdure.model.failure.failure_of(ValueError()), retry_us=9))],
    ),
    "a large value that is gone": (Rule.BLOB, completed(), [row(1, BEGUN, facts.RunCompleted(Payload(blob="ab" * 32, size=3)))]),
    "a value outside its row": (
        Rule.DATA,
        completed(),
        [row(1, BEGUN, facts.RunCompleted(Payload(codec="bytes", at=1, size=3)), data=b"abc")],
    ),
}


@pytest.mark.parametrize("name", ["memory", "sqlite", "postgres"])
async def test_each_planted_fault_is_found_in_every_store(name: str, tmp_path: Path, postgres_url: str) -> None:
    async with stores(name, tmp_path, postgres_url) as store:
        for scene, (_, run, rows) in SCENES.items():
            id = RunId(scene)
            await store.commit(Batch(starts=[structs.replace(run, id=id)], rows=[structs.replace(entry, run=id) for entry in rows]))
        found = await audited(store)
        assert {(fault.run, fault.rule) for fault in found} == {(scene, rule) for scene, (rule, _, _) in SCENES.items()}
        assert len(found) == len(SCENES)


async def test_a_child_that_ended_and_told_nobody_is_found_and_one_that_told_is_not() -> None:
    store = MemoryStore()
    child = start("c", status=Status.COMPLETED, wake_us=None)
    asked = row(1, BEGUN, facts.ChildStarted(CALL, RunId("c"), "child"))
    ended = Transition(RunId("c"), 1, 1, encode_facts([BEGUN, END]))
    await store.commit(Batch(starts=[waiting(), child], rows=[asked, ended]))
    (fault,) = await audited(store)
    assert (fault.run, fault.rule, "'c', which is completed" in fault.text) == ("a", Rule.SILENT, True)
    told = InboxItem(RunId("a"), "c#end", 1, encode_message(EndChild(1, CALL, NOTHING)))
    await store.commit(Batch(posts=[told]))
    assert await audited(store) == []


async def test_what_waits_as_it_should_is_no_fault() -> None:
    fine = [
        (waiting(), [row(1, BEGUN, facts.SignalAwaited(CALL, "x"))]),
        (waiting(), [row(1, BEGUN, MADE, facts.ActionPending(CALL))]),
        (waiting(wake_us=5), [row(1, BEGUN, facts.TimerStarted(CALL, 5))]),
        (waiting(Status.RUNNING, HELD), [row(1, BEGUN, MADE)]),
        (waiting(Status.STALLED), [row(1, BEGUN, facts.RunStalled("bug"))]),
        (waiting(), [row(1, BEGUN)]),
        (completed(base=7), [row(7, BEGUN, END)]),
    ]
    for run, rows in fine:
        assert faults_of(Loaded(run, rows, [], [])) == []
    assert faults_of(Loaded(waiting(Status.RUNNING), [], [message("a", "s", encode_message(EndChild(1, CALL)))], [])) == []


def test_two_rows_of_one_number_and_a_message_that_is_none_are_found() -> None:
    twice = Loaded(completed(), [row(1, BEGUN), row(1, BEGUN, END)], [], [])
    assert [fault.rule for fault in faults_of(twice)] == [Rule.GAP]
    odd = Loaded(waiting(), [row(1, BEGUN)], [message("a", "m", b"odd")], [])
    assert [fault.rule for fault in faults_of(odd)] == [Rule.UNREADABLE]


@action(name="audit_pay", retry=perdure.Retry(attempts=3, first="1h"))
async def pay(value: int) -> int:
    if value == 3 and perdure.attempt().number < 3:
        raise ConnectionError
    return value


@action(name="audit_ask")
async def asked() -> int:
    return perdure.pending()


@workflow(name="audit_part")
async def part(value: int) -> int:
    if value == 4:
        return await go.receive()
    if value == 5:
        raise InvalidValue("odd")
    if value == 6:
        return await asked()
    return await pay(value)


@workflow(name="audit_whole")
async def whole(count: int) -> int:
    parts = [asyncio.create_task(part(value)) for value in range(count)]
    await asyncio.sleep(3_600)
    return len(await asyncio.gather(*parts, return_exceptions=True))


@pytest.mark.parametrize("partitions", [1, 4])
async def test_nothing_is_found_at_any_time_where_runs_wait_fail_crash_and_end(partitions: int) -> None:
    async with Environment(MemoryStore(partitions=partitions)) as env:
        await env.start(whole.options(id="w"), 8)
        for _ in range(6):
            assert await audited(env.store) == []
            await env.crash()
            assert await audited(env.store) == []
            await env.advance("40m")
        audit = Audit(env.store)
        assert [fault async for fault in audit.faults()] == []
        assert audit.runs == 9
