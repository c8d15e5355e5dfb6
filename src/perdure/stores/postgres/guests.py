"""Connections of callers, of whichever driver: the store writes in a transaction that the caller began and will end."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from msgspec import Struct

from perdure.model.errors import InvalidOption, Unsupported
from perdure.stores.postgres.failures import TRANSPORT_ERRORS

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_KNOWN: Final = "a connection of asyncpg, or an AsyncConnection of psycopg 3, to the store's database"
_OPEN: Final = "one that is open: async with connection.transaction(): …"


class Guest(Struct, frozen=True):
    """``fetch`` gives the rows of a statement whose parameters are ``$1``, ``$2`` …; ``errors``: what it raises that is the driver's."""

    fetch: Callable[..., Awaitable[list[Any]]]
    errors: tuple[type[BaseException], ...]


def guest_of(connection: Any) -> Guest:
    """Give the way to use a caller's connection; raises `InvalidOption` unless it is of a driver that is known and in a transaction."""
    if isinstance(connection, asyncpg.Connection | PoolConnectionProxy):
        if not connection.is_in_transaction():
            raise InvalidOption(option="connection", found="no transaction", expected=_OPEN)
        return Guest(connection.fetch, TRANSPORT_ERRORS)
    # A connection of it cannot be there before the driver is; and the driver need not be installed.
    if "psycopg" in sys.modules:
        import psycopg

        if isinstance(connection, psycopg.AsyncConnection):
            return _guest_of_psycopg(connection)
    found = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise InvalidOption(option="connection", found=found, expected=_KNOWN)


def _guest_of_psycopg(connection: "AsyncConnection[Any]") -> Guest:
    import psycopg
    from psycopg.pq import TransactionStatus
    from psycopg.rows import tuple_row

    # It begins a transaction with the first statement, unless it was told to commit each by itself.
    if connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE:
        raise InvalidOption(option="connection", found="no transaction", expected=_OPEN)

    async def fetch(sql: str, *arguments: Any) -> list[Any]:
        async with psycopg.AsyncRawCursor(connection, row_factory=tuple_row) as cursor:
            try:
                # Written in this package; what comes from outside are the arguments.
                await cursor.execute(sql.encode(), arguments)
                return await cursor.fetchall()
            except (UnicodeError, psycopg.DataError) as error:
                if getattr(error, "sqlstate", None) is not None:
                    raise
                # The driver says so, before anything is sent.
                raise Unsupported(what="An id, name or tag that PostgreSQL has no text for", why=str(error)) from error

    return Guest(fetch, (psycopg.Error, OSError))
