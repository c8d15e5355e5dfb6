"""The server: one socket, one application, in the event loop that is there. Protects from a port that is open to strangers by accident."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from perdure.api.waiting import Waiting
from perdure.model.errors import InvalidOption

logger = logging.getLogger("perdure.api")

BACKLOG: Final = 1_024
GRACE_S: Final = 10
KEEP_ALIVE_S: Final = 75


def address_of(text: str) -> tuple[str, int]:
    """Take ``HOST:PORT``, ``:PORT`` or ``[::1]:PORT`` apart; without a host it is 127.0.0.1. Raises `InvalidOption`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise InvalidOption(option="the address of the API", found=repr(text), expected="HOST:PORT, such as 127.0.0.1:8700")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """Leaves signals to whoever owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(application: ASGIApp, host: str, port: int, waiting: Waiting) -> AsyncIterator[str]:
    """The application answers at this address; gives its URL. At the end, requests under way have been answered, and long polls told to
    come again. Raises `InvalidOption` if the address cannot be opened.
    """
    listening = _open(host, port)
    bound = listening.getsockname()
    url = f"http://[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"http://{bound[0]}:{bound[1]}"
    options = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        interface="asgi3",
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        ws="none",
    )
    server = _Server(options)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        logger.info("the API answers at %s", url)
        yield url
    finally:
        waiting.end()
        server.should_exit = True
        await task
        listening.close()


def _open(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidOption(
            option="the address of the API", found=f"{host}:{port}", expected=f"one that can be opened ({error})"
        ) from error
    # Connections inherit it. asyncio sets it on its own sockets alone; without it each answer waits 40 ms for the caller's delayed ack.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
