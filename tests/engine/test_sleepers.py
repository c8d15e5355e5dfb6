"""Runs that are put down wake at their instants, each at its own (I26)."""

import asyncio
from datetime import datetime, timedelta
from random import Random

import pytest

import perdure
from perdure import Limits, workflow
from perdure.testing.env import Environment


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
