"""The brokers of this machine, and what their bare clients do: a call and its answer, both durable, confirmed and acknowledged one by one.

Two queues and two processes, as with us: publish the call and wait for the confirm, consume it, publish the answer and wait for the
confirm, ack the call; consume the answer and ack it. Many are on their way at once.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from perdure.bench.gauge import Gauge, percentile
from perdure.bench.result import Result

ON_LOCALHOST: Final[Mapping[str, tuple[str, str]]] = {
    "rabbitmq": ("BENCH_AMQP", "amqp://guest:guest@127.0.0.1:5672/"),
    "nats": ("BENCH_NATS", "nats://127.0.0.1:4222"),
}
IN_FLIGHT: Final = 1_000
"""About as many as a node and a worker have on their way between them where calls are short."""
CALL_BYTES, ANSWER_BYTES = 700, 300
"""About what our messages weigh."""
_CONNECT_S: Final = 1.0
_BEGIN, _END = b"begin\n", b"end\n"

Took = Callable[[bytes], Awaitable[None]]


class Pipe(Protocol):
    """A queue to send to and one to take from. ``took`` is called with each message; when it returns the message is acked."""

    async def send(self, body: bytes) -> None:
        """The broker has confirmed it."""
        ...


class Other(Protocol):
    async def ask(self, line: bytes) -> bytes:
        """As `perdure.bench.workloads.crews.Member.ask`."""
        ...


class _Use(msgspec.Struct):
    cpu_s: float


def found() -> dict[str, str]:
    """Give the URLs of the brokers that answer here, by name."""
    urls = {name: os.environ.get(variable, url) for name, (variable, url) in ON_LOCALHOST.items()}
    return {name: url for name, url in urls.items() if _answers(url)}


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672), _CONNECT_S).close()
    except OSError:
        return False
    return True


@asynccontextmanager
async def prefixed(url: str) -> AsyncIterator[str]:
    """Give the URL with a prefix for all names, which are gone in the end."""
    prefix = f"bench{secrets.token_hex(4)}"
    try:
        yield f"{url}{'&' if '?' in url else '?'}prefix={prefix}"
    finally:
        await _module(url).clear(url, prefix)


def _module(url: str) -> Any:
    if urlsplit(url).scheme.startswith("amqp"):
        from perdure.bench import raw_rabbitmq as module
    else:
        from perdure.bench import raw_nats as module  # type: ignore[no-redef]
    return module


def _piped(url: str, took: Took, *, to: str, by: str) -> "AbstractAsyncContextManager[Pipe]":
    base, _, prefix = url.rpartition("prefix=")
    piped: AbstractAsyncContextManager[Pipe] = _module(url).piped(base.rstrip("?&"), f"{prefix}-{to}", f"{prefix}-{by}", took)
    return piped


@asynccontextmanager
async def answering(url: str) -> AsyncIterator[None]:
    """Whatever comes is answered until the end."""
    body = bytes(ANSWER_BYTES)

    async def took(_: bytes) -> None:
        await pipe.send(body)

    async with _piped(url, took, to="answers", by="calls") as pipe:
        yield


async def round_trips(url: str, other: Other, calls: int, lone: int) -> Result:
    """Give the rate of so many, pipelined; and the time of one at a time."""
    room, body = asyncio.Semaphore(IN_FLIGHT), bytes(CALL_BYTES)

    async def took(_: bytes) -> None:
        room.release()

    async with _piped(url, took, to="calls", by="answers") as pipe, asyncio.TaskGroup() as sending:
        await other.ask(_BEGIN)
        with Gauge() as gauge:
            for _ in range(calls):
                await room.acquire()
                sending.create_task(pipe.send(body))
            for _ in range(IN_FLIGHT):
                await room.acquire()
        use = msgspec.json.decode(await other.ask(_END), type=_Use)
        spans = list[float]()
        for _ in range(lone):
            began = time.perf_counter()
            await pipe.send(body)
            await room.acquire()
            spans.append(time.perf_counter() - began)
    cost = {"client_us_per_call": round(gauge.cpu_s / calls * 1e6, 1), "other_us_per_call": round(use.cpu_s / calls * 1e6, 1)}
    times = {f"p{percent}_ms": round(percentile(spans, percent) * 1e3, 3) for percent in (50, 99)}
    return Result("raw", "calls", round(calls / gauge.wall_s, 1), "calls/s", {"calls": calls, "in_flight": IN_FLIGHT, **times, **cost})
