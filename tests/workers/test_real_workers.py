"""Workers as processes of their own, reached by each transport from a node in the test."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import json, structs

from perdure import Engine, Run
from perdure.app.transports import make_transport
from perdure.insight import Attendance, Presence, action_views, attendance
from perdure.ports.system import SystemClock
from perdure.ports.transport import NODES, Packet, calls_address
from perdure.transports.database import DatabaseTransport
from tests.surfaces.processes import PATIENCE_S, Service, Shell
from tests.workers import duties

INTERVAL_US = 300_000


class Way(NamedTuple):
    """How node and workers reach each other."""

    store: str
    transports: tuple[str, ...]
    connect: str


@pytest.fixture(params=["sqlite", "postgres", "rabbitmq", "nats"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    match request.param:
        case "postgres":
            url = request.getfixturevalue("postgres_url")
            return Way(url, (), url)
        case "rabbitmq" | "nats":
            url = request.getfixturevalue("amqp_url" if request.param == "rabbitmq" else "nats_url")
            return Way(f"sqlite:///{tmp_path}/node.db", (url,), url)
        case _:
            url = f"sqlite:///{tmp_path}/node.db"
            return Way(url, (), url)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with Shell(tmp_path) as found:
        yield found


@asynccontextmanager
async def node(way: Way) -> AsyncIterator[Engine]:
    async with Engine(way.store, transports=way.transports, lease="2s", is_serving=False, drain="0s") as engine:
        yield engine


async def begin(shell: Shell, way: Way, *options: str) -> Service:
    """Start a worker; it is ready."""
    service = shell.begin("worker", str(Path(duties.__file__)), "--connect", way.connect, "--interval", "300ms", *options)
    await said(service, "performs")
    return service


async def said(service: Service, text: str) -> str:
    """Wait for a line, while the node goes on."""
    return await asyncio.to_thread(service.line, text)


async def end(service: Service) -> int:
    """Wait for the end, while the node goes on."""
    return await asyncio.to_thread(service.end)


@pytest.mark.covers("F5", "F7", "I15")
async def test_a_worker_performs_the_calls_of_a_node_that_need_not_be_restarted(way: Way, shell: Shell) -> None:
    async with node(way) as engine:
        run = await engine.start(duties.sums, 5)
        service = await begin(shell, way)
        assert await run.result() == [0, 2, 4, 6, 8]
        assert await (await engine.start(duties.computed)).result() == 49
        assert await (await engine.start(duties.batched)).result() == [3, 3, 3]
        service.send(signal.SIGTERM)
        assert await end(service) == 0
        assert service.said[-1].endswith("stopped")


@pytest.mark.covers("I37")
async def test_a_worker_told_to_stop_ends_what_it_has_and_reports_it(way: Way, shell: Shell) -> None:
    gate = shell.folder / "gate"
    async with node(way) as engine:
        service = await begin(shell, way)
        run = await engine.start(duties.gated, str(gate))
        await said(service, "at work")
        service.send(signal.SIGTERM)
        await said(service, "draining: 1 attempt")
        gate.touch()
        assert await run.result() == "through"
        assert await end(service) == 0


@pytest.mark.covers("S12")
async def test_what_a_killed_worker_was_long_at_is_performed_by_another(way: Way, shell: Shell) -> None:
    await _kill_one_of_two(way, shell, when="still at work")


@pytest.mark.covers("S12")
@pytest.mark.parametrize("way", ["sqlite", "rabbitmq"], indirect=True)
async def test_what_a_killed_worker_had_just_begun_is_delivered_to_another(way: Way, shell: Shell) -> None:
    await _kill_one_of_two(way, shell, when="at work, attempt 1")


async def _kill_one_of_two(way: Way, shell: Shell, *, when: str) -> None:
    gate = shell.folder / "gate"
    async with node(way) as engine:
        first = await begin(shell, way)
        runs = [await engine.start(duties.gated, str(gate)) for _ in range(10)]
        for _ in runs:
            await said(first, when)
        first.kill()
        second = await begin(shell, way)
        for _ in runs:
            await said(second, "at work, attempt")
        gate.touch()
        assert [await run.result() for run in runs] == ["through"] * 10


@pytest.mark.covers("F7")
async def test_a_killed_worker_is_stale_three_intervals_after_its_last_beat_and_one_started_anew_is_alive(way: Way, shell: Shell) -> None:
    async with node(way) as engine:
        first = await begin(shell, way)
        known = await heard(engine)
        (worker,) = known.workers
        assert known.presence(worker.worker) is Presence.ALIVE
        first.kill()
        found = await heard(engine)
        last_us = found.beats[worker.worker].at_us
        assert structs.replace(found, now_us=last_us + 3 * INTERVAL_US - 1).presence(worker.worker) is Presence.ALIVE
        late = structs.replace(found, now_us=last_us + 3 * INTERVAL_US + 1)
        assert {view.presence for view in action_views(late)} == {Presence.STALE}
        run = await engine.start(duties.sums, 1)
        await until_told(run, "no worker for add since")
        await begin(shell, way)
        assert await run.result() == [0]


async def heard(engine: Engine) -> Attendance:
    """Give the registry once a worker has announced its actions and beaten, whichever of them was heard first."""
    while True:
        found = await attendance(engine.store, SystemClock().now_us())
        if found.beats and found.workers and found.actions:
            return found
        # What processes of others do has no event to wait for.
        await asyncio.sleep(0.01)


async def until_told(run: Run[Any], reason: str) -> None:
    """The run's reasons say so, sooner or later."""
    async with asyncio.timeout(PATIENCE_S):
        while reason not in str(await run.why()):  # noqa: ASYNC110 - reasons are asked for, nothing tells of them.
            await asyncio.sleep(0.02)


