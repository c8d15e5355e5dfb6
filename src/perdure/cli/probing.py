"""Answers probes over HTTP: GET /live, /ready and /health. Loopback only unless told otherwise; nothing can be asked but this."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from perdure import Engine
from perdure.cli.exits import CommandEnds, Exit

_PATIENCE_S: Final = 5.0
_HEAD_MAX: Final = 8_192
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@asynccontextmanager
async def probes(engine: Engine, host: str, port: int | None) -> AsyncIterator[None]:
    """The port answers, if there is one. Ends the command if it is taken."""
    if port is None:
        yield
        return
    try:
        server = await asyncio.start_server(Probe(engine).answer, host, port, limit=_HEAD_MAX)
    except OSError as error:
        raise CommandEnds(Exit.USAGE, f"perdure serve: --health-port {port} on {host} cannot be opened: {error}") from error
    async with server:
        yield


class Probe:
    """``/live``: the process runs its event loop. ``/ready``: it moves runs, its store answers, and it is not about to end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request is answered, and the connection is closed."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                code, body = await self._respond(head)
                writer.write(_response(code, body))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # Whoever asked has gone, or asks something else; there is nobody to tell.
        finally:
            writer.close()

    async def _respond(self, head: bytes) -> tuple[int, bytes]:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return 405, b"{}"
        if path == b"/live":
            return 200, b"{}"
        if path not in (b"/ready", b"/health"):
            return 404, b"{}"
        health = await self._engine.health()
        return (200 if health.is_ready or path == b"/health" else 503), msgspec.json.encode(health)


def _response(code: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
