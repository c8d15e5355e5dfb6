"""A workflow that is sound passes everywhere, and the report says what was tried."""

import asyncio
from copy import copy

import pytest

import perdure
from perdure import Limits, Retry, Signal, action, signal, workflow
from perdure.testing import Environment, crash_everywhere, explore_crashes

go: Signal[str] = signal("go", str)


@action
async def add(a: int, b: int) -> int:
    return a + b


@action(retry=Retry(attempts=3, first="10s"))
def double_on_second_try(n: int) -> int:
    if perdure.attempt().number < 2:
        raise ValueError("not yet")
    return n * 2


@workflow
async def later(n: int) -> int:
    await asyncio.sleep(5)
    return await add(n, 1)


@workflow
async def mixture(n: int) -> list[object]:
    first = await double_on_second_try(await add(n, 1))
    await asyncio.sleep(3600)
    children = await asyncio.gather(*(later(i) for i in range(3)))
    sums = await asyncio.gather(*(add(i, i) for i in range(4)))
    return [first, children, sums, await go.receive()]


@pytest.mark.covers("I3", "M31")
def test_a_sound_workflow_ends_alike_in_every_case() -> None:
    report = crash_everywhere(mixture, 1, signals=[(go, "now", 3)])
    assert report
    assert report.cases > 30
    assert str(report).endswith("all alike")


async def test_the_coroutine_does_the_same_in_the_loop_that_runs() -> None:
    assert await explore_crashes(later, 1)


@pytest.mark.covers("I3")
async def test_an_outcome_that_comes_twice_in_one_transition_is_recorded_once(perdure_env: Environment) -> None:
    assert perdure_env.engine.node is not None
    dispatcher = perdure_env.engine.node.dispatcher
    tell = dispatcher._tell
    dispatcher._tell = lambda run, arrival: (tell(run, arrival), tell(run, copy(arrival)))
    run = await perdure_env.start(later, 1)
    await perdure_env.advance("5s")
    names = [entry.name async for entry in run.journal()]
    assert names.count("ActionCompleted") == 1


async def test_a_signal_that_comes_twice_at_once_is_taken_once(perdure_env: Environment) -> None:
    @workflow
    async def two_words() -> list[str]:
        return [await go.receive(), await go.receive()]

    run = await perdure_env.start(two_words)
    await asyncio.gather(run.send(go, "once", id="a"), run.send(go, "once", id="a"))
    assert await run.status() == "waiting"
    results = await asyncio.gather(run.send(go, "b", id="b"), run.send(go, "c", id="b"), return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["NoneType", "SignalConflict"]
    assert await run.result() == ["once", "b"]


async def test_a_run_is_not_put_down_under_the_hands_of_whoever_asked_for_it() -> None:
    async with Environment(limits=Limits(runs_idle_max=0)) as env:
        run = await env.start(mixture, 1)
        await run.send(go, "early")
        await env.advance("10s")
        await env.advance("1h 5s")
        assert (await run.result())[-1] == "early"
