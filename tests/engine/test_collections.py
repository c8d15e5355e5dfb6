"""What other libraries do when the garbage collector runs is not laid at the workflow's door."""

import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest

from perdure import workflow
from perdure.deciders.code import guard
from perdure.testing.env import Environment

collected: list[float] = []


@workflow(name="collections_allocates")
async def allocates() -> int:
    rows: list[Any] = [[number] for number in range(20_000)]
    return len(rows)


@pytest.fixture
def measured() -> Iterator[None]:
    """As libraries do that measure how long collections take."""

    def on_collection(phase: str, info: dict[str, Any]) -> None:
        collected.append(time.time())

    gc.callbacks.append(on_collection)
    threshold = gc.get_threshold()
    gc.set_threshold(10)
    yield
    gc.set_threshold(*threshold)
    gc.callbacks.remove(on_collection)


@pytest.mark.covers("I13")
@pytest.mark.usefixtures("measured")
async def test_a_library_that_reads_the_clock_at_each_collection_stalls_no_run() -> None:
    async with Environment() as env:
        with guard.strict():
            assert await env.run(allocates) == 20_000
        assert collected
        assert gc.isenabled()
