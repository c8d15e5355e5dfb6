"""While the store is in trouble the engine waits; then it goes on, and nothing was lost (G2, M31)."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, Limits, action, signal, workflow
from perdure.model.errors import StoreUnavailable
from perdure.stores.memory import MemoryStore
from perdure.stores.sqlite import SqliteStore
from perdure.testing.env import Environment
from perdure.testing.faults import FaultyStore

word = signal("trouble_word", str)
made: list[int] = []


@action(name="trouble_make")
async def make(number: int) -> bytes:
    made.append(number)
    return b"%06d" % number * 12_000


@workflow(name="trouble_steps")
async def steps(count: int) -> int:
    total = 0
    for number in range(count):
        total += len(await make(number)) // 72_000
    return total


@workflow(name="trouble_waits")
async def waits() -> str:
    await asyncio.sleep(60)
    return await word.receive()


class Trouble(logging.Handler):
    """Set when the engine says that its store did not answer."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.came = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "did not answer" in record.getMessage():
            self.came.set()


@pytest.fixture
def came() -> Iterator[asyncio.Event]:
    handler, logger = Trouble(), logging.getLogger("perdure.engine")
    logger.addHandler(handler)
    yield handler.came
    logger.removeHandler(handler)


@pytest.mark.covers("M31")
async def test_a_full_disk_is_waited_out(tmp_path: Path, came: asyncio.Event) -> None:
    made.clear()
    store = SqliteStore(tmp_path / "x.db")
    async with Engine(store) as engine:
        await store._writing.do(lambda connection: connection.execute("pragma max_page_count = 60"))
        run = await engine.start(steps, 10)
        await asyncio.wait_for(came.wait(), 20)
        assert not (await run.status()).is_final
        await store._writing.do(lambda connection: connection.execute("pragma max_page_count = 1000000"))
        assert await asyncio.wait_for(run.result(), 20) == 10
    await store.close()
    assert made == list(range(10))


@pytest.mark.covers("M31")
async def test_a_database_that_another_program_has_locked_is_waited_for(tmp_path: Path, came: asyncio.Event) -> None:
    made.clear()
    store = SqliteStore(tmp_path / "x.db", busy_ms=10)
    async with Engine(store) as engine:
        with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("begin immediate")
            starting = asyncio.ensure_future(engine.start(steps, 3))
            await asyncio.wait_for(came.wait(), 20)
            assert not starting.done(), "a start is acknowledged after its commit, not before"
        assert await asyncio.wait_for((await starting).result(), 20) == 3
    await store.close()
    assert made == [0, 1, 2]


async def test_a_file_that_cannot_be_written_for_a_while_is_waited_for(tmp_path: Path, came: asyncio.Event) -> None:
    store = SqliteStore(tmp_path / "x.db")
    async with Engine(store) as engine:
        await store._writing.do(lambda connection: connection.execute("pragma query_only = on"))
        starting = asyncio.ensure_future(engine.start(steps, 3))
        await asyncio.wait_for(came.wait(), 20)
        await store._writing.do(lambda connection: connection.execute("pragma query_only = off"))
        assert await asyncio.wait_for((await starting).result(), 20) == 3
    await store.close()


class Moody(MemoryStore):
    """Every read of that name fails so many times before it answers."""

    def __init__(self, failing: str, times: int) -> None:
        super().__init__()
        self.left = times
        self.is_moody = False
        read: Callable[..., Awaitable[Any]] = getattr(self, failing)

        async def answer(*args: Any) -> Any:
            if self.is_moody and self.left:
                self.left -= 1
                raise StoreUnavailable(store="moody", problem="not now")
            return await read(*args)

        setattr(self, failing, answer)


@pytest.mark.parametrize("failing", ["load", "due", "next_wake_us", "addressed", "blobs", "has_news"])
async def test_reads_that_fail_for_a_while_leave_no_run_timer_or_message_forgotten(failing: str) -> None:
    store = Moody(failing, 3)
    async with Environment(store) as env:
        run = (await env.start(waits)).id
        await env.crash()
        store.is_moody = True
        for _ in range(4):
            await env.advance("20s")
        async with Engine(store, is_client=True) as client:
            await client.get(run).send(word, "x" * 100_000)
        for _ in range(20):
            await env.advance("5s")
        env.clock.move_to(env.clock.now_us() + 1_000_000)
        await env.settle()
        assert len(await asyncio.wait_for(env.get(run).result(), 10)) == 100_000
    assert store.left == 0 or failing in ("blobs", "addressed", "has_news")


@pytest.mark.parametrize("failing", ["load", "due", "next_wake_us"])
async def test_a_sleeper_wakes_though_nothing_but_its_timer_reminds_the_engine_of_it(failing: str) -> None:
    @workflow(name="trouble_sleeps")
    async def sleeps() -> str:
        await asyncio.sleep(60)
        await asyncio.sleep(60)
        return "woken"

    store = Moody(failing, 3)
    async with Environment(store, limits=Limits(runs_idle_max=0)) as env:
        run = await env.start(sleeps)
        store.is_moody = True
        assert await asyncio.wait_for(env.finish(run), 10) == "woken"
    assert store.left == 0


@pytest.mark.covers("M17")
async def test_a_node_whose_lease_was_taken_writes_nothing_more_and_stands_by(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = SqliteStore(path)
    async with Engine(store, name="first") as engine:
        run = await engine.start(waits)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("update lease set epoch = epoch + 1, node = 'second'")
            before = other.execute("select count(*) from journal").fetchone()
            with pytest.raises(Exception, match=r"closed|lost|fenced"):
                await asyncio.wait_for(run.send(word, "x"), 10)
            assert not engine.is_node
            assert other.execute("select count(*) from journal").fetchone() == before
            assert other.execute("select epoch, node from lease").fetchone() == (2, "second")
    await store.close()


async def test_a_drain_that_ends_before_a_slow_commit_does_not_tell_of_attempts_that_there_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Environment(FaultyStore(slow_turns=300), drain="0s") as env:
        start = asyncio.ensure_future(env.engine.start(waits))
        for _ in range(5):
            await asyncio.sleep(0)
        await env.restart()
        await asyncio.gather(start, return_exceptions=True)
    assert "still under way" not in caplog.text
