"""A connection to a broker that comes back by itself. Protects from a broker that restarts, hangs up or is away for a night.

The products' clients have reconnections of their own; ours gives each connection to whoever depends on it as a new one, so that nobody
settles on one connection what came by another.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from perdure.model.errors import InvalidOption, PerdureError, TransportUnavailable

logger = logging.getLogger("perdure.transports")

_PAUSE_FIRST_S: Final = 0.05
_PAUSE_MAX_S: Final = 5.0
_CANCEL_S: Final = 0.1


class Connection(Protocol):
    """One connection, open from its making until it is lost or closed."""

    async def close(self) -> None:
        """It is closed; raises nothing."""
        ...


C = TypeVar("C", bound=Connection)
Lost = Callable[[str], None]
Connect = Callable[[Lost], Awaitable[C]]
"""Makes a connection, which calls once what it is given, with the problem, when it is lost. Raises ours only."""
Follow = Callable[[C], Awaitable[None]]
"""Restores what depends on connections, on a new one. Raises `TransportUnavailable` if the connection is no good."""


class Link(Generic[C]):
    """``current`` is there or raises; followers are told of every new connection, the first excepted."""

    def __init__(self, name: str, connect: Connect[C], *, timeout_s: float) -> None:
        self._name = name
        self._connect = connect
        self._timeout_s = timeout_s
        self._connection: C | None = None
        self._problem = "it is not open"
        self._followers: dict[object, Follow[C]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._is_lost = asyncio.Event()
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed, connected or not."""
        return self._keeper is not None

    async def open(self) -> None:
        """Connected, and kept so; raises `TransportUnavailable` and `InvalidOption`. Safe to call twice."""
        async with self._opening:
            if self._keeper is None:
                await self._make()
                self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"link to {self._name}")

    async def close(self) -> None:
        """Not connected any more; safe to call twice."""
        async with self._opening:
            keeper, self._keeper = self._keeper, None
            while keeper is not None and not keeper.done():
                # More than once: where a client uses asyncio.wait_for, Python 3.11 may lose a cancellation.
                keeper.cancel()
                await asyncio.wait([keeper], timeout=_CANCEL_S)
            await self._drop("it is closed")
            self._followers.clear()

    def current(self) -> C:
        """Give the connection; raises `TransportUnavailable` at once where there is none."""
        if self._connection is None:
            raise self.unavailable(self._problem)
        return self._connection

    def follow(self, who: object, restore: Follow[C]) -> None:
        """``restore`` is called with each new connection from now on."""
        self._followers[who] = restore

    def forget(self, who: object) -> None:
        """It is not called any more; safe to call twice."""
        self._followers.pop(who, None)

    def unavailable(self, problem: str) -> TransportUnavailable:
        return TransportUnavailable(transport=self._name, problem=problem)

    async def _make(self) -> None:
        self._is_lost.clear()
        losing = self._losing()
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._connect(losing)
        except TimeoutError as error:
            raise self.unavailable(f"no connection within {self._timeout_s:g} s") from error
        if self._is_lost.is_set():
            await connection.close()
            raise self.unavailable(self._problem)
        self._connection = connection

    def _losing(self) -> Lost:
        """What a connection calls; that of a connection given up has no effect on the next one."""
        is_current = True

        def lost(problem: str) -> None:
            nonlocal is_current
            if is_current:
                is_current = False
                self._connection, self._problem = None, problem
                self._is_lost.set()

        return lost

    async def _drop(self, problem: str) -> None:
        connection, self._connection = self._connection, None
        self._problem = problem
        if connection is not None:
            await connection.close()

    async def _keep(self) -> None:
        while True:
            await self._is_lost.wait()
            logger.info("the transport %s was lost: %s; connecting again", self._name, self._problem)
            pause_s = _PAUSE_FIRST_S
            while not await self._is_back():
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
            logger.info("the transport %s is back", self._name)

    async def _is_back(self) -> bool:
        try:
            await self._make()
            connection = self.current()
            for follow in tuple(self._followers.values()):
                await self._restore(follow, connection)
        except (TransportUnavailable, InvalidOption) as error:
            await self._drop(error.fields.get("problem") or str(error))
            return False
        except Exception as error:
            # An adapter that let a client's error through: told with its place, and tried again. Nobody else would ever connect again.
            logger.exception("connecting to the transport %s again met what it should not", self._name)
            await self._drop(f"{type(error).__name__}: {error}")
            return False
        return not self._is_lost.is_set()

    async def _restore(self, follow: Follow[C], connection: C) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await follow(connection)
        except TransportUnavailable:
            raise
        except TimeoutError as error:
            raise self.unavailable(f"what it had was not restored within {self._timeout_s:g} s") from error
        except PerdureError:
            # One queue that was deleted or forbidden meanwhile must not keep all others waiting.
            logger.exception("a handling on the transport %s could not be restored", self._name)
