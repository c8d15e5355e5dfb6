"""What a dead node left in its partitions is looked after by whoever takes them, all of it."""

import asyncio
from collections.abc import Collection

from perdure import Registry
from perdure.model.ids import RunId
from perdure.ports.store import InboxItem
from perdure.stores.memory import MemoryStore
from perdure.testing import Environment


class NotingStore(MemoryStore):
    """Notes what a node looks at, in order."""

    def __init__(self) -> None:
        super().__init__(partitions=4)
        self.looks: list[str] = []

    async def has_news(self, partitions: Collection[int]) -> bool:
        self.looks.append("news")
        return await super().has_news(partitions)

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        self.looks.append("due")
        return await super().due(partitions, now_us, limit)

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        self.looks.append("inbox")
        return await super().addressed(partitions, limit)


async def test_partitions_that_come_while_others_are_taken_over_are_looked_after_too() -> None:
    looked_after: list[set[int]] = []
    gate = asyncio.Event()

    async def take_over(partitions: Collection[int]) -> None:
        looked_after.append(set(partitions))
        await gate.wait()

    async with Environment(MemoryStore(partitions=4), registry=Registry()) as env:
        env.engine.node.lookout.take_over = take_over
        env.engine.node._on_taken({1})
        env.engine.node._on_taken({1, 2})
        await env.settle()
        gate.set()
    assert looked_after == [{1}, {1, 2}]


async def test_a_take_over_asks_for_news_before_it_looks_for_what_the_news_may_be_about() -> None:
    store = NotingStore()
    async with Environment(store, registry=Registry()):
        assert store.looks == ["news", "due", "inbox"]
