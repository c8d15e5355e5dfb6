"""What is measured: workflows whose steps do nothing, so that all the time is the engine's."""

import asyncio
from time import perf_counter
from typing import Any

import perdure
from perdure.deciders.code.authoring import Workflow
from perdure.deciders.code.definition import Registry

registry = Registry()
go_on = perdure.signal("go_on", str)


@perdure.action(registry=registry)
async def noop(i: int) -> dict[str, Any]:
    return {"i": i, "ok": True}


@perdure.action(registry=registry, queue="elsewhere")
async def distant(i: int) -> dict[str, Any]:
    """What `noop` does, in another process."""
    return {"i": i, "ok": True}


@perdure.workflow(registry=registry)
async def distant_chain(steps: int) -> int:
    """Calls to another process, one after another."""
    total = 0
    for i in range(steps):
        total += (await distant(i))["i"]
    return total


@perdure.workflow(registry=registry)
async def chain(steps: int) -> int:
    """Steps one after another."""
    total = 0
    for i in range(steps):
        total += (await noop(i))["i"]
    return total


@perdure.workflow(registry=registry)
async def nothing(i: int) -> int:
    """No step at all: what a job of a queue library is."""
    return i


@perdure.workflow(registry=registry)
async def fan(steps: int) -> int:
    """Steps all at once."""
    return sum(found["i"] for found in await asyncio.gather(*(noop(i) for i in range(steps))))


@perdure.workflow(registry=registry)
async def sleeper(seconds: float) -> float:
    """Sleep, and tell when that had to be over, in seconds since 1970."""
    due = perdure.now().timestamp() + seconds
    await asyncio.sleep(seconds)
    return due


@perdure.workflow(registry=registry)
async def journal(steps: int) -> str:
    """Make a journal of so many steps, then wait."""
    for i in range(steps):
        await noop(i)
    return await go_on.receive()


def clocked(instants: list[float], name: str = "clocked") -> Workflow[[int], int]:
    """Give a chain whose steps note when they ran: the span between two of them is the whole cost of one step."""

    @perdure.action(registry=registry, name=f"{name}_step")
    async def step(i: int) -> dict[str, Any]:
        instants.append(perf_counter())
        return {"i": i, "ok": True}

    @perdure.workflow(registry=registry, name=name)
    async def run(steps: int) -> int:
        for i in range(steps):
            await step(i)
        return steps

    return run
