"""Runs move between stores: everything of them, once, and open ones go on where they were."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import perdure
from perdure import Status, action, signal, workflow
from perdure.control import Export, Import
from perdure.model.errors import InvalidExport, NodeIsLive, Unsupported
from perdure.model.ids import CallName, RunId
from perdure.model.run import HELD
from perdure.ports.store import Batch, Heartbeat, RunQuery, Store
from perdure.stores.memory import MemoryStore
from perdure.stores.postgres import PostgresStore
from perdure.stores.sqlite import SqliteStore
from perdure.testing.clock import VirtualClock
from perdure.testing.conformance.harness import message, start, step
from perdure.testing.env import Environment

LARGE = b"\xff" * 100_000
go = signal("moving_go", int)


@action(name="moving_large")
async def large(count: int) -> list[bytes]:
    return [LARGE] * count


@action(name="moving_echo")
async def echo(value: int) -> int:
    return value


@workflow(name="moving_sleeps")
async def sleeps(minutes: int) -> datetime:
    await asyncio.sleep(60 * minutes)
    return perdure.now()


@workflow(name="moving_mixed")
async def mixed(value: int) -> list[Any]:
    blobs = await large(1)
    return [await echo(value), len(blobs[0]), await go.receive()]


async def exported(store: Store, **options: Any) -> tuple[list[bytes], Export]:
    export = Export(store, VirtualClock(), **options)
    return [line async for line in export.lines()], export


async def give(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


async def imported(store: Store, lines: Iterable[bytes]) -> Import:
    taking = Import(store, VirtualClock())
    await taking.read(give(lines))
    return taking


async def everything(store: Store) -> list[Any]:
    """What there is of each run, but for the partition, which each store chooses."""
    loaded = [found for row in await store.find(RunQuery(limit=100_000)) for found in await store.load([row.id])]
    for found in loaded:
        found.row.partition = 0
    return loaded


async def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    return store


@pytest.mark.covers("M22", "I8")
@pytest.mark.parametrize("product", ["sqlite", "postgres"])
async def test_all_that_belongs_to_runs_comes_over_byte_for_byte(product: str, tmp_path: Path, postgres_url: str) -> None:
    old = await opened(tmp_path / "old.db")
    new: Store = SqliteStore(tmp_path / "new.db") if product == "sqlite" else PostgresStore(postgres_url)
    await new.open()
    hash = "ab" * 32
    batch = Batch(
        starts=[
            start("a", tags=("x", "y"), state=b'{"n": 1}', reason="why\x00", version=3, base=2, wake_us=7, parent=RunId("p")),
            start("b", status=Status.COMPLETED, wake_us=None, created_us=2),
        ],
        rows=[step("a", 2, b'[{"a":1}]', b"\x00\xff"), step("a", 3, b"not json"), step("b", 1, b'[{"blob":"%s"}]' % hash.encode(), b"")],
        blobs={hash: b"\n{}\n"},
        posts=[message("a", "m1", b'{"x":1}', b"\x00"), message("a", "m2", b"")],
        heartbeats=[Heartbeat(RunId("a"), CallName("1"), 2, b"1", b"\xff")],
    )
    await old.commit(batch)
    lines, export = await exported(old, has_open=True)
    assert (export.runs, export.open_runs, export.blobs, export.left_out) == (2, 1, 1, 0)
    assert all(msgspec.json.decode(line)["perdure"] == 1 for line in lines)
    done = await imported(new, lines)
    assert (done.imported, done.open_runs, done.skipped) == (2, 1, 0)
    assert await everything(new) == await everything(old)
    assert await new.blobs([hash]) == {hash: b"\n{}\n"}
    assert [row.id for row in await new.find(RunQuery(tag="x"))] == ["a"]
    again = await imported(new, lines)
    assert (again.imported, again.skipped) == (0, 2)
    assert await everything(new) == await everything(old)
    back = MemoryStore()
    await imported(back, (await exported(new, has_open=True))[0])
    assert await everything(back) == await everything(old)
    await old.close()
    await new.close()


@pytest.mark.covers("M22")
async def test_ten_thousand_sleepers_move_and_their_overdue_timers_fire_once(tmp_path: Path) -> None:
    count, old = 10_000, MemoryStore()
    async with Environment(old) as env:
        begun = env.now
        for number in range(count):
            await env.engine.start(sleeps.options(id=f"s{number}"), 1 + number % 3)
        await env.settle()
    lines, export = await exported(old, has_open=True)
    assert export.open_runs == count
    between, new = await opened(tmp_path / "between.db"), MemoryStore()
    for taking in (await imported(between, lines), await imported(between, lines)):
        assert taking.imported + taking.skipped == count
    assert (await imported(new, (await exported(between, has_open=True))[0])).open_runs == count
    await between.close()
    async with Environment(new, start=begun + timedelta(minutes=2, seconds=30)) as env:
        await env.advance("5s")
        assert len(await new.find(RunQuery(status=Status.WAITING, limit=count))) == sum(number % 3 == 2 for number in range(count))
        await env.advance("1m")
        assert len(await new.find(RunQuery(status=Status.COMPLETED, limit=count))) == count
        for number in range(count):
            names = [entry.name async for entry in env.get(f"s{number}").journal()]
            assert names == ["RunStarted", "TimerStarted", "TimerFired", "RunCompleted"]


async def test_an_open_run_goes_on_beside_a_live_node_with_its_large_values() -> None:
    old, new = MemoryStore(), MemoryStore(partitions=4)
    async with Environment(old) as env:
        await env.start(mixed.options(id="m"), 4)
        await env.kill()
    old.break_lease()
    lines, _ = await exported(old, has_open=True)
    async with Environment(new) as env:
        taking = await imported(new, lines)
        assert taking.is_beside_node
        await env.advance("1s")
        await env.get("m").send(go, 3)
        await env.settle()
        assert await env.get("m").result() == [4, len(LARGE), 3]


async def test_a_held_run_of_a_dead_node_tells_its_next_node_that_its_attempt_was_lost() -> None:
    runs: list[int] = []

    @action(name="moving_stuck", on_lost="fail")
    async def stuck() -> None:
        runs.append(perdure.attempt().number)
        await asyncio.get_running_loop().create_future()

    @workflow(name="moving_once")
    async def once() -> str:
        try:
            await stuck()
        except perdure.errors.AttemptsLost:
            return "lost"
        return "done"

    old, new = MemoryStore(), MemoryStore()
    async with Environment(old) as env:
        await env.start(once.options(id="o"))
        await env.kill()
    old.break_lease()
    held = await old.row(RunId("o"))
    assert held is not None
    assert held.wake_us == HELD
    lines, _ = await exported(old, has_open=True)
    async with Environment(new) as env:
        await imported(new, lines)
        await env.advance("1s")
        assert await env.get("o").result() == "lost"
    assert runs == [1]


async def test_open_runs_are_left_out_unless_asked_for_and_refused_while_a_node_is_live() -> None:
    for store in (MemoryStore(), MemoryStore(partitions=4)):
        async with Environment(store) as env:
            await env.run(sleeps.options(id="ended"), 1)
            await env.start(sleeps.options(id="open"), 1)
            lines, export = await exported(store)
            assert (export.runs, export.left_out) == (1, 1)
            assert b'"open"' not in b"".join(lines)
            with pytest.raises(NodeIsLive):
                await exported(store, has_open=True)
            await env.finish(env.get("open"))
        lines, export = await exported(store, has_open=True)
        assert export.runs == 2


async def test_no_node_can_come_while_open_runs_are_exported() -> None:
    store = MemoryStore()
    await store.commit(Batch(starts=[start("a"), start("b")]))
    lines = Export(store, VirtualClock(), has_open=True).lines()
    await anext(lines)
    assert await store.take_lease("late", VirtualClock().now_us(), 1) is None
    assert len([line async for line in lines]) == 5
    assert await store.take_lease("late", VirtualClock().now_us(), 1) is not None


async def test_runs_can_be_chosen_by_status_and_definition() -> None:
    store = MemoryStore()
    await store.commit(
        Batch(starts=[start("a", status=Status.FAILED), start("b", status=Status.COMPLETED, definition="x"), start("c", definition="x")])
    )
    for options, expected in (
        ({"status": Status.FAILED}, {"a"}),
        ({"definition": "x"}, {"b"}),
        ({"definition": "x", "has_open": True}, {"b", "c"}),
    ):
        lines, _ = await exported(store, **options)
        decoded = [msgspec.json.decode(line) for line in lines]
        assert {line["id"] for line in decoded if line["kind"] == "run"} == expected


async def test_each_blob_is_written_once_however_many_runs_refer_to_it() -> None:
    store, new = MemoryStore(), MemoryStore()
    hash = "cd" * 32
    facts = b'[{"blob":"%s"}]' % hash.encode()
    ids = [f"r{number}" for number in range(50)]
    await store.commit(
        Batch(starts=[start(id, status=Status.COMPLETED) for id in ids], rows=[step(id, 1, facts) for id in ids], blobs={hash: LARGE})
    )
    lines, export = await exported(store)
    assert export.blobs == 1
    assert sum(hash.encode() in line and b'"blob"' in line[:60] for line in lines) == 1
    await imported(new, lines)
    assert await new.blobs([hash]) == {hash: LARGE}


_LINES = [
    b'{"kind":"export","perdure":1,"store":"s","at_us":1}',
    b'{"kind":"run","perdure":1,"id":"a","definition":"d","version":1,"status":"completed","created_us":1,"updated_us":1}',
    b'{"kind":"journal","perdure":1,"run":"a","number":1,"at_us":1,"facts":{"json":[]}}',
    b'{"kind":"end","perdure":1,"run":"a","rows":1}',
    b'{"kind":"total","perdure":1,"runs":1,"blobs":0}',
]


async def test_lines_written_by_hand_can_be_imported() -> None:
    store = MemoryStore()
    assert (await imported(store, _LINES)).imported == 1
    assert [row.facts for row in await store.transitions(RunId("a"), 0, 9)] == [b"[]"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (_LINES[:4], "cut off"),
        (_LINES[:3], "cut off"),
        ([*_LINES[:2], _LINES[3]], "0 of 1 journal rows"),
        ([*_LINES[:3], _LINES[4]], "0 of 1 runs are whole"),
        ([_LINES[0], _LINES[4]], "0 of 1 runs are whole"),
        ([*_LINES, _LINES[4]], "nothing follows"),
        (_LINES[1:2], "the first line"),
        ([_LINES[0], _LINES[0]], "the first line"),
        ([_LINES[0], _LINES[2]], "lies outside it"),
        ([*_LINES[:2], _LINES[1]], "begins within"),
        ([*_LINES[:4], _LINES[1]], "is there twice"),
        ([_LINES[0], b"nonsense"], "malformed"),
        ([_LINES[0], b'{"kind":"odd","perdure":1}'], "odd"),
    ],
)
async def test_what_is_no_whole_export_is_refused_with_its_line(lines: list[bytes], problem: str) -> None:
    with pytest.raises(InvalidExport, match=f"(?s)Line {len(lines)} .*{problem}"):
        await imported(MemoryStore(), lines)


async def test_an_export_of_a_later_version_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="version 2"):
        await imported(MemoryStore(), [_LINES[0].replace(b":1,", b":2,", 1)])


async def test_a_durability_that_the_store_cannot_give_becomes_its_own() -> None:
    store = MemoryStore()
    taking = await imported(store, [_LINES[0], _LINES[1].replace(b"}", b',"durability":"disk+replica"}'), *_LINES[2:]])
    row = await store.row(RunId("a"))
    assert row is not None
    assert (taking.downgraded, row.durability) == (1, None)