@pytest.mark.covers("F9")
async def test_poison_to_workers_and_to_nodes_holds_up_nothing(way: Way, shell: Shell) -> None:
    async with node(way) as engine:
        await begin(shell, way)
        assert await engine.run(duties.sums, 1) == [0]
        await poison(engine, way, calls_address("far", "add", 1))
        if way.transports:
            await poison(engine, way, NODES)
        assert await engine.run(duties.sums, 5) == [0, 2, 4, 6, 8]


async def poison(engine: Engine, way: Way, address: str) -> None:
    """Packets that mean nothing, or nothing here, are sent there, before and between others."""
    outcome = {"type": "outcome", "v": 1, "worker": "w", "status": "data", "value": 1}
    bodies: list[bytes] = [
        b"",
        b"\x80\x04pickle",
        b"[" * 5_000,
        b'{"type":"call","v":1}',
        b'{"type":"outcome","v":99}',
        json.encode({**outcome, "id": "no run#1#1~1.1", "key": "no run#1#1"}),
        json.encode({**outcome, "id": "nonsense", "key": "nonsense"}),
        json.encode({**outcome, "id": "r#0#1~9999999999999999999999.1", "key": "r#0#1"}),
        json.encode({**outcome, "id": "r\x00#1#1~1.1", "key": "r\x00#1#1"}),
    ]
    transport = make_transport(way.connect) if way.transports else DatabaseTransport(engine.store, SystemClock())
    await transport.open()
    await transport.send(address, [Packet(f"poison {number} {address}", body) for number, body in enumerate(bodies)])
    await transport.close()


@pytest.mark.covers("F7")
@pytest.mark.parametrize("way", ["sqlite", "rabbitmq"], indirect=True)
async def test_an_action_that_blocks_the_loop_for_longer_than_a_lease_keeps_its_attempt(way: Way, shell: Shell) -> None:
    async with node(way) as engine:
        service = await begin(shell, way, "--loop", "asyncio")
        run = await engine.start(duties.blocked, 5.0)
        await said(service, "has been blocked")
        assert await run.result() == 1, "the first attempt"
        await said(service, "goes on")


@pytest.mark.parametrize("way", ["sqlite"], indirect=True)
async def test_a_loop_that_is_blocked_for_too_long_loses_its_attempts(way: Way, shell: Shell) -> None:
    async with node(way) as engine:
        service = await begin(shell, way, "--loop", "asyncio", "--blocked-max", "1s")
        await engine.start(duties.blocked, 20.0)
        await said(service, "no more beats")


@pytest.mark.parametrize("way", ["sqlite"], indirect=True)
async def test_a_second_signal_ends_a_worker_at_once(shell: Shell, way: Way) -> None:
    gate = shell.folder / "gate"
    async with node(way) as engine:
        service = await begin(shell, way)
        await engine.start(duties.gated, str(gate))
        await said(service, "at work")
        service.send(signal.SIGTERM)
        await said(service, "draining")
        service.send(signal.SIGTERM)
        assert await end(service) == 128 + signal.SIGTERM
        assert "stopped at once" in service.said[-1]


@pytest.mark.parametrize("way", ["sqlite"], indirect=True)
async def test_work_that_outlasts_the_drain_is_given_up_and_the_exit_code_says_so(shell: Shell, way: Way) -> None:
    gate = shell.folder / "gate"
    async with node(way) as engine:
        service = await begin(shell, way, "--drain", "50ms")
        await engine.start(duties.gated, str(gate))
        await said(service, "at work")
        service.send(signal.SIGTERM)
        assert await end(service) == 5
        assert "stopped with 1 attempt given up" in service.said[-1]
