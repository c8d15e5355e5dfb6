"""A worker that is called at its URL: answers as it is told to, byte for byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec


class Service:
    """``answer``: what goes back, whole; nothing breaks the connection. ``gate``: it waits for that first."""

    def __init__(self) -> None:
        self.answer = b""
        self.gate: asyncio.Event | None = None
        self.url = ""
        self.heads: list[str] = []
        self.bodies: list[dict[str, object]] = []
        self.heard = asyncio.Event()
        self.hung_up = asyncio.Event()

    def says(self, status: int, body: object = None, *headers: str, kind: str = "application/json") -> None:
        """Answer with this status and body; bytes go as they are."""
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(data)}", "Connection: close", *headers]
        self.answer = "\r\n".join([*lines, "", ""]).encode() + data

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line.partition(":")[2]) for line in head.splitlines() if line.lower().startswith("content-length"))
            self.heads.append(head)
            self.bodies.append(msgspec.json.decode(await reader.readexactly(length)))
            self.heard.set()
            if self.gate is not None:
                ended = asyncio.ensure_future(reader.read())
                gate = asyncio.ensure_future(self.gate.wait())
                await asyncio.wait({ended, gate}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    self.hung_up.set()
                ended.cancel()
                gate.cancel()
            writer.write(self.answer)
            with contextlib.suppress(OSError):
                await writer.drain()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def service() -> AsyncIterator[Service]:
    """Give a worker at a port of its own."""
    found = Service()
    server = await asyncio.start_server(found.take, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/calls?key=hidden"
    async with server:
        yield found
