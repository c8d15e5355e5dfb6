"""Several processes on one SQLite file: clients beside the node, and a second engine that takes over."""

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from perdure import RunCancelled, Status
from perdure.model.errors import AnswerOverdue, InvalidValue, RunConflict, RunEnded, RunNotFound
from tests.crash.servers import attempts, served
from tests.crash.serving import Cart, asking, broken, busy, word
from tests.crash.test_shutdown import client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def epoch(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "perdure.db")) as connection:
        (found,) = connection.execute("select epoch from lease").fetchone()
    return int(found)


async def test_a_client_in_another_process_starts_updates_asks_signals_and_gets_the_result(folder: Path) -> None:
    with served(folder) as server:
        server.until("node")
        async with client(folder) as engine:
            assert not engine.is_node
            run = await engine.start(Cart.options(id="c", tags=["t"]))
            assert await run.update(Cart.add, "a", update_id="once") == 1
            assert await run.update(Cart.add, "a", update_id="once") == 1
            assert await run.query(Cart.look) == ["a"]
            await run.send(word, "b", id="one")
            assert await run.result() == ["a", "b"]
            assert [row.id for row in await engine.list(tag="t", status="completed", definition="serving_cart")] == ["c"]
            assert [entry.name async for entry in run.watch()][-1] == "RunCompleted"
            assert await (await engine.start(Cart.options(id="c"))).result() == ["a", "b"]
            with pytest.raises(RunNotFound):
                await engine.get("ghost").query(Cart.look)


@pytest.mark.covers("I24")
async def test_a_client_in_another_process_cancels(folder: Path) -> None:
    with served(folder) as server:
        server.until("node")
        async with client(folder) as engine:
            run = await engine.start(Cart.options(id="c"))
            assert await run.cancel("enough")
            with pytest.raises(RunCancelled):
                await run.result()
            assert not await run.cancel()


@pytest.mark.covers("I32")
async def test_a_client_in_another_process_completes_an_open_call_of_the_right_type_once(folder: Path) -> None:
    with served(folder) as server:
        server.until("node")
        async with client(folder) as engine:
            run = await engine.start(asking)
            server.until("asked")
            (key,) = attempts(folder)
            with pytest.raises(InvalidValue, match="stays open"):
                await engine.complete(key, "no number")
            await engine.complete(key, 7)
            assert await run.result() == 7
            with pytest.raises(RunEnded):
                await engine.complete(key, 8)


@pytest.mark.covers("I21")
async def test_a_client_in_another_process_resumes_a_stalled_run_once_its_code_is_mended(folder: Path) -> None:
    with served(folder, "1s", "broken") as server:
        server.until("node")
        async with client(folder) as engine:
            run = await engine.start(broken.options(id="b"))
            async for entry in run.watch():
                if entry.name == "RunStalled":
                    break
            assert await run.resume() is Status.STALLED
        server.send(signal.SIGTERM)
        server.wait()
    with served(folder) as server:
        server.until("node")
        async with client(folder) as engine:
            assert await engine.get("b").result() == "mended"


@pytest.mark.covers("I23")
async def test_starts_from_two_processes_of_one_id_are_one_run(folder: Path) -> None:
    with served(folder) as server:
        server.until("node")
        async with client(folder) as one, client(folder) as two:
            runs = await asyncio.gather(*(engine.start(Cart.options(id="c")) for engine in (one, two) * 10))
            await runs[0].send(word, "x")
            assert await asyncio.gather(*(run.result() for run in runs)) == [["x"]] * 20
            with pytest.raises(RunConflict):
                await one.start(busy.options(id="c"))


@pytest.mark.covers("M16")
async def test_an_engine_that_stands_by_takes_over_when_the_node_is_killed(folder: Path) -> None:
    with served(folder) as first:
        first.until("node")
        with served(folder) as second:
            second.until("standby")
            async with client(folder) as engine:
                run = await engine.start(busy)
                first.read(4)
                second.open_gate()
                first.send(signal.SIGKILL)
                assert await asyncio.wait_for(run.result(), 20) == list(range(6))
    assert epoch(folder) == 2


@pytest.mark.covers("M17")
async def test_a_node_that_is_paused_is_not_overtaken_and_goes_on_when_it_may(folder: Path) -> None:
    with served(folder) as first:
        first.until("node")
        with served(folder) as second:
            second.until("standby")
            async with client(folder, patience="1500ms") as engine:
                run = await engine.start(Cart)
                assert await run.query(Cart.look) == []
                first.pause()
                with pytest.raises(AnswerOverdue):
                    await run.query(Cart.look)
                assert epoch(folder) == 1
                first.send(signal.SIGCONT)
                assert await run.query(Cart.look) == []
                await run.send(word, "x")
                assert await run.result() == ["x"]
    assert epoch(folder) == 1
