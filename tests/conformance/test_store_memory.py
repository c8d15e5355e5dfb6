"""The store in memory keeps the promises of the port."""

import asyncio

import pytest

from perdure.model.errors import LeaseLost
from perdure.model.ids import RunId
from perdure.model.run import Transition
from perdure.ports.store import Batch, Store
from perdure.stores.memory import MemoryStore
from perdure.testing.conformance.store import StoreConformance


@pytest.mark.covers("M24")
class TestMemoryStore(StoreConformance):
    is_durable = False
    tells_news = True

    def make_store(self) -> Store:
        return MemoryStore()

    def other_store(self, store: Store) -> Store:
        return store

    def crash(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        store.break_lease()


@pytest.mark.covers("M17", "M26")
class TestSharedMemoryStore(TestMemoryStore):
    tells_death = False

    def make_store(self) -> Store:
        return MemoryStore(partitions=8)


def test_a_holder_that_was_declared_dead_writes_nothing_more() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        epoch = await store.take_lease("a", 1, 10)
        store.break_lease()
        with pytest.raises(LeaseLost):
            await store.commit(Batch(epoch, rows=[Transition(RunId("a"), 1, 1, b"[]")]))

    asyncio.run(scenario())
