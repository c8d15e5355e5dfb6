"""The store in a PostgreSQL database keeps the promises of the port."""

import asyncio

import pytest

from perdure.ports.store import Store
from perdure.stores.postgres import PostgresStore
from perdure.testing.conformance.store import StoreConformance


@pytest.mark.covers("M13", "M17", "M24", "M26", "M31")
class TestPostgresStore(StoreConformance):
    tells_death = False
    tells_news = True
    options = ""

    @pytest.fixture(autouse=True)
    def _place(self, postgres_url: str) -> None:
        self.url = postgres_url + self.options

    def make_store(self) -> Store:
        return PostgresStore(self.url, partitions=8)

    def other_store(self, store: Store) -> Store:
        return PostgresStore(self.url)

    async def until_heard(self, store: Store) -> None:
        assert isinstance(store, PostgresStore)
        await asyncio.wait_for(store._news.is_heard.wait(), 10)

    def crash(self, store: Store) -> None:
        assert isinstance(store, PostgresStore)
        store.abandon()


class TestPostgresStoreBehindPooler(TestPostgresStore):
    """As a pooler in transaction mode needs it: nothing prepared, nobody listening."""

    options = "&prepared=off&notify=off"
    tells_news = False

    @pytest.fixture(autouse=True)
    def _place(self, renewed_postgres_url: str) -> None:
        self.url = renewed_postgres_url + self.options
