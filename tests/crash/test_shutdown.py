"""An engine that is told to end lets its attempts finish; one that is killed has them made again (I37)."""

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, Workflow
from tests.crash.servers import Server, attempts, served
from tests.crash.serving import CALLS, RUNNING_MAX, beating, busy, paying


def client(folder: Path, **options: Any) -> Engine:
    return Engine(f"sqlite:///{folder / 'perdure.db'}", is_client=True, **options)


def start(folder: Path, workflow: Workflow[[], Any]) -> None:
    async def run() -> None:
        async with client(folder) as engine:
            await engine.start(workflow.options(id="r"))

    asyncio.run(run())


def result(folder: Path) -> Any:
    async def run() -> Any:
        async with client(folder) as engine:
            return await asyncio.wait_for(engine.get("r").result(), 20)

    return asyncio.run(run())


def facts(folder: Path, name: str) -> int:
    with closing(sqlite3.connect(folder / "perdure.db")) as connection:
        (count,) = connection.execute("select count(*) from fact where run = 'r' and fact = ?", (name,)).fetchone()
    return int(count)


def under_way(server: Server, folder: Path) -> None:
    """All that may run at once has begun; the other calls wait their turn."""
    assert server.read() == ["node"]
    start(folder, busy)
    server.read(RUNNING_MAX)


@pytest.mark.covers("I37")
def test_attempts_under_way_finish_after_sigterm_and_nothing_is_made_twice(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        under_way(server, tmp_path)
        server.send(signal.SIGTERM)
        server.until("closing")
        server.open_gate()
        assert server.wait() == 0
    assert (facts(tmp_path, "ActionCompleted"), facts(tmp_path, "AttemptLost")) == (RUNNING_MAX, 0)
    with served(tmp_path) as server:
        server.open_gate()
        assert result(tmp_path) == list(range(CALLS))
    assert set(attempts(tmp_path).values()) == {1}
    assert (len(attempts(tmp_path)), facts(tmp_path, "AttemptLost")) == (CALLS, 0)


@pytest.mark.covers("I37")
def test_beyond_the_limit_attempts_are_cancelled_and_made_again_and_those_not_begun_count_as_first(tmp_path: Path) -> None:
    with served(tmp_path, "50ms") as server:
        under_way(server, tmp_path)
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    assert facts(tmp_path, "AttemptLost") == RUNNING_MAX
    with served(tmp_path) as server:
        server.open_gate()
        assert result(tmp_path) == list(range(CALLS))
    assert sorted(attempts(tmp_path).values()) == [1] * (CALLS - RUNNING_MAX) + [2] * RUNNING_MAX
    assert facts(tmp_path, "AttemptLost") == RUNNING_MAX


@pytest.mark.covers("I37", "I36")
def test_after_sigkill_attempts_are_made_again_with_the_same_keys_and_the_result_is_right(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        under_way(server, tmp_path)
        server.send(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
    before = attempts(tmp_path)
    with served(tmp_path) as server:
        server.open_gate()
        assert result(tmp_path) == list(range(CALLS))
    assert len(attempts(tmp_path)) == CALLS
    assert all(attempts(tmp_path)[key] == 2 for key in before)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_an_action_that_must_not_be_made_twice_fails_when_its_attempt_is_lost(tmp_path: Path, ending: signal.Signals) -> None:
    with served(tmp_path, "50ms") as server:
        server.until("node")
        start(tmp_path, paying)
        server.until("began 1")
        server.send(ending)
        server.wait()
    with served(tmp_path) as server:
        server.open_gate()
        assert result(tmp_path) == "AttemptsLost"
    assert set(attempts(tmp_path).values()) == {1}


def test_the_details_of_a_heartbeat_are_given_to_the_next_attempt_after_sigkill(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        server.until("node")
        start(tmp_path, beating)
        server.until("beaten")
        with closing(sqlite3.connect(tmp_path / "perdure.db")) as connection:
            while not connection.execute("select count(*) from heartbeat").fetchone()[0]:
                pass
        server.send(signal.SIGKILL)
        server.wait()
    with served(tmp_path):
        assert result(tmp_path) == {"done": 41}
