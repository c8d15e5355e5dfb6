"""A TCP proxy on loopback that loses connections where a test wants it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Passes bytes on between a store and a server.

    ``cut_answer``: the next answer to a message that contains it is lost with all connections; the server has done the work.
    ``cut_request``: the next such message is lost before the server sees it. ``watched``: what to count in requests, in ``seen``.
    ``answers`` and ``asks``: they pass while it is set.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.cut_answer: bytes | None = None
        self.cut_request: bytes | None = None
        self.cuts = 0
        self.requests = 0
        self._loses_answer = False
        self._port = 0
        self.watched: bytes | None = None
        self.seen = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.asks = asyncio.Event()
        self.asks.set()

    async def start(self) -> str:
        """Give the URL that leads through the proxy."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._port = self._server.sockets[0].getsockname()[1]
        parts = urlsplit(self._url)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))

    def cut(self) -> None:
        """All connections are lost."""
        self.cuts += 1
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        """Nothing is listened to any more, and all connections are lost."""
        if self._server is not None:
            self._server.close()
        self.cut()

    async def end(self) -> None:
        """After it, nothing of it runs any more."""
        self.asks.set()
        self.answers.set()
        await self.stop()
        await asyncio.gather(*self._serving, return_exceptions=True)
        # An aborted connection is closed in the next round of the loop.
        await asyncio.sleep(0)

    async def resume(self) -> None:
        """After `stop`, it listens again where it did."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        ends = {writer}
        # Whoever cuts while the server is being reached cuts this too.
        self._writers.add(writer)
        try:
            parts = urlsplit(self._url)
            there_reader, there_writer = await asyncio.open_connection(parts.hostname, parts.port)
            ends.add(there_writer)
            if not writer.transport.is_closing():
                self._writers.add(there_writer)
                await asyncio.gather(self._pass_requests(reader, there_writer), self._pass_answers(there_reader, writer))
        except OSError:
            pass
        finally:
            for end in ends:
                end.transport.abort()
            self._writers -= ends

    async def _pass_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self.asks.wait()
            self.requests += 1
            self.seen += data.count(self.watched) if self.watched else 0
            if self.cut_request is not None and self.cut_request in data:
                self.cut_request = None
                self.cut()
                return
            if self.cut_answer is not None and self.cut_answer in data:
                self.cut_answer, self._loses_answer = None, True
            writer.write(data)
        writer.transport.abort()

    async def _pass_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self.answers.wait()
            if self._loses_answer:
                self._loses_answer = False
                self.cut()
                return
            writer.write(data)
        writer.transport.abort()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the server of ``url``, and the URL that leads through it."""
    proxy = Proxy(url)
    try:
        yield proxy, await proxy.start()
    finally:
        await proxy.end()
