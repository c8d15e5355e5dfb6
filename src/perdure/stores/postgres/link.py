"""One connection that comes back by itself. Protects the store from a server that restarts, fails over or hangs up."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from perdure.model.errors import EngineClosed, PerdureError, StoreUnavailable
from perdure.stores.postgres.failures import TRANSPORT_ERRORS, ends_connection, is_for_the_caller, is_worth_repeating, translated
from perdure.stores.postgres.place import Place

Greet = Callable[["asyncpg.Connection[Any]"], Awaitable[None]]

_PAUSE_FIRST_S: Final = 0.05
_PAUSE_MAX_S: Final = 2.0
_REPEATS_MAX: Final = 5
_ANSWER_S: Final = 30.0
# Only where a statement needs a transaction of several round trips: a process that was stopped in between gives its locks back soon.
_BEGIN: Final = "begin; set local idle_in_transaction_session_timeout = '5s'"


async def connect(place: Place) -> "asyncpg.Connection[Any]":
    """Give a new connection; raises `StoreUnavailable` and what else `translated` makes of a refusal."""
    try:
        return await asyncpg.connect(
            place.url,
            timeout=place.connect_timeout_s,
            statement_cache_size=100 if place.prepares else 0,
            max_cached_statement_lifetime=0,
        )
    except (ValueError, *TRANSPORT_ERRORS) as error:
        raise _ours(error, place.name) from error


def _ours(error: BaseException, store: str) -> PerdureError:
    if isinstance(error, ValueError | asyncpg.ClientConfigurationError):
        return StoreUnavailable(store=store, problem=f"its URL cannot be used: {error}")
    return translated(error, store)


class Link:
    """Requests run one after another. A connection that was lost is made anew by the next request, after a pause if that failed before."""

    def __init__(self, place: Place, greet: Greet) -> None:
        self._place = place
        self._greet = greet
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection[Any] | None = None
        self._pause_s = 0.0
        self._is_open = False

    async def open(self) -> None:
        """Connected; raises what `connect` raises, and is closed then."""
        async with self._lock:
            self._pause_s = 0.0
            await self._connected()
            self._is_open = True

    def open_when_asked(self) -> None:
        """The first request connects; until then no connection is held."""
        self._is_open = True

    async def close(self) -> None:
        """Requests that were made are done, then the connection is closed; safe to call twice."""
        self._is_open = False
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                await _end(connection)

    def abandon(self) -> None:
        """As if the process had died: the connection is cut."""
        self._is_open = False
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def reconnect(self) -> None:
        """The connection is a new one, and the server was looked at again."""
        async with self._lock:
            self._drop()
            await self._connected()

    async def fetch(self, sql: str, *arguments: Any, again: bool, vet: Callable[[], None] = lambda: None) -> list[Any]:
        """Give the rows of one statement, a transaction by itself. ``again``: it may run twice, if the connection is lost meanwhile.

        ``vet`` may refuse when it is known which server will be asked. Raises the driver's error if `is_for_the_caller`, else ours.
        """
        if not self._is_open:
            raise EngineClosed(state=f"closed (its store {self._place.name} is)", asked="a request to the store")
        async with self._lock:
            repeats = 0
            while True:
                connection = await self._ready()
                vet()
                try:
                    return await self._ask(connection, sql, arguments)
                except BaseException as error:
                    repeats += 1
                    is_lost = self._has_lost(error)
                    if is_for_the_caller(error) or not isinstance(error, TRANSPORT_ERRORS):
                        raise
                    if repeats == _REPEATS_MAX or not (is_worth_repeating(error) or (again and is_lost)):
                        raise translated(error, self._place.name) from error
                    again = again and not is_lost

    def _has_lost(self, error: BaseException) -> bool:
        """Tell whether the connection is gone after this error; then it is not used again."""
        if isinstance(error, TRANSPORT_ERRORS):
            is_lost = ends_connection(error)
        else:
            # Cancelled. Between two steps of a transaction the server must not wait for the rest of it.
            is_lost = not self._place.prepares
        if is_lost:
            self._drop()
        return is_lost

    async def _ready(self) -> "asyncpg.Connection[Any]":
        connection = self._connection
        if connection is None or connection.is_closed():
            return await self._connected()
        return connection

    async def _ask(self, connection: "asyncpg.Connection[Any]", sql: str, arguments: tuple[Any, ...]) -> list[Any]:
        if self._place.prepares:
            return await connection.fetch(sql, *arguments, timeout=_ANSWER_S)
        # A pooler in transaction mode gives one server for one transaction: what the driver sends in several steps has to be one.
        await connection.execute(_BEGIN, timeout=_ANSWER_S)
        try:
            rows = await connection.fetch(sql, *arguments, timeout=_ANSWER_S)
        except asyncpg.PostgresError:
            if not connection.is_closed():
                await connection.execute("rollback", timeout=_ANSWER_S)
            raise
        await connection.execute("commit", timeout=_ANSWER_S)
        return rows

    async def _connected(self) -> "asyncpg.Connection[Any]":
        self._drop()
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S) or _PAUSE_FIRST_S
        connection = await connect(self._place)
        try:
            await self._greet(connection)
        except TRANSPORT_ERRORS as error:
            connection.terminate()
            raise translated(error, self._place.name) from error
        except BaseException:
            connection.terminate()
            raise
        self._connection, self._pause_s = connection, 0.0
        return connection


async def _end(connection: "asyncpg.Connection[Any]") -> None:
    try:
        await connection.close(timeout=1)
    except TRANSPORT_ERRORS:
        connection.terminate()
