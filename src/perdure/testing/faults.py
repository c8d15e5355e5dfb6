"""A store that fails on demand. Wraps any store and keeps its promises, up to the moment at which it is told to break them.

The commits of nodes are counted from 1, over all nodes that used the store. A crash stops the store dead: the commit never returns, and no
later one is begun, until `break_lease`. The test then ends the engine (`Environment.kill`) as the operating system would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from perdure.model.durability import Durability
from perdure.model.errors import StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.retention import Outdated
from perdure.model.run import RunRow, Transition
from perdure.ports.store import Batch, Hint, InboxItem, Loaded, Reply, RunQuery, Store, Survey, Traits
from perdure.stores.forwarding import ForwardedTables
from perdure.stores.memory import MemoryStore

T = TypeVar("T")

AfterCommit = Callable[[Batch, Mapping[RunId, RunRow]], Awaitable[None]]


async def _do_nothing(batch: Batch, refused: Mapping[RunId, RunRow]) -> None:
    """Nobody looks."""


class FaultyStore(ForwardedTables):
    """``crash_before`` and ``crash_after``: numbers of commits that never return, without and with being written.

    ``slow_turns``: turns of the event loop that each commit takes. ``is_repeating``: what lies in inboxes is read twice.
    ``after_commit`` is awaited with each batch that was written and the starts it refused.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        crash_before: Collection[int] = (),
        crash_after: Collection[int] = (),
        slow_turns: int = 0,
        is_repeating: bool = False,
        after_commit: AfterCommit = _do_nothing,
    ) -> None:
        self.inner: Store = store or MemoryStore()
        self.crash_before = frozenset(crash_before)
        self.crash_after = frozenset(crash_after)
        self.slow_turns = slow_turns
        self.is_repeating = is_repeating
        self.after_commit = after_commit
        self.commits = 0
        self.is_down = False
        self._refusals = 0

    def refuse_commits(self, count: int) -> None:
        """The next ``count`` tries to commit raise `StoreUnavailable`."""
        self._refusals = count

    def break_lease(self) -> None:
        """The node that used the store has died; the next one finds it working."""
        self.is_down = False
        if isinstance(self.inner, MemoryStore):
            self.inner.break_lease()

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        """As the port promises, but for the faults that were asked for."""
        if batch.epoch is None:
            return await self.inner.commit(batch)
        if self._refusals:
            self._refusals -= 1
            raise StoreUnavailable(store=self.name, problem="the test asked it not to")
        self.commits += 1
        number = self.commits
        if self.is_down or number in self.crash_before:
            await self._go_down()
        for _ in range(self.slow_turns):
            await asyncio.sleep(0)
        refused = await self.inner.commit(batch)
        await self.after_commit(batch, refused)
        if number in self.crash_after:
            await self._go_down()
        return refused

    async def _go_down(self) -> None:
        self.is_down = True
        await asyncio.get_running_loop().create_future()

    # The rest is the store's own.

    @property
    def _inside(self) -> Store:
        return self.inner

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await ask()

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.inner.name

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    def grants(self, asked: Durability | None) -> Durability:
        return self.inner.grants(asked)

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        return await self.inner.take_lease(node, now_us, lease_us)

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        return await self.inner.renew_lease(epoch, now_us, lease_us)

    async def survey(self) -> Survey:
        return await self.inner.survey()

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        return await self.inner.take_partitions(epoch, wanted, now_us)

    async def give_partitions(self, epoch: int, given: Sequence[int]) -> None:
        await self.inner.give_partitions(epoch, given)

    async def release_lease(self, epoch: int) -> None:
        await self.inner.release_lease(epoch)

    async def row(self, run: RunId) -> RunRow | None:
        return await self.inner.row(run)

    async def find(self, query: RunQuery) -> list[RunRow]:
        return await self.inner.find(query)

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        return await self.inner.transitions(run, after, limit)

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        return await self.inner.load(runs, within)

    async def mentions(self, run: RunId, text: bytes) -> Loaded | None:
        return await self.inner.mentions(run, text)

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        return await self.inner.blobs(hashes)

    async def reply(self, id: str) -> Reply | None:
        return await self.inner.reply(id)

    async def held(self, partitions: Collection[int]) -> list[RunId]:
        return await self.inner.held(partitions)

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        return await self.inner.due(partitions, now_us, limit)

    async def next_wake_us(self, partitions: Collection[int]) -> int | None:
        return await self.inner.next_wake_us(partitions)

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        items = await self.inner.addressed(partitions, limit)
        return [*items, *items] if self.is_repeating else items

    async def has_news(self, partitions: Collection[int]) -> bool:
        return await self.inner.has_news(partitions)

    def announce(self, hint: Hint) -> None:
        self.inner.announce(hint)

    def subscribe(self, heard: Callable[[Hint], None]) -> Callable[[], None]:
        return self.inner.subscribe(heard)

    async def setting(self, name: str) -> str | None:
        return await self.inner.setting(name)

    async def set_setting(self, name: str, value: str) -> None:
        await self.inner.set_setting(name, value)

    async def schema_version(self) -> int:
        return await self.inner.schema_version()

    async def prune_runs(self, outdated: Outdated, partitions: Collection[int], *, limit: int) -> int:
        return await self.inner.prune_runs(outdated, partitions, limit=limit)

    async def count_outdated(self, outdated: Outdated) -> int:
        return await self.inner.count_outdated(outdated)

    async def prune_replies(self, before_us: int) -> int:
        return await self.inner.prune_replies(before_us)
