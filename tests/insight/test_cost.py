"""What a run has cost: every attempt that began, by action and by outside service (F16)."""

import asyncio

import msgspec
import pytest

import perdure
from perdure import Engine, Retry, action, insight, workflow
from perdure.insight import Price, TimelineFold, cost_of, prices_of
from perdure.insight.cost import CostReport
from perdure.model.registry import ActionRecord
from perdure.testing import Environment

PRICES = {"translate": Price("deepl", 0.02), "ask": Price("deepl", 0.5), "scan": Price("scanner")}
tries: list[str] = []


@action(retry=Retry(attempts=3, first="1m"), cost=0.02, service="deepl")
async def translate(text: str) -> str:
    tries.append(text)
    if len(tries) < 3:
        raise ValueError("busy")
    return text


@action
async def scan() -> int:
    return 1


@action
async def trim(text: str) -> str:
    return text.strip()


@workflow
async def child_of_cost() -> str:
    return await trim(" a ")


@workflow
async def costly() -> str:
    await perdure.call("scan")
    await trim("a")
    await child_of_cost()
    return await translate("a")


async def report(engine: Engine, *runs: str, env: Environment) -> CostReport:
    timelines = []
    for run in runs:
        fold = TimelineFold()
        async for entry in engine.get(run).journal():
            fold.take(entry)
        timelines.append(fold.timeline)
    return cost_of(timelines, PRICES, now=env.now)


@pytest.mark.covers("F16")
async def test_every_attempt_that_began_is_counted_and_one_that_is_only_due_is_not() -> None:
    tries.clear()
    async with Environment() as env:
        run = await env.start(costly)
        for attempts in (1, 2, 3):
            found = await report(env.engine, run.id, env=env)
            assert (found.cost, found.outside, found.here) == (pytest.approx(0.02 * attempts), 2, 1)
            line = next(line for line in found.actions if line.name == "translate")
            assert (line.calls, line.attempts, line.failed, line.service) == (1, attempts, 0, "deepl")
            await env.advance("1m")
        assert await env.finish(run) == "a"
        services = {line.name: (line.calls, line.attempts, line.unpriced) for line in found.services}
        assert services == {"deepl": (1, 3, 0), "scanner": (1, 1, 1)}
        assert found.unpriced == 1


async def test_a_retry_that_never_came_because_nobody_waited_any_more_costs_nothing() -> None:
    @workflow(name="impatient_cost")
    async def impatient() -> None:
        try:
            async with asyncio.timeout(60):
                await translate("x")
        except TimeoutError:
            return

    tries.clear()
    async with Environment() as env:
        run = await env.start(impatient)
        await env.finish(run)
        found = await report(env.engine, run.id, env=env)
        assert (found.attempts, found.cost) == (1, pytest.approx(0.02))


@pytest.mark.covers("F16")
async def test_several_runs_add_up() -> None:
    async with Environment() as env:
        first, second = await env.start(child_of_cost), await env.start(child_of_cost)
        found = await report(env.engine, first.id, second.id, env=env)
        assert (found.runs, found.calls, found.outside, found.cost) == (2, 2, 0, 0)
        assert msgspec.json.encode(found)
        assert insight.cost_of([], {}, now=env.now).calls == 0


def test_the_newest_version_says_what_an_action_costs() -> None:
    old, new = ActionRecord(name="a", version=1, cost=5, service="s"), ActionRecord(name="a", version=2, cost=1, service="s")
    assert prices_of([new, old]) == prices_of([old, new]) == {"a": Price("s", 1)}
