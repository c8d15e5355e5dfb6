"""The other process of `calls`: a worker, or, for the raw round trip, whoever answers. Each ends with its standard input."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from perdure import Worker
from perdure.bench import raw_http
from perdure.bench.bench import Bench
from perdure.bench.gauge import Gauge, memory_mb
from perdure.bench.result import Result
from perdure.bench.workflows import distant
from perdure.bench.workloads.crews import BEGIN, END, lines_of_input, say


class Use(msgspec.Struct, frozen=True):
    """What the other process has used between ``begin`` and ``end``."""

    cpu_s: float
    rss_mb: float


async def callee(bench: Bench) -> list[Result]:
    """Be a worker of the bench's URL."""
    return await _serve(lambda: Worker(bench.connect or bench.url, [distant], name="callee"))


async def echo(bench: Bench) -> list[Result]:
    """Answer what comes by the bare client of a broker."""
    from perdure.bench.brokers import answering

    return await _serve(lambda: answering(bench.connect))


async def web(bench: Bench) -> list[Result]:
    """Answer what comes over HTTP by a bare server."""
    return await _serve(raw_http.answering)


async def _serve(make: Callable[[], AbstractAsyncContextManager[Any]]) -> list[Result]:
    lines = await lines_of_input()
    async with make() as made:
        say(b"ready")
        gauge = Gauge()
        while line := await lines.readline():
            if line == BEGIN:
                gauge.__enter__()
                say(b"begun")
            elif line == END:
                gauge.__exit__()
                say(msgspec.json.encode(Use(gauge.cpu_s, memory_mb())))
            elif line == raw_http.WHERE:
                say(str(made).encode())
    return []
