"""A run that cannot go on is stalled, loses nothing, and goes on when its cause is mended (I19, I21, I31)."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

import perdure
from perdure import Limits, Registry, Status, action, signal, workflow
from perdure.insight import StalledReason
from perdure.testing.env import Environment

word = signal("stalls_word", str)


class Code:
    """The code of one workflow, ``process``, over its deploys."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.made: list[str] = []
        self.gate: asyncio.Event | None = None

    def actions(self) -> tuple[Any, Any]:
        @action(name="first", registry=self.registry)
        async def first() -> str:
            self.made.append("first")
            return "1"

        @action(name="second", registry=self.registry)
        async def second() -> str:
            if self.gate is not None:
                await self.gate.wait()
            self.made.append("second")
            return "2"

        return first, second

    def deploy(self, make: Callable[[Any, Any], Any]) -> Any:
        first, second = self.actions()
        return workflow(name="process", registry=self.registry)(make(first, second))


def in_order(first: Any, second: Any) -> Any:
    async def process() -> str:
        return await first() + await second() + await word.receive()

    return process


def swapped(first: Any, second: Any) -> Any:
    async def process() -> str:
        return await second() + await first() + await word.receive()

    return process


def both(first: Any, second: Any, *, is_broken: bool = False) -> Any:
    async def process() -> list[str]:
        async def reader() -> str:
            head = await word.receive()
            return str(time.time()) if is_broken else head

        return list(await asyncio.gather(second(), reader()))

    return process


@pytest.mark.covers("I21", "I31")
@pytest.mark.parametrize("mend", ["resume", "restart"])
async def test_swapped_lines_stall_the_run_with_both_sides_and_it_finishes_when_they_are_back(mend: str) -> None:
    code = Code()
    async with Environment(registry=code.registry, limits=Limits(callbacks_max=1_000)) as env:
        await env.start(code.deploy(in_order).options(id="r"))
        code.deploy(swapped)
        await env.crash()
        run = env.get("r")
        await run.send(word, "3")
        assert await run.status() is Status.STALLED
        (reason,) = await run.why()
        assert isinstance(reason, StalledReason)
        for part in (
            "row 1",
            "the journal has: a call of the action 'first'",
            "The code did: a call of the action 'second'",
            "test_stalls.py:",
        ):
            assert part.lower() in reason.problem.lower(), reason.problem
        assert reason.problem.count("test_stalls.py:") == 2
        code.deploy(in_order)
        if mend == "resume":
            await run.resume()
        else:
            await env.restart()
        assert await env.get("r").result() == "123"
        assert code.made == ["first", "second"]


@pytest.mark.covers("I21")
async def test_what_is_sent_to_a_stalled_run_is_kept_over_restarts_and_taken_in_order() -> None:
    code = Code()

    def three(first: Any, second: Any) -> Any:
        async def process() -> str:
            return await first() + "".join([await word.receive() for _ in range(3)])

        return process

    async with Environment(registry=code.registry, limits=Limits(callbacks_max=1_000)) as env:
        await env.start(code.deploy(three).options(id="r"))
        code.deploy(swapped)
        await env.crash()
        await env.get("r").send(word, "a")
        await env.crash()
        await env.get("r").send(word, "b")
        assert await env.get("r").resume() is Status.STALLED
        await env.get("r").send(word, "c")
        code.deploy(three)
        await env.get("r").resume()
        assert await env.get("r").result() == "1abc"


@pytest.mark.covers("I21")
async def test_an_outcome_that_arrives_while_the_run_is_stalled_is_kept_and_its_action_not_run_again() -> None:
    code = Code()
    code.gate = asyncio.Event()
    async with Environment(registry=code.registry, limits=Limits(callbacks_max=1_000)) as env:
        await env.start(code.deploy(lambda a, b: both(a, b, is_broken=True)).options(id="r"))
        await env.get("r").send(word, "read")
        await env.settle()
        assert await env.get("r").status() is Status.STALLED
        code.gate.set()
        await env.settle()
        assert code.made == ["second"]
        code.deploy(both)
        await env.get("r").resume()
        assert await env.get("r").result() == ["2", "read"]
        assert code.made == ["second"]


@pytest.mark.covers("I21")
async def test_an_attempt_under_way_when_the_run_is_stalled_and_resumed_is_not_made_twice() -> None:
    code = Code()
    code.gate = asyncio.Event()
    async with Environment(registry=code.registry, limits=Limits(callbacks_max=1_000)) as env:
        await env.start(code.deploy(lambda a, b: both(a, b, is_broken=True)).options(id="r"))
        await env.get("r").send(word, "read")
        await env.settle()
        code.deploy(both)
        await env.get("r").resume()
        await env.settle()
        code.gate.set()
        assert await env.get("r").result() == ["2", "read"]
        assert code.made == ["second"]


@pytest.mark.covers("I21", "I24")
async def test_a_stalled_run_can_be_cancelled() -> None:
    code = Code()
    async with Environment(registry=code.registry, limits=Limits(callbacks_max=1_000)) as env:
        await env.start(code.deploy(in_order).options(id="r"))
        code.deploy(swapped)
        await env.crash()
        await env.get("r").send(word, "3")
        assert await env.get("r").status() is Status.STALLED
        assert await env.get("r").cancel("enough")
        assert await env.get("r").status() is Status.CANCELLED
        with pytest.raises(perdure.RunCancelled):
            await env.get("r").result()
        await env.crash()
        assert await env.get("r").status() is Status.CANCELLED


@pytest.mark.covers("I19")
async def test_an_exception_in_workflow_code_fails_the_run_and_does_not_stall_it() -> None:
    @workflow(name="stalls_raises")
    async def raises() -> None:
        raise ValueError("mine")

    async with Environment() as env:
        run = await env.start(raises)
        assert await run.status() is Status.FAILED
        with pytest.raises(ValueError, match="mine"):
            await run.result()


@pytest.mark.covers("I21")
async def test_a_result_that_cannot_be_written_stalls_and_finishes_with_mended_code() -> None:
    code = Code()

    def unwritable(first: Any, second: Any) -> Any:
        async def process() -> Any:
            await first()
            return object()

        return process

    def writable(first: Any, second: Any) -> Any:
        async def process() -> Any:
            return await first()

        return process

    async with Environment(registry=code.registry, limits=Limits(callbacks_max=1_000)) as env:
        run = await env.start(code.deploy(unwritable).options(id="r"))
        assert await run.status() is Status.STALLED
        (reason,) = await run.why()
        assert isinstance(reason, StalledReason)
        assert "the result of process" in reason.problem
        code.deploy(writable)
        await run.resume()
        assert await run.result() == "1"
        assert code.made == ["first"]


@pytest.mark.covers("I31")
async def test_a_change_in_a_branch_not_reached_yet_disturbs_nothing() -> None:
    code = Code()

    def branches(first: Any, second: Any, *, is_new: bool = False) -> Any:
        async def late() -> str:
            head = await word.receive()
            return head + (await second() + await first() if is_new else await first())

        async def process() -> list[str]:
            return list(await asyncio.gather(first(), late(), second()))

        return process

    async with Environment(registry=code.registry, limits=Limits(callbacks_max=1_000)) as env:
        await env.start(code.deploy(branches).options(id="r"))
        code.deploy(lambda a, b: branches(a, b, is_new=True))
        await env.crash()
        await env.get("r").send(word, "w")
        assert await env.get("r").result() == ["1", "w21", "2"]
