"""Whole calls through a node, a queue in the store and a worker: the same program whoever performs it, and nothing lost with either."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure import EMPTY, ActionTimedOut, Engine, Registry, Retry, action, attempt, elsewhere, insight, workflow
from perdure.model.codec import Serializer
from perdure.model.registry import Source
from perdure.ports.store import Store
from perdure.ports.system import SystemClock, SystemEntropy
from perdure.remote.reporting import StoreReporter
from perdure.stores.memory import MemoryStore
from perdure.transports.database import DatabaseTransport
from perdure.workers.executors import LocalPerformer
from perdure.workers.worker import Surroundings, WorkerOptions, WorkerService

CLOCK = SystemClock()
here, there = Registry(), Registry()
tries: list[int] = []
gate: dict[str, asyncio.Event] = {}


@action(registry=there)
async def square(number: int) -> int:
    return number * number


@action(registry=there)
async def nothing() -> None:
    return EMPTY


@action(registry=there)
async def shaky() -> str:
    tries.append(attempt().number)
    if len(tries) < 3:
        raise ValueError("not yet")
    return "now"


@action(registry=there)
async def endless() -> None:
    gate["begun"].set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        gate["cancelled"].set()
        raise


far_square = elsewhere("square", returns=int)
far_nothing = elsewhere("nothing")
far_shaky = elsewhere("shaky", retry=Retry(first="1ms", attempts=5))
far_endless = elsewhere("endless")
unknown = elsewhere("unknown", start_timeout="50ms")
unserved = elsewhere("unserved", unserved="fail")


@workflow(registry=here)
async def squares(count: int) -> list[int]:
    return list(await asyncio.gather(*(far_square(number) for number in range(count))))


@workflow(registry=here)
async def by_name() -> int:
    from perdure import call

    return await call("square", 7, returns=int)


@workflow(registry=here)
async def empty_handed() -> str:
    found = await far_nothing()
    return "empty" if found is EMPTY else "something"


@workflow(registry=here)
async def stubborn() -> str:
    return await far_shaky()


@workflow(registry=here)
async def patient() -> str:
    task = asyncio.create_task(far_endless())
    await asyncio.sleep(0.2)
    task.cancel()
    return "went on"


@workflow(registry=here)
async def impatient(name: str) -> str:
    try:
        await (unknown() if name == "unknown" else unserved())
    except ActionTimedOut as error:
        return str(error)
    return "done"


@asynccontextmanager
async def worker(store: Store, name: str = "w") -> AsyncIterator[WorkerService]:
    serializer = Serializer()
    around = Surroundings(
        transport=DatabaseTransport(store, CLOCK),
        reporter=StoreReporter(store, CLOCK, inline_max=65_536),
        performer=LocalPerformer(CLOCK, serializer, 8),
        clock=CLOCK,
        entropy=SystemEntropy(),
    )
    specs = [spec for name in ("square", "nothing", "shaky", "endless") if (spec := there.action(name)) is not None]
    service = WorkerService(around, specs, WorkerOptions(name=name, slots=16, interval_us=50_000))
    await service.open()
    try:
        yield service
    finally:
        await service.close()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def node(store: Store) -> Engine:
    return Engine(store, registry=here, lease="600ms", drain="0s")


async def told(run: Any, reason: str) -> None:
    """The run's reasons say so."""
    for _ in range(4_000):
        if reason in str(found := await run.why()):
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{reason!r} is not in {found}")


@pytest.mark.covers("F6")
@pytest.mark.covers("I5")
async def test_a_workers_actions_are_called_like_any_other(store: MemoryStore) -> None:
    async with worker(store), node(store) as engine:
        assert await engine.run(squares, 30) == [number * number for number in range(30)]
        assert await engine.run(by_name) == 49
        assert await engine.run(empty_handed) == "empty"


@pytest.mark.covers("I17")
async def test_the_nodes_policy_decides_about_the_next_attempt_of_a_worker(store: MemoryStore) -> None:
    tries.clear()
    async with worker(store), node(store) as engine:
        assert await engine.run(stubborn) == "now"
    assert tries == [1, 2, 3]


@pytest.mark.covers("F7")
@pytest.mark.covers("X11")
async def test_a_call_waits_for_a_worker_says_so_and_goes_on_without_a_restart_of_the_node(store: MemoryStore) -> None:
    async with node(store) as engine:
        run = await engine.start(by_name)
        await told(run, "no worker has ever announced square")
        async with worker(store):
            assert await run.result() == 49
            found = await insight.attendance(engine.store, CLOCK.now_us())
            (view,) = [view for view in insight.action_views(found) if view.name == "square"]
            assert (view.presence, view.workers, view.source) == ("alive", 1, Source.HEARTBEAT)
        found = await insight.attendance(engine.store, CLOCK.now_us())
        assert [view.presence for view in insight.worker_views(found)] == ["left"]
        later = await engine.start(by_name)
        await told(later, "no worker for square since")


async def test_a_cancelled_call_reaches_the_action(store: MemoryStore) -> None:
    gate.update(begun=asyncio.Event(), cancelled=asyncio.Event())
    async with worker(store), node(store) as engine:
        run = await engine.start(patient)
        assert await run.result() == "went on"
        async with asyncio.timeout(20):
            await gate["cancelled"].wait()


async def test_the_end_of_an_attempt_finds_its_run_after_the_node_that_asked_has_died(store: MemoryStore) -> None:
    gate.update(begun=asyncio.Event(), cancelled=asyncio.Event())
    async with worker(store):
        first = await node(store).open()
        run = await first.start(squares, 3)
        await first.crash()
        async with node(store) as second:
            assert await second.get(run.id).result() == [0, 1, 4]


async def test_a_call_that_no_worker_begins_in_time_fails_and_says_so(store: MemoryStore) -> None:
    async with node(store) as engine:
        assert "was begun by nobody within" in await engine.run(impatient, "unknown")
        assert "has no worker that performs it" in await engine.run(impatient, "unserved")
