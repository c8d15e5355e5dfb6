"""The store in one SQLite file.

connection
    One thread with a connection that commits, one with a connection that reads, so that reads never wait for commits. While the disk is
    quick, small commits are made in the event loop's own thread (see `perdure.stores.sqlite.shortcut`). Write-ahead log; every commit is
    synced (``synchronous = full``).
delivery
    As the port promises. A node that died is known by its lock at once (see `perdure.stores.sqlite.lease`).
limits
    One node at a time, any number of clients in other processes of the same machine; the file must not lie on a network mount. 1 GB in one
    batch. Ids, names and tags have no NUL character. A commit waits for another process's for ``busy_ms``, then raises `StoreUnavailable`.
options
    ``path`` of the file, whose folder must exist; ``name`` for errors; ``busy_ms``; ``loop_wait_us_max``: what small commits may take
    on the average for the event loop to wait for them itself, 0 for never.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from perdure.model.durability import Durability
from perdure.model.errors import StoreUnavailable, Unsupported
from perdure.model.ids import RunId
from perdure.model.retention import Outdated
from perdure.model.run import RunRow, Transition
from perdure.ports.packets import Claim, Place, Settlement
from perdure.ports.records import Record, RecordChange
from perdure.ports.store import Batch, Hint, InboxItem, Loaded, NodeSeat, Reply, RunQuery, Survey, Traits
from perdure.ports.transport import Packet
from perdure.stores.sqlite.lease import Lease, NodeLock
from perdure.stores.sqlite.log import lay_out_log
from perdure.stores.sqlite.packets import Packets
from perdure.stores.sqlite.pruner import Pruner
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.records import Records
from perdure.stores.sqlite.schema import connect_reader, connect_writer
from perdure.stores.sqlite.shortcut import Shortcut
from perdure.stores.sqlite.statements import read_statements
from perdure.stores.sqlite.thread import ConnectionThread, is_busy
from perdure.stores.sqlite.writer import Writer, packed

T = TypeVar("T")

_PARTS_TOGETHER: Final = 50
_POLL_US: Final = 2_000
"""No word comes from other processes: who waits looks soon, and ever more rarely while nobody writes."""
_POLL_IDLE_US: Final = 50_000


class SqliteStore:
    """A whole store in the file ``path``, which is made if it is not there."""

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None, busy_ms: int = 5_000, loop_wait_us_max: int = 500) -> None:
        self._path = Path(path)
        self._name = name if name is not None else f"sqlite:///{self._path}"
        self._busy_ms = busy_ms
        self._loop_wait_us_max = loop_wait_us_max
        self._opening = asyncio.Lock()
        self._is_open = False
        self._writing = ConnectionThread(self._name)
        self._reading = ConnectionThread(self._name)
        self._shortcut = Shortcut(busy_ms, loop_wait_us_max)
        self._lock = NodeLock(self._path.with_name(self._path.name + "-node"))
        self._statements = read_statements()
        self._reader = Reader(self._statements)
        self._writer = Writer(self._statements, self._reader)
        self._lease = Lease(self._statements, self._lock)
        self._pruner = Pruner(self._statements)
        self._records = Records(self._statements)
        self._packets = Packets(self._statements)
        self._version = 0
        self._holder: int | None = None
        self._listeners: list[Callable[[Hint], None]] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def traits(self) -> Traits:
        return Traits(poll_us=_POLL_US, poll_idle_us=_POLL_IDLE_US)

    async def open(self) -> None:
        async with self._opening:
            if not self._is_open:
                await self._open()

    async def _open(self) -> None:
        self._writing, self._reading = ConnectionThread(self._name), ConnectionThread(self._name)
        self._shortcut = Shortcut(self._busy_ms, self._loop_wait_us_max)
        await self._writing.start(lambda: connect_writer(self._path, self._busy_ms))
        try:
            await self._reading.start(lambda: connect_reader(self._path, self._busy_ms))
            self._version = await self._writing.do(_data_version)
        except BaseException:
            await self._writing.close()
            raise
        self._is_open = True

    async def close(self) -> None:
        """Commits that were asked for are done, then nothing is held any more; safe to call twice."""
        self._is_open = False
        await self._reading.close()
        await self._writing.close()
        self._lock.release()

    def abandon(self) -> None:
        """As if the process had died, for tests: threads and lock are gone at once, and the lease's row stays as it is."""
        self._is_open = False
        self._reading.abandon()
        self._writing.abandon()
        self._lock.release()

    def grants(self, asked: Durability | None) -> Durability:
        if asked is Durability.MEMORY_REPLICA or asked is Durability.DISK_REPLICA:
            raise Unsupported(what=f"Durability {asked.value!r}", why="a SQLite file has no replica; ask for 'disk', or use PostgreSQL")
        return Durability.DISK

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        # Packed here, not in the thread: whatever the caller does with the batch from now on is not written, and the thread does not
        # have to fight the event loop for the interpreter.
        parameters = packed(batch)

        def work(connection: sqlite3.Connection) -> dict[RunId, RunRow]:
            return self._writer.commit(connection, batch, parameters)

        is_small = self._shortcut.is_small(batch, len(parameters[-1]))
        if is_small and self._shortcut.is_open and self._writing.is_idle:
            try:
                return self._writing.do_here(lambda connection: self._shortcut.commit_here(connection, work))
            except StoreUnavailable as error:
                if not is_busy(error):
                    raise
        return await self._writing.do(lambda connection: self._shortcut.commit_in_thread(connection, work, is_small=is_small))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def patiently(connection: sqlite3.Connection) -> T:
            self._shortcut.be_patient(connection)
            return work(connection)

        return await self._writing.do(patiently)

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        def take(connection: sqlite3.Connection) -> int | None:
            epoch = self._lease.take(connection, node, now_us, now_us + lease_us)
            if epoch is not None:
                lay_out_log(connection, self._path)
            return epoch

        return await self._write(take)

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        until_us = now_us + lease_us
        node = await self._write(lambda connection: self._lease.renew(connection, epoch, until_us))
        return None if node is None else Survey([NodeSeat(epoch, node, until_us)], [epoch if epoch == self._holder else None])

    async def survey(self) -> Survey:
        epoch, node, until_us = await self._reading.do(lambda connection: connection.execute(self._statements["read_lease"]).fetchone())
        return Survey([] if node is None else [NodeSeat(epoch, node, until_us)], [None if node is None else epoch])

    async def release_lease(self, epoch: int) -> None:
        await self._write(lambda connection: self._lease.release(connection, epoch))

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        """Give all: whoever has the lease has the one partition."""
        await self._writing.do(lambda connection: self._lease.check(connection, epoch))
        self._holder = epoch
        return list(wanted)

    async def give_partitions(self, epoch: int, given: Sequence[int]) -> None:
        """The one partition goes with the lease; this handle alone remembers."""
        self._holder = None

    async def row(self, run: RunId) -> RunRow | None:
        rows = await self._reading.do(lambda connection: self._reader.rows(connection, [run]))
        return rows[0] if rows else None

    async def find(self, query: RunQuery) -> list[RunRow]:
        return await self._reading.do(lambda connection: self._reader.find(connection, query))

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        return await self._reading.do(lambda connection: self._reader.transitions(connection, run, after, limit))

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        return await self._reading.do(lambda connection: self._reader.load(connection, runs))

    async def mentions(self, run: RunId, text: bytes) -> Loaded | None:
        return await self._reading.do(lambda connection: self._reader.mentions(connection, run, text))

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        return await self._reading.do(lambda connection: self._reader.blobs(connection, hashes))

    async def reply(self, id: str) -> Reply | None:
        return await self._reading.do(lambda connection: self._reader.reply(connection, id))

    async def held(self, partitions: Collection[int]) -> list[RunId]:
        return await self._reading.do(self._reader.held) if partitions else []

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        return await self._reading.do(lambda connection: self._reader.due(connection, now_us, limit)) if partitions else []

    async def next_wake_us(self, partitions: Collection[int]) -> int | None:
        return await self._reading.do(self._reader.next_wake_us) if partitions else None

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        return await self._reading.do(lambda connection: self._reader.addressed(connection, limit)) if partitions else []

    async def has_news(self, partitions: Collection[int]) -> bool:
        # https://www.sqlite.org/pragma.html#pragma_data_version: on one connection it changes when any other has committed.
        version = await self._write(_data_version)
        changed, self._version = version != self._version, version
        return changed

    def announce(self, hint: Hint) -> None:
        """Those at this object hear of packets and posts; whether another process wrote is cheap to see here, and nodes look often."""
        if hint.called or hint.posted:
            own = Hint(posted=hint.posted, called=hint.called)
            for heard in self._listeners:
                asyncio.get_running_loop().call_soon(heard, own)

    def subscribe(self, heard: Callable[[Hint], None]) -> Callable[[], None]:
        """Only senders at this object are ever heard."""
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard) if heard in self._listeners else None

    async def setting(self, name: str) -> str | None:
        sql = self._statements["read_setting"]
        found = await self._reading.do(lambda connection: connection.execute(sql, (name,)).fetchone())
        return None if found is None else str(found[0])

    async def set_setting(self, name: str, value: str) -> None:
        sql = self._statements["write_setting"]
        await self._write(lambda connection: connection.execute(sql, (name, value)).rowcount)

    async def schema_version(self) -> int:
        version: int = await self._reading.do(lambda connection: connection.execute("pragma user_version").fetchone()[0])
        return version

    async def prune_runs(self, outdated: Outdated, partitions: Collection[int], *, limit: int) -> int:
        if not partitions:
            return 0
        await self._adopt()
        return await self._write(lambda connection: self._pruner.prune_runs(connection, outdated, limit))

    async def _adopt(self) -> None:
        # Part by part, so that commits come in between; and no more of them than a round of pruning may take.
        for _ in range(_PARTS_TOGETHER):
            if not await self._write(self._pruner.adopt):
                return

    async def count_outdated(self, outdated: Outdated) -> int:
        return await self._reading.do(lambda connection: self._pruner.count(connection, outdated))

    async def prune_replies(self, before_us: int) -> int:
        await self._adopt()
        return await self._write(lambda connection: self._pruner.prune_replies(connection, before_us))

    async def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        return await self._reading.do(lambda connection: self._records.read(connection, kind, keys))

    async def scan(self, kind: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        return await self._reading.do(lambda connection: self._records.scan(connection, kind, prefix, after, limit))

    async def write(self, changes: Sequence[RecordChange]) -> list[str]:
        return await self._write(lambda connection: self._records.write(connection, changes))

    async def add(self, kind: str, values: dict[str, bytes], *, expires_us: int | None = None) -> dict[str, bytes]:
        return await self._write(lambda connection: self._records.add(connection, kind, values, expires_us))

    async def expire(self, now_us: int, limit: int) -> int:
        return await self._write(lambda connection: self._records.expire(connection, now_us, limit))

    async def put_packets(self, packets: Sequence[tuple[str, Packet]], now_us: int) -> None:
        await self._write(lambda connection: self._packets.put(connection, packets, now_us))

    async def take_packets(self, wanted: Mapping[str, int], owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        return await self._write(lambda connection: self._packets.take(connection, wanted, owner, now_us=now_us, until_us=until_us))

    async def settle_packets(self, settlement: Settlement, now_us: int) -> None:
        await self._write(lambda connection: self._packets.settle(connection, settlement, now_us))

    async def count_packets(self, address: str, now_us: int) -> int:
        return await self._reading.do(lambda connection: self._packets.count(connection, address, now_us))

    async def drop_packets(self, address: str, ids: Collection[str] | None = None) -> None:
        await self._write(lambda connection: self._packets.drop(connection, address, ids))

    async def look_packets(self, address: str, after: Place | None, limit: int) -> list[tuple[Place, Packet]]:
        return await self._reading.do(lambda connection: self._packets.look(connection, address, after, limit))

    async def prune_packets(self, address: str, before_us: int, keep: int, *, limit: int) -> int:
        return await self._write(lambda connection: self._packets.prune(connection, address, before_us, keep=keep, limit=limit))


def _data_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("pragma data_version").fetchone()[0]
    return version
