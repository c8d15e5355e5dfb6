"""A web server that does as little as one can, so that it is not what is measured."""

import asyncio
from typing import cast

import msgspec

from perdure.bench.bench import Bench
from perdure.bench.gauge import Gauge, memory_mb
from perdure.bench.result import Result
from perdure.bench.workloads.callees import Use
from perdure.bench.workloads.crews import BEGIN, END, lines_of_input, say
from perdure.bench.workloads.scrape import PRODUCTS

_END_OF_HEAD = b"\r\n\r\n"
_PATH = b"/shop/"


def page(shop: str) -> bytes:
    """Give a whole answer: about two kilobytes, as a list of products is."""
    products = "".join(f'<li class="product"><b>Thing &amp; {i}</b>  only {i + 10}.99 EUR of shop {shop} </li>' for i in range(PRODUCTS))
    body = f"<html><head><title>Shop {shop}</title></head><body><ul>{products}</ul></body></html>".encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class PageProtocol(asyncio.Protocol):
    """Answers each request on a connection that stays open."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As the base class."""
        # Not asked by its class: uvloop's is none of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """As the base class."""
        *requests, self._read = (self._read + data).split(_END_OF_HEAD)
        for request in requests:
            shop = request.partition(b" HTTP/")[0].partition(_PATH)[2].partition(b"?")[0]
            assert self._transport is not None
            self._transport.write(self._answers[shop])


async def serve(bench: Bench) -> list[Result]:
    """Serve until standard input ends."""
    answers = {str(shop).encode(): page(str(shop)) for shop in range(100)}
    lines = await lines_of_input()
    server = await asyncio.get_running_loop().create_server(lambda: PageProtocol(answers), "127.0.0.1", 0)
    async with server:
        say(b"ready")
        gauge = Gauge()
        while line := await lines.readline():
            if line == BEGIN:
                gauge.__enter__()
                say(b"begun")
            elif line == END:
                gauge.__exit__()
                say(msgspec.json.encode(Use(gauge.cpu_s, memory_mb())))
            else:
                say(b"http://127.0.0.1:%d" % server.sockets[0].getsockname()[1])
    return []
