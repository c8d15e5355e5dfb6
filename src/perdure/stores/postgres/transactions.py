"""Transactions that the user's tables share with the store's. Protects from an effect without its outcome, and the other way round.

A few connections beside the store's own, so that actions that take their time do not hold up commits.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from perdure.model.errors import StoreUnavailable
from perdure.stores.postgres.failures import TRANSPORT_ERRORS
from perdure.stores.postgres.link import connect
from perdure.stores.postgres.place import Place

_AT_ONCE_MAX: Final = 4


class Transactions:
    """Gives connections with a transaction open, at most so many at once; others wait their turn."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._turns = asyncio.Semaphore(_AT_ONCE_MAX)
        self._idle: list[asyncpg.Connection[Any]] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        async with self._turns:
            connection, transaction = await self._begun()
            try:
                yield connection
            except BaseException:
                await self._end(connection, transaction.rollback)
                raise
            try:
                await transaction.commit()
            except BaseException as error:
                connection.terminate()
                if isinstance(error, TRANSPORT_ERRORS):
                    raise StoreUnavailable(store=self._place.name, problem=str(error)) from error
                raise
            self._idle.append(connection)

    async def _begun(self) -> tuple["asyncpg.Connection[Any]", Any]:
        while True:
            is_fresh = not self._idle
            connection = await connect(self._place) if is_fresh else self._idle.pop()
            try:
                transaction = connection.transaction()
                await transaction.start()
                return connection, transaction
            except TRANSPORT_ERRORS as error:
                connection.terminate()
                # One that lay idle may have been lost long ago; a fresh one tells how things stand.
                if is_fresh:
                    raise StoreUnavailable(store=self._place.name, problem=str(error)) from error

    async def _end(self, connection: "asyncpg.Connection[Any]", rollback: Any) -> None:
        try:
            await rollback()
            self._idle.append(connection)
        except TRANSPORT_ERRORS:
            connection.terminate()

    def close(self) -> None:
        """Connections that lie idle are closed; safe to call twice."""
        while self._idle:
            self._idle.pop().terminate()
