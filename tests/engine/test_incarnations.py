"""What one incarnation of a run leaves to the next, and what it does not (I39)."""

import asyncio

import pytest

import perdure
from perdure import Status, signal, workflow
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore

go = signal("incarnations_go", str)


@workflow(name="incarnations_tick")
async def tick(number: int) -> int:
    return number


@workflow(name="incarnations_clock")
async def clock(number: int = 0) -> int:
    """Starts a run of its own for each tick, as a schedule does."""
    await asyncio.sleep(60)
    await tick.options(id=f"tick-{number}").start(number)
    if number < 4:
        perdure.continue_as_new(number + 1)
    return number


@workflow(name="incarnations_slow")
async def slow(word: str) -> str:
    try:
        await go.receive()
    except asyncio.CancelledError:
        await asyncio.sleep(5)
        return f"late {word}"
    return f"right {word}"


@workflow(name="incarnations_leaves_child")
async def leaves_child(number: int = 1) -> str:
    child = asyncio.create_task(slow(str(number)))
    await asyncio.sleep(1)
    if number == 1:
        perdure.continue_as_new(2)
    return await child


@workflow(name="incarnations_answers")
class Answers:
    def __init__(self) -> None:
        self.leave = asyncio.Event()

    async def run(self, number: int = 1) -> int:
        await self.leave.wait()
        if number == 1:
            perdure.continue_as_new(2)
        return number

    @perdure.update
    def end(self) -> str:
        self.leave.set()
        return "answered"


@pytest.mark.covers("I39")
async def test_a_run_started_in_the_last_step_of_an_incarnation_is_started() -> None:
    async with Environment() as env:
        assert await env.run(clock) == 4
        for number in range(5):
            assert await env.get(f"tick-{number}").result() == number


async def test_the_late_end_of_a_child_is_not_taken_for_that_of_the_next_incarnation_s() -> None:
    async with Environment() as env:
        await env.start(leaves_child.options(id="p"))
        await env.advance("1s")
        await env.advance("10s")
        second = [row for row in await env.engine.list(definition="incarnations_slow") if row.status is Status.WAITING]
        await env.get(second[0].id).send(go, "go")
        assert await env.get("p").result() == "right 2"


async def test_an_update_that_ends_an_incarnation_has_its_answer(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(Answers)
        assert await asyncio.wait_for(run.update(Answers.end), 5) == "answered"
        assert await asyncio.wait_for(run.update(Answers.end), 5) == "answered"
        assert await run.result() == 2
