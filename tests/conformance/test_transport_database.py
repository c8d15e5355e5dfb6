"""The transport in the store keeps the promises of the port, on each store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from perdure.model.errors import StoreUnavailable, TransportUnavailable
from perdure.ports.store import Store
from perdure.ports.transport import Transport
from perdure.stores.memory import MemoryStore
from perdure.stores.postgres import PostgresStore
from perdure.stores.sqlite import SqliteStore
from perdure.testing.conformance.transport import TransportConformance
from perdure.transports.database import CLAIM_US, DatabaseTransport
from tests.conformance.proxy import Proxy
from tests.conformance.severed import JumpingClock, SeveredStore, Wall


class OwnStoreTransport(DatabaseTransport):
    """Opens and closes its store itself, as a process that has nothing else does."""

    def __init__(self, store: Store, clock: JumpingClock) -> None:
        super().__init__(store, clock)
        self.store = store

    async def open(self) -> None:
        try:
            await self.store.open()
        except StoreUnavailable as error:
            raise TransportUnavailable(transport=self.name, problem=str(error)) from error
        await super().open()

    async def close(self) -> None:
        await super().close()
        await self.store.close()


class DatabaseHarness(TransportConformance):
    """A process that dies, or leaves while the database is away, leaves its claims behind: the clock is put forward to their end."""

    @pytest.fixture(autouse=True)
    def _time(self) -> None:
        self.clock = JumpingClock()

    def make_store(self) -> Store:
        raise NotImplementedError

    def make_transport(self) -> Transport:
        return OwnStoreTransport(self.make_store(), self.clock)

    def other_transport(self, transport: Transport) -> Transport:
        return self.make_transport()

    async def crash(self, transport: Transport) -> None:
        assert isinstance(transport, OwnStoreTransport)
        self.end(transport.store)
        self.clock.ahead_us += CLAIM_US

    def end(self, store: Any) -> None:
        store.sever()


class SeveredHarness(DatabaseHarness):
    @pytest.fixture(autouse=True)
    def _wall(self) -> None:
        self.wall = Wall()

    def inner_store(self) -> Store:
        raise NotImplementedError

    def make_store(self) -> Store:
        return cast(Store, SeveredStore(self.inner_store(), self.wall))

    def cut(self, transport: Transport) -> None:
        assert isinstance(transport, OwnStoreTransport)
        assert isinstance(transport.store, SeveredStore)
        transport.store.cut()

    @asynccontextmanager
    async def away(self, transport: Transport) -> AsyncIterator[None]:
        self.wall.is_up = True
        try:
            yield
        finally:
            self.wall.is_up = False
            self.clock.ahead_us += CLAIM_US


@pytest.mark.covers("F8", "I5")
class TestDatabaseTransportOnMemory(SeveredHarness):
    @pytest.fixture(autouse=True)
    def _store(self) -> None:
        self.shared = MemoryStore()

    def inner_store(self) -> Store:
        return self.shared


@pytest.mark.covers("F8", "I5")
class TestDatabaseTransportOnSqlite(SeveredHarness):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "perdure.db"

    def inner_store(self) -> Store:
        return SqliteStore(self.path)


class Gate(Proxy):
    """A proxy that lets nobody through while it is shut."""

    is_shut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_shut:
            writer.transport.abort()
        else:
            await super()._serve(reader, writer)


@pytest.mark.covers("F8", "I5")
class TestDatabaseTransportOnPostgres(DatabaseHarness):
    options = ""

    @pytest.fixture(autouse=True)
    def _url(self, renewed_postgres_url: str) -> None:
        self.url = renewed_postgres_url

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        self.gate = Gate(self.url)
        self.through = await self.gate.start() + self.options
        try:
            yield
        finally:
            await self.gate.stop()

    def make_store(self) -> Store:
        return PostgresStore(self.through, apply_schema=False)

    def end(self, store: Any) -> None:
        store.abandon()

    def cut(self, transport: Transport) -> None:
        self.gate.cut()

    @asynccontextmanager
    async def away(self, transport: Transport) -> AsyncIterator[None]:
        self.gate.is_shut = True
        self.gate.cut()
        try:
            yield
        finally:
            self.gate.is_shut = False
            self.clock.ahead_us += CLAIM_US


class TestDatabaseTransportBehindPooler(TestDatabaseTransportOnPostgres):
    """Nothing prepared, nobody listening: takers look for themselves."""

    options = "&prepared=off&notify=off"
