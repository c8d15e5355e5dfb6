"""The store as one simulated process sees it: slow, late, failing and gone as the world wants it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace

from perdure.model.durability import Durability
from perdure.model.errors import StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.retention import Outdated
from perdure.model.run import RunRow, Transition
from perdure.ports.store import Batch, Hint, InboxItem, Loaded, Reply, RunQuery, Survey, Traits
from perdure.stores.forwarding import ForwardedTables
from perdure.stores.memory import MemoryStore
from perdure.testing.simulation.faults import OF_COMMITS, SECOND_US, Fault, Kind

T = TypeVar("T")

POLL_US = 1_000_000
POLL_IDLE_US = 4_000_000


class Owner(Protocol):
    """The process at this end of the wire."""

    is_dead: bool
    name: str

    def die(self) -> None:
        """The process is no more."""
        ...

    async def running(self) -> None:
        """The process is not paused."""
        ...


class Traffic:
    """What all wires of a world share. ``on_commit`` is called at the instant of each commit's effect."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.writes = 0
        self.on_commit: Callable[[str, Batch, Mapping[RunId, RunRow]], None] = lambda who, batch, refused: None


class Wire(ForwardedTables):
    """A store. ``faults`` waits for calls to hit; ``troubles`` holds what is wrong with hints and inboxes now."""

    def __init__(self, traffic: Traffic, owner: Owner, chance: Random) -> None:
        self._traffic = traffic
        self._inner = traffic.store
        self._owner = owner
        self._chance = chance
        self._own_writes = self._seen_writes = 0
        # Tasks in the order in which they came: a set's order would differ from one process to the next.
        self._calls: dict[asyncio.Task[Any], int] = {}
        self._written: Batch | None = None
        self.faults: list[list[object]] = []
        self.troubles: set[Kind] = set()

    def arm(self, fault: Fault) -> None:
        """The fault hits the next calls that it is for."""
        self.faults.append([fault, fault.skip, fault.count])

    def cut(self) -> None:
        """Every call under way, and each that comes, ends its task: the process has died."""
        for task in list(self._calls):
            task.cancel()

    async def _call(self, ask: Callable[[], Awaitable[T]], *, is_commit: bool = False) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._calls[task] = self._calls.get(task, 0) + 1
        try:
            fault = self._hit(is_commit=is_commit)
            await self._before(fault)
            answer = await ask()
            await self._after(fault)
            return answer
        finally:
            self._done(task)

    @property
    def _inside(self) -> MemoryStore:
        return self._inner

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await self._call(ask)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._calls[task] -= 1
        if not self._calls[task]:
            del self._calls[task]

    def _hit(self, *, is_commit: bool) -> Fault | None:
        for entry in self.faults:
            fault, skip, count = entry
            assert isinstance(fault, Fault)
            assert isinstance(skip, int)
            assert isinstance(count, int)
            if fault.kind in OF_COMMITS and not is_commit:
                continue
            if skip:
                entry[1] = skip - 1
                continue
            entry[2] = count - 1
            if count == 1:
                self.faults.remove(entry)
            return fault
        return None

    async def _before(self, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        await self._travel()
        if kind in (Kind.CRASH_BEFORE, Kind.CRASH_BEFORE_COMMIT):
            self._owner.die()
        elif fault is not None and kind is Kind.SLOW_BEFORE:
            await asyncio.sleep(fault.span_us / SECOND_US)
        await self._alive()
        if kind is Kind.FAIL_BEFORE:
            raise StoreUnavailable(store=self.name, problem="the simulation asked it not to")

    async def _after(self, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        if kind in (Kind.CRASH_AFTER, Kind.CRASH_AFTER_COMMIT):
            self._owner.die()
        elif fault is not None and kind is Kind.SLOW_AFTER:
            await asyncio.sleep(fault.span_us / SECOND_US)
        await self._alive()
        await self._travel()
        await self._alive()
        if kind is Kind.FAIL_AFTER:
            raise StoreUnavailable(store=self.name, problem="the simulation asked it to say so")

    async def _travel(self) -> None:
        """A call takes no time, a turn of the loop or a little while, each way."""
        dice = self._chance.random()
        if dice < 0.1:
            await asyncio.sleep(0.02 * self._chance.random())
        elif dice < 0.5:
            await asyncio.sleep(0)

    async def _alive(self) -> None:
        await self._owner.running()
        if self._owner.is_dead:
            raise asyncio.CancelledError

    # Writes.

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        async def effect() -> Mapping[RunId, RunRow]:
            refused = await self._inner.commit(batch)
            if self._written is not batch:
                self._written = batch
                self._traffic.writes += 1
                self._own_writes += 1
                self._traffic.on_commit(self._owner.name, batch, refused)
            return refused

        return await self._call(effect, is_commit=True)

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        return await self._call(lambda: self._inner.take_lease(node, now_us, lease_us))

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        return await self._call(lambda: self._inner.renew_lease(epoch, now_us, lease_us))

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        return await self._call(lambda: self._inner.take_partitions(epoch, wanted, now_us))

    async def give_partitions(self, epoch: int, given: Sequence[int]) -> None:
        await self._call(lambda: self._inner.give_partitions(epoch, given))

    async def release_lease(self, epoch: int) -> None:
        await self._call(lambda: self._inner.release_lease(epoch))

    async def survey(self) -> Survey:
        return await self._call(self._inner.survey)

    async def setting(self, name: str) -> str | None:
        return await self._call(lambda: self._inner.setting(name))

    async def set_setting(self, name: str, value: str) -> None:
        await self._call(lambda: self._inner.set_setting(name, value))

    async def schema_version(self) -> int:
        return await self._call(self._inner.schema_version)

    async def prune_runs(self, outdated: Outdated, partitions: Collection[int], *, limit: int) -> int:
        return await self._call(lambda: self._inner.prune_runs(outdated, partitions, limit=limit))

    async def count_outdated(self, outdated: Outdated) -> int:
        return await self._call(lambda: self._inner.count_outdated(outdated))

    async def prune_replies(self, before_us: int) -> int:
        return await self._call(lambda: self._inner.prune_replies(before_us))

    # Reads.

    async def row(self, run: RunId) -> RunRow | None:
        return await self._call(lambda: self._inner.row(run))

    async def find(self, query: RunQuery) -> list[RunRow]:
        return await self._call(lambda: self._inner.find(query))

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        return await self._call(lambda: self._inner.transitions(run, after, limit))

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        return await self._call(lambda: self._inner.load(runs, within))

    async def mentions(self, run: RunId, text: bytes) -> Loaded | None:
        return await self._call(lambda: self._inner.mentions(run, text))

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        return await self._call(lambda: self._inner.blobs(hashes))

    async def reply(self, id: str) -> Reply | None:
        return await self._call(lambda: self._inner.reply(id))

    async def held(self, partitions: Collection[int]) -> list[RunId]:
        return await self._call(lambda: self._inner.held(partitions))

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        return await self._call(lambda: self._inner.due(partitions, now_us, limit))

    async def next_wake_us(self, partitions: Collection[int]) -> int | None:
        return await self._call(lambda: self._inner.next_wake_us(partitions))

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        items = await self._call(lambda: self._inner.addressed(partitions, limit))
        return [*items, *items] if Kind.INBOX_TWICE in self.troubles else items

    async def has_news(self, partitions: Collection[int]) -> bool:
        async def look() -> bool:
            written = self._traffic.writes - self._own_writes
            seen, self._seen_writes = self._seen_writes, written
            return written > seen

        return await self._call(look)

    # Hints.

    def announce(self, hint: Hint) -> None:
        if not self._owner.is_dead and Kind.HINTS_LOST not in self.troubles:
            self._inner.announce(hint)

    def subscribe(self, heard: Callable[[Hint], None]) -> Callable[[], None]:
        def hear(hint: Hint) -> None:
            if Kind.HINTS_LOST in self.troubles or self._owner.is_dead:
                return
            self._later(heard, hint)
            if Kind.HINTS_DOUBLED in self.troubles:
                self._later(heard, hint)

        return self._inner.subscribe(hear)

    def _later(self, heard: Callable[[Hint], None], hint: Hint) -> None:
        async def tell() -> None:
            if Kind.HINTS_LATE in self.troubles:
                await asyncio.sleep(self._chance.random())
            await self._owner.running()
            if not self._owner.is_dead:
                heard(hint)

        task = asyncio.get_running_loop().create_task(tell())
        self._calls[task] = 1
        task.add_done_callback(self._done)

    # What never fails.

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._inner.name

    @property
    def traits(self) -> Traits:
        return replace(self._inner.traits, poll_us=POLL_US, poll_idle_us=POLL_IDLE_US)

    def grants(self, asked: Durability | None) -> Durability:
        return self._inner.grants(asked)

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()
