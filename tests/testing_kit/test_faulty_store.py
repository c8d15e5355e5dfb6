"""Faults of the store, one by one: what the engine does with a commit that fails, hangs, or is never answered."""

import asyncio

import pytest

import perdure
from perdure import action, workflow
from perdure.model.errors import StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.store import Batch
from perdure.testing import Environment, FaultyStore


@action(name="faults.count_up")
async def count_up(n: int) -> int:
    return n + 1


@workflow(name="faults.counting")
async def counting(steps: int) -> int:
    value = 0
    for _ in range(steps):
        perdure.publish(value=value)
        value = await count_up(value)
    return value


async def footprint(store: FaultyStore, run: str) -> tuple[object, ...]:
    """Give everything that one transition changes together: the row, the journal, the published state."""
    row = await store.row(RunId(run))
    journal = await store.transitions(RunId(run), 0, 1_000)
    return (None, 0) if row is None else (row.status, row.state, len(journal))


@pytest.mark.covers("M31")
@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_crash_inside_a_commit_leaves_the_old_state_or_the_new_one(number: int, *, is_written: bool) -> None:
    states = []

    async def remember(batch: Batch, refused: object) -> None:
        states.append(await footprint(store, "r"))

    store = FaultyStore(after_commit=remember)
    async with Environment(store) as env:
        await env.run(counting.options(id="r"), 2)
    whole = [(None, 0), *states]
    states.clear()

    store = FaultyStore(crash_after={number} if is_written else (), crash_before=() if is_written else {number}, after_commit=remember)
    async with Environment(store) as env:
        start = asyncio.ensure_future(env.engine.start(counting.options(id="r"), 2))
        await env.settle()
        assert store.is_down
        await env.kill()
        assert await footprint(store, "r") == whole[number if is_written else number - 1]
        await env.revive()
        await asyncio.gather(start, return_exceptions=True)
        assert await env.run(counting.options(id="r"), 2) == 2


@pytest.mark.covers("M16")
@pytest.mark.parametrize("number", range(1, 6))
async def test_every_run_that_was_open_at_a_crash_is_found_and_ends(number: int) -> None:
    store = FaultyStore(crash_before={number})
    async with Environment(store) as env:
        starts = [asyncio.ensure_future(env.engine.start(counting.options(id=f"r{n}"), n)) for n in range(4)]
        await env.settle()
        await env.kill()
        await asyncio.gather(*starts, return_exceptions=True)
        await env.revive()
        assert [await env.run(counting.options(id=f"r{n}"), n) for n in range(4)] == [0, 1, 2, 3]


async def test_a_store_that_refuses_for_a_while_delays_the_run_and_loses_nothing() -> None:
    store = FaultyStore()
    async with Environment(store) as env:
        store.refuse_commits(5)
        start = asyncio.ensure_future(env.engine.start(counting.options(id="r"), 3))
        await env.settle()
        assert not start.done()
        await env.advance("10s")
        assert await (await start).result() == 3


async def test_slow_commits_only_take_longer() -> None:
    async with Environment(FaultyStore(slow_turns=200)) as env:
        assert await env.run(counting, 5) == 5


async def test_whoever_waits_for_a_signal_to_be_taken_is_told_that_the_node_died() -> None:
    store = FaultyStore()
    async with Environment(store) as env:
        run = await env.start(counting.options(id="r"), 0)
        listening = await env.start(listens)
        store.crash_before = frozenset({store.commits + 1})
        sending = asyncio.ensure_future(listening.send("words", "hello"))
        await env.settle()
        await env.kill()
        with pytest.raises(perdure.PerdureError, match="engine is closed"):
            await sending
        assert run.id == "r"


@workflow(name="faults.listens")
async def listens() -> str:
    return await perdure.signal("words", str).receive()


async def test_a_commit_that_hangs_while_a_run_is_due_does_not_keep_the_loop_busy() -> None:
    @workflow
    async def naps() -> None:
        await asyncio.sleep(60)

    store = FaultyStore()
    async with Environment(store) as env:
        await env.start(naps)
        await env.restart()
        store.crash_before = frozenset({store.commits + 1})
        await env.advance("60s")
        assert store.is_down
        await env.kill()


async def test_commits_of_clients_are_not_counted() -> None:
    store = FaultyStore(crash_before={1})
    await store.commit(Batch(starts=[RunRow(id=RunId("a"), definition="x", created_us=1, updated_us=1)]))
    assert store.commits == 0
    store.refuse_commits(1)
    with pytest.raises(StoreUnavailable):
        await store.commit(Batch(epoch=1))
