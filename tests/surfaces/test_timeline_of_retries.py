"""The timeline of a run that was reopened, or of which a call was retried later."""

import asyncio

import pytest

from perdure import Run, action, insight, signal, workflow
from perdure.insight import State, Timeline, TimelineFold
from perdure.testing.env import Environment


class World:
    is_mended = False


go = signal("timeline_go", int)


@pytest.fixture(autouse=True)
def _broken() -> None:
    World.is_mended = False


@action(name="timeline_crop")
async def crop() -> str:
    if not World.is_mended:
        raise ValueError("cannot crop")
    return "cropped"


@action(name="timeline_slow")
async def slow() -> str:
    await asyncio.sleep(60)
    return "slow"


@action(name="timeline_other")
async def other() -> str:
    return "other"


@workflow(name="timeline_fan")
async def fan() -> list[str]:
    return list(await asyncio.gather(crop(), slow(), other()))


@workflow(name="timeline_taken")
async def taken() -> int:
    try:
        await crop()
    except ValueError:
        await go.receive()
    return 1


async def timeline_of(env: Environment, run: Run[object]) -> Timeline:
    fold = TimelineFold()
    async for entry in insight.entries(env.store, run.id):
        fold.take(entry)
    return fold.timeline


@pytest.mark.covers("I20")
async def test_a_reopened_run_is_open_again_with_every_attempt_there_was() -> None:
    async with Environment() as env:
        run = await env.start(fan)
        ended = await timeline_of(env, run)
        assert ended.ended is not None
        assert {step.name: step.state for step in ended.steps}["timeline_slow"] is State.CANCELLED
        World.is_mended = True
        await run.retry()
        await env.settle()
        now = await timeline_of(env, run)
        assert now.ended is None
        assert [(step.name, step.state, [(tried.sequence, tried.state) for tried in step.tries]) for step in now.steps] == [
            ("timeline_crop", State.DONE, [(1, State.FAILED), (2, State.DONE)]),
            ("timeline_slow", State.OPEN, [(1, State.CANCELLED), (2, State.OPEN)]),
            ("timeline_other", State.DONE, [(1, State.DONE)]),
        ]
        assert [mark.what for mark in now.marks] == ["reopened"]
        assert await env.finish(run) == ["cropped", "slow", "other"]
        assert {step.state for step in (await timeline_of(env, run)).steps} == {State.DONE}


@pytest.mark.covers("I20")
async def test_a_call_that_was_retried_later_has_its_later_status() -> None:
    async with Environment() as env:
        run = await env.start(taken)
        assert (await timeline_of(env, run)).steps[0].state is State.FAILED
        await run.retry()
        await env.settle()
        assert [(tried.sequence, tried.state) for tried in (await timeline_of(env, run)).steps[0].tries] == [
            (1, State.FAILED),
            (2, State.FAILED),
        ]
        World.is_mended = True
        await run.retry()
        await env.settle()
        step = (await timeline_of(env, run)).steps[0]
        assert (step.state, step.error, step.tries[-1].sequence) == (State.DONE, None, 3)
