"""A whole store in the memory of this process.

connection
    None: the dictionaries of this object. Several engines may share one object; each sees the commits of the others at once.
delivery
    As the port promises, apart from durability: what is here is gone with the process.
limits
    The memory of the process. Agenda reads look at every run that waits, so keep to some ten thousand of them.
options
    ``name``, which errors call it; ``partitions``: with more than one, that many nodes can share the work, as on a database server.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy

from perdure.model.durability import Durability
from perdure.model.errors import Internal, LeaseLost, Unsupported
from perdure.model.ids import RunId
from perdure.model.retention import Outdated
from perdure.model.run import HELD, RunRow, Transition
from perdure.ports.packets import Claim, Place, Settlement
from perdure.ports.records import Record, RecordChange
from perdure.ports.store import Batch, Hint, InboxItem, Loaded, Reply, RunQuery, Survey, Traits
from perdure.ports.transport import Packet
from perdure.stores.memory.packets import PacketTable
from perdure.stores.memory.records import RecordTable
from perdure.stores.memory.seats import Seats
from perdure.stores.memory.tables import Tables


class MemoryStore:
    """A whole store in the memory of this process."""

    def __init__(self, name: str = "memory://", *, partitions: int = 1) -> None:
        self._name = name
        self._traits = Traits(partitions=partitions)
        self._tables = Tables()
        self._seats = Seats(partitions)
        # The last batch of each node, and what was said to it: committed again, it has one effect.
        self._written: dict[int, tuple[Batch, Mapping[RunId, RunRow]]] = {}
        self._settings: dict[str, str] = {}
        self._records = RecordTable()
        self._packets = PacketTable()
        self._listeners: list[Callable[[Hint], None]] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def traits(self) -> Traits:
        return self._traits

    async def open(self) -> None:
        """Nothing to do: the store is ready."""

    async def close(self) -> None:
        """Nothing to do: what is stored stays, for the other engines that share the object and for the next `open`."""

    def grants(self, asked: Durability | None) -> Durability:
        if asked not in (None, Durability.MEMORY):
            raise Unsupported(what=f"Durability {asked.value!r}", why="this store is memory alone; use a SQLite file or PostgreSQL")
        return Durability.MEMORY

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        if batch.epoch is not None:
            self._seats.check(batch.epoch)
            if (written := self._written.get(batch.epoch)) is not None and written[0] is batch:
                return written[1]
        known = self._tables.runs
        taken = {row.id: copy(known[row.id]) for row in batch.starts if row.id in known and not self._is_replaced(batch, row.id)}
        self._check_starts(batch, taken)
        taken = {run: copy(row) for run, row in batch.dropped(taken).items()}
        self._check_rows(batch, taken)
        self._tables.write(batch, taken)
        if batch.epoch is not None:
            self._written[batch.epoch] = batch, taken
        return taken

    def _is_replaced(self, batch: Batch, run: RunId) -> bool:
        return run in batch.replaced and run in self._tables.runs and self._tables.runs[run].status.is_final

    def _check_starts(self, batch: Batch, taken: Collection[RunId]) -> None:
        unexpected = set(taken) - batch.checked
        if unexpected or len({row.id for row in batch.starts}) < len(batch.starts):
            raise Internal(what=f"A start that cannot be in conflict is: {sorted(unexpected) or 'twice in one batch'}")

    def _check_rows(self, batch: Batch, taken: Collection[RunId]) -> None:
        seen: set[tuple[RunId, int]] = set()
        for row in batch.rows:
            if row.run in taken or self._is_replaced(batch, row.run):
                continue
            if row.number in self._tables.journals.get(row.run, ()) or (row.run, row.number) in seen:
                raise LeaseLost(epoch=batch.epoch, found=f"the journal of {row.run!r} has a row {row.number} already")
            seen.add((row.run, row.number))

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        return self._seats.join(node, now_us, lease_us)

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        return self._seats.renew(epoch, now_us, lease_us)

    async def survey(self) -> Survey:
        return self._seats.survey()

    async def release_lease(self, epoch: int) -> None:
        self._seats.leave(epoch)
        self._written.pop(epoch, None)

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        return self._seats.take(epoch, wanted, now_us)

    async def give_partitions(self, epoch: int, given: Sequence[int]) -> None:
        self._seats.give(epoch, given)

    def break_lease(self) -> None:
        """All nodes have died, for tests: they write nothing more, and others may take their partitions at once."""
        self._seats.clear()

    async def row(self, run: RunId) -> RunRow | None:
        row = self._tables.runs.get(run)
        return None if row is None else copy(row)

    async def find(self, query: RunQuery) -> list[RunRow]:
        found = [row for row in self._tables.runs.values() if _answers(row, query)]
        found.sort(key=_age, reverse=not query.is_oldest_first)
        return [copy(row) for row in found[: query.limit]]

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        return self._tables.journal(run, after + 1)[:limit]

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        return [self._load(run, within) for run in dict.fromkeys(runs) if run in self._tables.runs]

    def _load(self, run: RunId, within: Collection[int] | None) -> Loaded:
        tables = self._tables
        row = copy(tables.runs[run])
        if within is not None and row.partition not in within:
            return Loaded(row, [], [], [])
        inbox, beats = tables.inboxes.get(run, {}), tables.heartbeats.get(run, {})
        return Loaded(row, tables.journal(run, row.base), list(inbox.values()), list(beats.values()))

    async def mentions(self, run: RunId, text: bytes) -> Loaded | None:
        if run not in self._tables.runs:
            return None
        whole = self._load(run, None)
        inbox = [item for item in whole.inbox if text in item.body]
        return Loaded(whole.row, [row for row in whole.transitions if text in row.facts], inbox, [])

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        known = self._tables.blobs
        return {digest: known[digest] for digest in hashes if digest in known}

    async def reply(self, id: str) -> Reply | None:
        return self._tables.replies.get(id)

    async def held(self, partitions: Collection[int]) -> list[RunId]:
        return [row.id for row in self._tables.runs.values() if row.wake_us == HELD and row.partition in partitions]

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        return [run for wake_us, run in sorted(self._waits(partitions)) if wake_us <= now_us][:limit]

    async def next_wake_us(self, partitions: Collection[int]) -> int | None:
        return min((wake_us for wake_us, _ in self._waits(partitions)), default=None)

    def _waits(self, partitions: Collection[int]) -> Iterable[tuple[int, RunId]]:
        for row in self._tables.runs.values():
            if row.wake_us is not None and row.wake_us != HELD and row.partition in partitions:
                yield row.wake_us, row.id

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        if len(partitions) == self._traits.partitions:
            return list(self._tables.arrivals.values())[:limit]
        return [item for item in self._tables.arrivals.values() if self._lies_in(item.run, partitions)][:limit]

    def _lies_in(self, run: RunId, partitions: Collection[int]) -> bool:
        row = self._tables.runs.get(run)
        return row is not None and row.partition in partitions

    async def has_news(self, partitions: Collection[int]) -> bool:
        """Always yes: engines that share the object ask through it too, and a yes to one must not be a no to the next."""
        return True

    def announce(self, hint: Hint) -> None:
        loop = asyncio.get_running_loop()
        for heard in self._listeners:
            loop.call_soon(heard, hint)

    def subscribe(self, heard: Callable[[Hint], None]) -> Callable[[], None]:
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard) if heard in self._listeners else None

    async def setting(self, name: str) -> str | None:
        return self._settings.get(name)

    async def set_setting(self, name: str, value: str) -> None:
        self._settings[name] = value

    async def schema_version(self) -> int:
        """There are no tables."""
        return 0

    async def prune_runs(self, outdated: Outdated, partitions: Collection[int], *, limit: int) -> int:
        found = [row.id for row in self._outdated(outdated) if row.partition in partitions][:limit]
        for run in found:
            self._tables.delete(run)
            self._tables.drop_uses(run)
        return len(found)

    async def count_outdated(self, outdated: Outdated) -> int:
        return len(self._outdated(outdated))

    def _outdated(self, outdated: Outdated) -> list[RunRow]:
        rows = self._tables.runs.values()
        return [row for row in rows if row.status is outdated.status and row.status.is_final and row.updated_us < outdated.before_us]

    async def prune_replies(self, before_us: int) -> int:
        replies = self._tables.replies
        old = [id for id, reply in replies.items() if reply.at_us < before_us]
        for id in old:
            del replies[id]
            self._tables.drop_uses(id, is_reply=True)
        return len(old)

    async def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        return self._records.read(kind, keys)

    async def scan(self, kind: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        return self._records.scan(kind, prefix, after, limit)

    async def write(self, changes: Sequence[RecordChange]) -> list[str]:
        return self._records.write(changes)

    async def add(self, kind: str, values: dict[str, bytes], *, expires_us: int | None = None) -> dict[str, bytes]:
        return self._records.add(kind, values, expires_us)

    async def expire(self, now_us: int, limit: int) -> int:
        return self._records.expire(now_us, limit)

    async def put_packets(self, packets: Sequence[tuple[str, Packet]], now_us: int) -> None:
        self._packets.put(packets, now_us)

    async def take_packets(self, wanted: Mapping[str, int], owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        return self._packets.take(wanted, owner, now_us=now_us, until_us=until_us)

    async def settle_packets(self, settlement: Settlement, now_us: int) -> None:
        self._packets.settle(settlement, now_us)

    async def count_packets(self, address: str, now_us: int) -> int:
        return self._packets.count(address, now_us)

    async def drop_packets(self, address: str, ids: Collection[str] | None = None) -> None:
        self._packets.drop(address, ids)

    async def look_packets(self, address: str, after: Place | None, limit: int) -> list[tuple[Place, Packet]]:
        return self._packets.look(address, after, limit)

    async def prune_packets(self, address: str, before_us: int, keep: int, *, limit: int) -> int:
        return self._packets.prune(address, before_us, keep, limit)


def _age(row: RunRow) -> tuple[int, RunId]:
    return row.created_us, row.id


def _answers(row: RunRow, query: RunQuery) -> bool:
    return (
        query.status in (None, row.status)
        and (query.tag is None or query.tag in row.tags)
        and query.definition in (None, row.definition)
        and query.parent in (None, row.parent)
        and (query.before is None or _age(row) < query.before)
        and (query.after is None or _age(row) > query.after)
    )
