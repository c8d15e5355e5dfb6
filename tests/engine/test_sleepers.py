"""Runs that are put down wake at their instants, each at its own (I26)."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from random import Random

import pytest

import perdure
from perdure import Limits, workflow
from perdure.model.ids import RunId
from perdure.ports.store import Loaded
from perdure.testing.env import Environment
from perdure.testing.faults import FaultyStore


@workflow(name="sleepers_sleeps")
async def sleeps(minutes: int) -> datetime:
    await asyncio.sleep(60 * minutes)
    return perdure.now()


@pytest.mark.covers("I26", "F25")
@pytest.mark.parametrize("idle_max", [0, 10, 1_000])
async def test_runs_that_were_put_down_wake_at_their_instants_over_a_crash(idle_max: int) -> None:
    chance = Random(3)
    minutes = [chance.randrange(1, 500) for _ in range(300)]
    async with Environment(limits=Limits(runs_idle_max=idle_max)) as env:
        begun = env.now
        for number, span in enumerate(minutes):
            await env.engine.start(sleeps.options(id=str(number)), span)
        await env.settle()
        assert env.engine.node is not None
        assert len(env.engine.node.roster) <= idle_max
        await env.advance("200m")
        await env.crash()
        await env.advance("400m")
        for number, span in enumerate(minutes):
            assert await env.engine.get(str(number), sleeps).result() == begun + timedelta(minutes=span)


async def test_a_negative_or_zero_sleep_is_over_at_once() -> None:
    async with Environment() as env:
        assert await env.run(sleeps, 0) == await env.run(sleeps, -5) == env.now


async def test_a_run_that_overslept_while_no_engine_ran_wakes_at_once_and_only_once() -> None:
    async with Environment() as env:
        await env.start(sleeps.options(id="a"), 5)
        await env.kill()
        env.clock.move_to(env.clock.now_us() + 3_600_000_000)
        await env.revive()
        assert await env.engine.get("a", sleeps).result() == env.now
        names = [entry.name async for entry in env.get("a").journal()]
        assert names.count("TimerFired") == 1


class SlowAgenda(FaultyStore):
    """Its list of due runs comes when ``answers`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        await self.answers.wait()
        return await super().due(partitions, now_us, limit)


async def test_an_engine_is_open_and_closes_while_due_runs_are_still_being_fetched() -> None:
    store = SlowAgenda()
    store.answers.set()
    async with Environment(store) as env:
        await env.start(sleeps.options(id="a"), 5)
        await env.kill()
        env.clock.move_to(env.clock.now_us() + 3_600_000_000)
        store.answers.clear()
        await asyncio.wait_for(env.revive(), 5)
        assert await asyncio.wait_for(env.run(sleeps.options(id="b"), 0), 5) == env.now
        await asyncio.wait_for(env.restart(), 5)
        store.answers.set()
        assert await asyncio.wait_for(env.get("a").result(), 5)


async def test_a_close_leaves_the_due_runs_that_were_not_fetched_yet_to_the_next_node() -> None:
    loads = 0

    class Counting(FaultyStore):
        async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
            nonlocal loads
            loads += len(runs)
            return await super().load(runs, within)

    async with Environment(Counting()) as env:
        await asyncio.gather(*(env.engine.start(sleeps.options(id=str(number)), 5) for number in range(2_000)))
        await env.kill()
        env.clock.move_to(env.clock.now_us() + 3_600_000_000)
        loads = 0
        engine = await env._make_engine().open()
        await engine.close()
        assert loads <= 200
        await env.revive()
        assert len(await env.engine.list(status="completed", limit=3_000)) == 2_000
