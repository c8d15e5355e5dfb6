"""A start with an id takes effect once, whoever repeats it and whenever (I23, G5)."""

import asyncio

import pytest

from perdure import Run, signal, workflow
from perdure.model.errors import RunConflict, RunEnded, RunNotFound
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore

go = signal("starts_go", str)


@workflow(name="starts_wait")
async def wait(word: str) -> str:
    return word + await go.receive()


@pytest.mark.covers("I23")
async def test_fifty_concurrent_starts_of_one_id_are_one_run(store: AnyStore) -> None:
    async with Environment(store) as env:
        runs = await asyncio.gather(*(env.engine.start(wait.options(id="one"), "a") for _ in range(50)))
        assert {run.id for run in runs} == {"one"}
        await runs[7].send(go, "b")
        assert await asyncio.gather(*(run.result() for run in runs)) == ["ab"] * 50
        names = [entry.name async for entry in runs[0].journal()]
        assert (names.count("RunStarted"), len(await env.engine.list())) == (1, 1)


@pytest.mark.covers("I23")
async def test_of_fifty_starts_with_two_inputs_one_input_wins_and_the_others_are_conflicts(store: AnyStore) -> None:
    async with Environment(store) as env:
        starts = (env.engine.start(wait.options(id="one"), "ab"[number % 2]) for number in range(50))
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        assert sum(isinstance(outcome, Run) for outcome in outcomes) == 25
        assert sum(isinstance(outcome, RunConflict) for outcome in outcomes) == 25


@pytest.mark.covers("I23")
async def test_a_start_repeated_after_a_crash_gives_the_same_run(store: AnyStore) -> None:
    async with Environment(store) as env:
        await env.engine.start(wait.options(id="one"), "a")
        await env.crash()
        again = await env.engine.start(wait.options(id="one"), "a")
        with pytest.raises(RunConflict, match="other input"):
            await env.engine.start(wait.options(id="one"), "other")
        await again.send(go, "b")
        assert await again.result() == "ab"


async def test_what_a_start_does_with_a_run_that_has_ended_is_an_option(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(wait.options(id="one"), "a")
        await run.send(go, "b")
        await run.result()
        assert await (await env.engine.start(wait.options(id="one"), "a")).result() == "ab"
        with pytest.raises(RunEnded, match="completed"):
            await env.engine.start(wait.options(id="one", on_ended="refuse"), "a")
        with pytest.raises(RunConflict):
            await env.engine.start(wait.options(id="one"), "other")


async def test_a_handle_of_a_run_that_does_not_exist_says_so(store: AnyStore) -> None:
    async with Environment(store) as env:
        ghost = env.engine.get("ghost")
        for request in (ghost.result(), ghost.status(), ghost.why(), ghost.cancel(), ghost.resume(), ghost.send(go, "x")):
            with pytest.raises(RunNotFound, match="ghost"):
                await asyncio.wait_for(request, 5)
