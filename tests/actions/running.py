"""Runs of library actions on a whole engine, in real time, because what they talk to is real."""

from collections.abc import Sequence
from typing import Any

from perdure import Engine, actions, workflow
from perdure.stores.memory import MemoryStore


def flow(*steps: actions.Configured[Any], name: str = "actions_flow") -> Any:
    """Declare a workflow that hands items from step to step."""

    @workflow(name=name)
    async def run(items: list[dict[str, Any]]) -> Any:
        for step in steps:
            items = await step(items)
        return items

    return run


async def run(step: actions.Configured[Any], items: Sequence[dict[str, Any]]) -> Any:
    """Give the outcome of one step in a workflow, through the journal."""
    async with Engine(MemoryStore()) as engine:
        return await engine.run(flow(step), items)
