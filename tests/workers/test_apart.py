"""Workers that share a store or a broker with what is not theirs: other namespaces, other versions, other keys, and poison."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, Registry, Run, Worker, action, insight, workflow
from perdure.app.stores import open_namespaces
from perdure.codecs import Encryption
from perdure.model.call import Outcome
from perdure.model.errors import InvalidArguments, InvalidOption, NamespaceNotFound
from perdure.model.payload import Content
from perdure.ports.system import SystemClock
from perdure.remote.reporting import StoreReporter
from perdure.wire.attempts import wire_outcome
from tests.workers.broker import until

LARGE = 200_000
registry, sales = Registry(), Registry()


@action(registry=registry, queue="far")
async def turn(text: str) -> str:
    return text[::-1]


@workflow(registry=registry)
async def turned(text: str) -> str:
    return await turn(text)


@action(registry=sales, name="price", queue="far")
async def price(item: str) -> int:
    return len(item)


@action(registry=Registry(), name="price", queue="far", version=2)
async def price_with_currency(item: str, currency: str) -> str:
    return f"{len(item)} {currency}"


@workflow(registry=sales)
async def sale(item: str) -> int:
    return await price(item)


@workflow(registry=sales)
async def sale_abroad(item: str) -> str:
    return await price_with_currency(item, "EUR")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else f"sqlite:///{tmp_path}/app.db"


@pytest.mark.covers("M1")
async def test_a_worker_of_a_namespace_performs_its_calls_and_none_of_others(url: str) -> None:
    namespaces = open_namespaces(url)
    for name in ("pay", "ship"):
        await namespaces.create(name)
    try:
        async with (
            Engine(url, registry=registry, namespace="pay", is_serving=False) as pay,
            Engine(url, registry=registry, namespace="ship", is_serving=False, drain="0s") as ship,
            Worker(url, [turn], namespace="pay", interval="100ms"),
        ):
            other = await ship.start(turned, "abc")
            assert await pay.run(turned, "abc") == "cba"
            assert "no worker has ever announced turn" in str(await other.why())
    finally:
        for name in ("pay", "ship"):
            await namespaces.delete(name)


async def test_a_namespace_that_is_not_there_and_one_of_a_broker_are_refused(url: str) -> None:
    with pytest.raises(NamespaceNotFound):
        await Worker(url, [turn], namespace="pya").open()
    with pytest.raises(InvalidOption, match="a prefix of its own"):
        Worker("amqp://127.0.0.1", [turn], namespace="pay")


@pytest.mark.covers("F9")
@pytest.mark.parametrize("text", ["abc", "ab" * (LARGE // 2)], ids=["inline", "above the inline limit"])
async def test_values_are_encrypted_all_the_way_when_engine_and_worker_have_the_key(url: str, text: str) -> None:
    codecs = [Encryption({"k": b"k" * 32}, current="k")]
    async with (
        Engine(url, registry=registry, codecs=codecs, is_serving=False) as engine,
        Worker(url, [turn], codecs=codecs, interval="100ms"),
    ):
        assert await engine.run(turned, text) == text[::-1]


async def test_a_worker_without_the_key_fails_its_calls_with_the_reason_and_goes_on(url: str) -> None:
    codecs = [Encryption({"k": b"k" * 32}, current="k")]
    async with Engine(url, registry=registry, codecs=codecs, is_serving=False) as engine, Worker(url, [turn], interval="100ms") as worker:
        for _ in range(2):
            with pytest.raises(InvalidArguments, match="codec 'aes-gcm'"):
                await engine.run(turned, "abc")
        assert worker.running == 0


@pytest.mark.covers("F7", "X11")
async def test_workers_of_two_versions_side_by_side_each_get_their_calls(url: str) -> None:
    async with (
        Worker(url, [price], interval="100ms"),
        Worker(url, [price_with_currency], interval="100ms"),
        Engine(url, registry=sales, is_serving=False) as engine,
    ):
        assert (await engine.run(sale, "hat"), await engine.run(sale_abroad, "hat")) == (3, "3 EUR")
        views = await _views(engine, 2)
        assert [(view.version, view.presence, view.has_conflict) for view in views] == [(1, "alive", False), (2, "alive", False)]


async def _views(engine: Engine, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        attendance = await insight.attendance(engine.store, SystemClock().now_us())
        found = [view for view in insight.action_views(attendance) if view.name == "price"]
        await asyncio.sleep(0)
    return found


@pytest.mark.covers("S12")
async def test_four_workers_have_four_times_as_much_under_way_as_one(tmp_path: Path) -> None:
    rounds = {count: await _rounds(f"sqlite:///{tmp_path}/{count}.db", count) for count in (1, 4)}
    assert rounds[1] >= 3 * rounds[4], rounds


SLOTS, CALLS = 2, 24


async def _rounds(url: str, workers: int) -> int:
    """Give in how many rounds so many calls are made, where all that fit into the slots are made at once: a round is one action's time."""
    begun: list[asyncio.Event] = []
    own = Registry()

    @action(registry=own, queue="far")
    async def wait() -> None:
        begun.append(gate := asyncio.Event())
        await gate.wait()

    @workflow(registry=own)
    async def waits() -> None:
        await asyncio.gather(*(wait() for _ in range(CALLS)))

    async with Engine(url, registry=own, is_serving=False) as engine:
        services = [await Worker(url, [wait], slots=SLOTS, interval="100ms", name=f"w{at}").open() for at in range(workers)]
        run = await engine.start(waits)
        rounds = done = 0
        while done < CALLS:
            at_once = min(workers * SLOTS, CALLS - done)
            await until(lambda at_once=at_once: len(begun) == at_once)
            rounds, done = rounds + 1, done + at_once
            for gate in begun:
                gate.set()
            begun.clear()
        await run.result()
        for service in services:
            await service.close()
    return rounds


@pytest.mark.covers("F9", "I36")
async def test_an_outcome_that_its_own_node_has_written_into_the_inbox_is_taken(url: str) -> None:
    async with Engine(url, registry=registry, is_serving=False) as engine:
        reporter = StoreReporter(engine.store, SystemClock(), inline_max=LARGE)
        for id in ("first", "second"):
            run = await engine.start(turned.options(id=id), "abc")
            key = f"{id}#1#1"
            said = wire_outcome(f"{key}~1.1", Outcome(Content("json", b'"by another node"')), worker="w")
            await until_open(run)
            await reporter.take([said, said])
            async with asyncio.timeout(10):
                assert await run.result() == "by another node"


async def until_open(run: Run[str]) -> None:
    """Its call is written down."""
    async with asyncio.timeout(10):
        while "turn" not in str(await run.why()):  # noqa: ASYNC110 - reasons are asked for, nothing tells of them.
            await asyncio.sleep(0.01)
