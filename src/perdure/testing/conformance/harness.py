"""What a store's harness gives to the suite, and what the suite's tests share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from msgspec import UNSET, UnsetType

from perdure.model.ids import RunId
from perdure.model.run import RunChange, RunRow, Status, Transition
from perdure.ports.store import Batch, InboxItem, Store

LEASE_US = 30_000_000


class StoreHarness:
    """Names the store under test. Override what is not true of it.

    ``is_durable``: what was committed is there in a store opened later. ``tells_death``: a holder that died is known at once, and one that
    lives keeps the lease however late it is; without it the lease's end is all that counts. ``tells_news``: hints go from handle to handle.
    """

    is_durable: ClassVar[bool] = True
    tells_death: ClassVar[bool] = True
    tells_news: ClassVar[bool] = False

    def make_store(self) -> Store:
        """Give a new store, empty and not open."""
        raise NotImplementedError

    def other_store(self, store: Store) -> Store:
        """Give a second handle on the same data, not open, as another process has; ``store`` itself if it is shared as it is."""
        raise NotImplementedError

    async def until_heard(self, store: Store) -> None:
        """Hints that others announce from now on reach the subscribers of ``store``."""

    def crash(self, store: Store) -> None:
        """The process of ``store`` dies: it says no farewell, and does nothing more."""
        raise NotImplementedError

    @asynccontextmanager
    async def another(self, store: Store) -> AsyncIterator[Store]:
        other = self.other_store(store)
        await other.open()
        try:
            yield other
        finally:
            if other is not store:
                await other.close()


def promise(test: Callable[[Any, Store], Awaitable[None]]) -> Callable[[Any], None]:
    """Make a test of an async function that takes an open store; the store is closed after it."""

    async def run(suite: StoreHarness) -> None:
        store = suite.make_store()
        await store.open()
        try:
            await test(suite, store)
        finally:
            await store.close()

    # Not functools.wraps: pytest would look through it and take `store` for a fixture.
    def check(self: StoreHarness) -> None:
        asyncio.run(run(self))

    check.__name__, check.__qualname__, check.__doc__ = getattr(test, "__name__", ""), getattr(test, "__qualname__", ""), test.__doc__
    return check


def start(run: str, *, created_us: int = 1, **fields: Any) -> RunRow:
    values: dict[str, Any] = {"definition": "order", "created_us": created_us, "updated_us": created_us}
    return RunRow(id=RunId(run), **values | fields)


def step(run: str, number: int, facts: bytes = b"[]", data: bytes | None = None) -> Transition:
    return Transition(RunId(run), number, 1_000 + number, facts, data)


def change(run: str, status: Status = Status.WAITING, *, wake_us: int | None = None, reason: str | None | UnsetType = UNSET) -> RunChange:
    return RunChange(id=RunId(run), status=status, updated_us=2_000, wake_us=wake_us, reason=reason)


def message(run: str, id: str, body: bytes = b"{}", data: bytes | None = None) -> InboxItem:
    return InboxItem(RunId(run), id, 3_000, body, data)


def every(store: Store) -> Sequence[int]:
    """All partitions that there are."""
    return range(store.traits.partitions)


async def take(store: Store, node: str = "a", now_us: int = 1) -> int:
    epoch = await store.take_lease(node, now_us, LEASE_US)
    assert epoch is not None
    return epoch


async def journal(store: Store, run: str) -> list[tuple[int, bytes]]:
    return [(row.number, row.facts) for row in await store.transitions(RunId(run), 0, 1_000_000)]


async def put(store: Store, *starts: RunRow) -> None:
    await store.commit(Batch(starts=list(starts)))
