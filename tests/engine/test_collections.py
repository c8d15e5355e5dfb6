"""The garbage collector has room for a node's rounds and finds nothing of ended runs; what it sets off is not laid at a workflow's door."""

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from perdure import workflow
from perdure.deciders.code import guard
from perdure.deciders.code.loop import WorkflowLoop
from perdure.deciders.undisturbed import WithoutHooks
from perdure.ports.nursery import OLDER_MAX, YOUNG_MIN
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


@pytest.fixture
def thresholds() -> Iterator[None]:
    """The collector is left as it was found."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("thresholds")
async def test_the_collectors_young_generation_has_room_for_a_nodes_rounds_while_it_is_open() -> None:
    gc.set_threshold(700, 10, 10)
    async with Environment():
        assert gc.get_threshold() == (YOUNG_MIN, OLDER_MAX, OLDER_MAX)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.usefixtures("thresholds")
@pytest.mark.parametrize("young", [0, YOUNG_MIN + 1])
async def test_an_application_that_made_more_room_or_collects_by_itself_is_left_alone(young: int) -> None:
    gc.set_threshold(young, 10, 10)
    async with Environment():
        assert gc.get_threshold()[0] == young
    assert gc.get_threshold()[0] == young


@pytest.mark.usefixtures("thresholds")
async def test_what_the_application_sets_meanwhile_stays() -> None:
    gc.set_threshold(700, 10, 10)
    async with Environment():
        gc.set_threshold(5_000, 10, 10)
    assert gc.get_threshold()[0] == 5_000


def loops() -> list[Any]:
    """Those of all runs in memory, also of tests before this one."""
    return [found for found in gc.get_objects() if type(found) is WorkflowLoop]


async def test_an_ended_run_leaves_nothing_to_the_collector() -> None:
    async with Environment() as env:
        gc.collect()
        gc.disable()
        try:
            before = loops()
            assert await env.run(allocates) == 20_000
            assert [found for found in loops() if found not in before] == []
        finally:
            gc.enable()


def test_the_hooks_of_the_host_come_back_also_after_an_error_and_from_within() -> None:
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(print, print)
    try:
        with WithoutHooks():
            with suppress(ValueError), WithoutHooks():
                assert sys.get_asyncgen_hooks() == (None, None)
                raise ValueError
            assert sys.get_asyncgen_hooks() == (None, None)
        assert sys.get_asyncgen_hooks() == (print, print)
        with suppress(ValueError), WithoutHooks():
            raise ValueError
        assert sys.get_asyncgen_hooks() == (print, print)
    finally:
        sys.set_asyncgen_hooks(*before)
