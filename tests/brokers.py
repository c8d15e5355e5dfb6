"""Brokers for tests: those that ``PERDURE_TEST_AMQP`` and ``PERDURE_TEST_NATS`` name, else those on localhost.

`tests/conftest.py` offers the fixtures ``amqp_url`` and ``nats_url``, each with a prefix of its own; what is made under it goes afterwards.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiormq
import nats

from perdure.ports.transport import Transport
from perdure.testing.conformance.transport import TransportConformance, TransportHarness
from tests.conformance.proxy import Proxy
from tests.missing import missing

_PROXIES = 6
_DEAF_S = 10.0

PATIENCE = TransportHarness()
PATIENCE.patience_s = 100.0  # type: ignore[misc]


def amqp_server() -> str:
    """Give the URL of a RabbitMQ."""
    return os.environ.get("PERDURE_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672/")


def nats_server() -> str:
    """Give the URL of a NATS server with JetStream."""
    return os.environ.get("PERDURE_TEST_NATS", "nats://127.0.0.1:4222")


def answers(url: str) -> bool:
    """Tell whether something listens there."""
    parts = urlsplit(url)
    return asyncio.run(listens(parts.hostname or "127.0.0.1", parts.port or 0))


async def delete_queues(server: str, names: Iterable[str]) -> None:
    """The queues are not there."""
    connection = await aiormq.connect(server)
    channel = await connection.channel()
    for name in names:
        await channel.queue_delete(name)
    await connection.close()


async def delete_streams(server: str, prefix: str) -> None:
    """No stream of the prefix is there."""
    connection = await nats.connect(server)
    stream = connection.jetstream()
    for found in await stream.streams_info():
        if found.config.name is not None and found.config.name.startswith(prefix):
            await stream.delete_stream(found.config.name)
    await connection.close()


class OwnServer:
    """A server of our own in a folder, on a port of its own; a test may kill it and start it again."""

    def __init__(self, command: list[str], port: int, environment: dict[str, str]) -> None:
        self.port = port
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """It takes connections."""
        self.begin()
        await PATIENCE.until(self.is_up, "the server")

    def begin(self) -> None:
        """It is on its way."""
        assert self._process is None, "it was begun and not killed"
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # A session of its own: it goes with all that it has started.
        self._process = subprocess.Popen(self._command, env=os.environ | self._environment, start_new_session=True, **quiet)  # type: ignore[call-overload]

    async def is_up(self) -> bool:
        """Whether it takes connections; one that has ended by itself never will."""
        assert self._process is None or self._process.poll() is None, f"{self._command[0]} ended by itself"
        return self._process is not None and await listens("127.0.0.1", self.port)

    def kill(self) -> None:
        """Its processes are gone, without a farewell."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._wait_until_deaf()

    def _wait_until_deaf(self) -> None:
        """What its first process has begun is killed with it, and is none of our children: it may take connections for a moment more."""
        end_s = time.monotonic() + _DEAF_S
        while time.monotonic() < end_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.005)
        raise AssertionError(f"{self._command[0]} was killed and takes connections")


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def own_nats(folder: Path, *arguments: str) -> AsyncIterator[OwnServer]:
    """A running NATS server; `missing` where the program is not installed."""
    program = shutil.which("nats-server")
    if program is None:
        missing("nats-server is not installed")
    port = free_port()
    async with _running(OwnServer([program, "-a", "127.0.0.1", "-p", str(port), "-sd", str(folder), *arguments], port, {})) as server:
        yield server


@asynccontextmanager
async def own_rabbitmq(folder: Path, *, settings: str) -> AsyncIterator[OwnServer]:
    """A running RabbitMQ; `missing` where the program is not installed."""
    # The program on the PATH changes to an account of its own, which may not write here.
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if not program.exists():
        missing("rabbitmq-server is not installed")
    port = free_port()
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n{settings}")
    (folder / "enabled_plugins").write_text("[].")
    environment = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"perdure_{port}@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    async with _running(OwnServer([str(program)], port, environment)) as server:
        yield server


@asynccontextmanager
async def _running(server: OwnServer) -> AsyncIterator[OwnServer]:
    try:
        await server.start()
        yield server
    finally:
        server.kill()


def self_signed(folder: Path) -> tuple[str, str]:
    """Give the files of a key and of a certificate for 127.0.0.1."""
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate, *subject]
    subprocess.run(made, check=True, capture_output=True, timeout=30)
    return key, certificate


async def listens(host: str, port: int) -> bool:
    """Tell whether something takes connections there."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 5)
    except OSError:
        return False
    writer.close()
    return True


class BrokerHarness(TransportConformance):
    """Each transport reaches the broker through a proxy of its own, which can be cut."""

    __test__ = False

    def new_transport(self, url: str) -> Transport:
        """Give a transport of the product under test."""
        raise NotImplementedError

    async def clean_up(self) -> None:
        """Nothing is left on the broker."""
        raise NotImplementedError

    url: str

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.clean_up)
            self._free: list[tuple[Proxy, str]] = []
            self._proxies: dict[Any, Proxy] = {}
            for _ in range(_PROXIES):
                proxy = Proxy(self.url)
                stack.push_async_callback(proxy.stop)
                self._free.append((proxy, await proxy.start()))
            yield

    def make_transport(self) -> Transport:
        proxy, url = self._free.pop()
        transport = self.new_transport(url)
        self._proxies[transport] = proxy
        return transport

    def other_transport(self, transport: Transport) -> Transport:
        return self.make_transport()

    async def crash(self, transport: Transport) -> None:
        await self._proxies[transport].stop()
        await transport.close()

    def cut(self, transport: Transport) -> None:
        self._proxies[transport].cut()

    @asynccontextmanager
    async def away(self, transport: Transport) -> AsyncIterator[None]:
        proxies = [*self._proxies.values(), *(proxy for proxy, _ in self._free)]
        for proxy in proxies:
            await proxy.stop()
        try:
            yield
        finally:
            for proxy in proxies:
                await proxy.resume()
