"""HTTP by its bare libraries, uvicorn and httpx: a request for each call, whose answer is the outcome, on connections that stay open."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from perdure.bench.brokers import ANSWER_BYTES, CALL_BYTES, Other
from perdure.bench.gauge import Gauge, percentile
from perdure.bench.result import Result

AT_ONCE: Final = 16
"""As many as a worker over HTTP has on their way."""
WHERE: Final = b"where\n"
_BEGIN, _END = b"begin\n", b"end\n"


class _Use(msgspec.Struct):
    cpu_s: float


def is_there() -> bool:
    """Tell whether the libraries of the API and of its workers are installed."""
    return all(find_spec(name) is not None for name in ("uvicorn", "starlette", "httpx"))


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """The application: the body is read, and answered."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", str(ANSWER_BYTES).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(ANSWER_BYTES)})


@asynccontextmanager
async def answering() -> AsyncIterator[str]:
    """Whatever is asked is answered until the end; gives the URL."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(_answer, log_config=None, access_log=False, interface="asgi3", lifespan="off", ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()


async def round_trips(other: Other, calls: int, lone: int) -> Result:
    """Give the rate of so many, a few at once; and the time of one at a time. ``other`` is `answering`."""
    import httpx

    url, body, turn = (await other.ask(WHERE)).decode().strip(), bytes(CALL_BYTES), iter(range(calls))
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    async with httpx.AsyncClient(trust_env=False, limits=limits, timeout=None) as client:

        async def some() -> None:
            for _ in turn:
                await client.post(url, content=body)

        await asyncio.gather(*(client.post(url, content=body) for _ in range(AT_ONCE)))
        await other.ask(_BEGIN)
        with Gauge() as gauge:
            await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        use = msgspec.json.decode(await other.ask(_END), type=_Use)
        spans = list[float]()
        for _ in range(lone):
            began = time.perf_counter()
            await client.post(url, content=body)
            spans.append(time.perf_counter() - began)
    cost = {"client_us_per_call": round(gauge.cpu_s / calls * 1e6, 1), "other_us_per_call": round(use.cpu_s / calls * 1e6, 1)}
    times = {f"p{percent}_ms": round(percentile(spans, percent) * 1e3, 3) for percent in (50, 99)}
    return Result("raw", "calls", round(calls / gauge.wall_s, 1), "calls/s", {"calls": calls, "in_flight": AT_ONCE, **times, **cost})
