"""The store in a PostgreSQL database, 13 or newer.

connection
    asyncpg: one connection that commits, one that reads and one that renews leases. Once somebody asks for it, one that keeps records and
    packets, one that takes packets and, unless ``notify=off``, one that tells and hears news. Each comes back by itself. Several hosts may
    be named; the one that takes writes is used. Without session state, so a pooler in transaction mode may stand between (``prepared=off``
    where it does not know prepared statements; a commit then takes four round trips instead of one, and ``notify=off``, since it forgets
    who listens).
delivery
    As the port promises. A node that died is known when its lease has ended. Of two commits that write one run at once, one waits.
    A database that may have lost commits of a node (fail-over, a crash after commits of class ``memory``) fences that node.
limits
    Nodes: as many as there are partitions. 0.9 GB in one batch. Ids, names and tags have no NUL character. A request without an answer for
    30 s has failed.
options
    ``url``, with PostgreSQL's own options and ours: ``schema``, ``notify``, ``prepared``, ``connect_timeout`` in seconds. ``partitions`` of
    a schema that does not exist yet; ``apply_schema``: whether `open` makes it and brings it up to date.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from perdure.model.durability import Durability
from perdure.model.errors import InvalidOption, StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.retention import Outdated
from perdure.model.run import RunRow, Transition
from perdure.ports.packets import Claim, Place, Settlement
from perdure.ports.records import Record, RecordChange
from perdure.ports.store import Batch, Hint, InboxItem, Loaded, Reply, RunQuery, Survey, Traits
from perdure.ports.transport import Packet
from perdure.stores.postgres.cluster import Cluster
from perdure.stores.postgres.failures import is_refusal
from perdure.stores.postgres.guests import guest_of
from perdure.stores.postgres.leases import Leases
from perdure.stores.postgres.link import Link
from perdure.stores.postgres.news import News
from perdure.stores.postgres.packets import Packets
from perdure.stores.postgres.place import place_of
from perdure.stores.postgres.reader import Reader
from perdure.stores.postgres.records import Records
from perdure.stores.postgres.schema import PARTITIONS, check_schema
from perdure.stores.postgres.statements import quoted, read_statements
from perdure.stores.postgres.transactions import Transactions
from perdure.stores.postgres.writer import Writer

_POLL_US: Final = 100_000
_POLL_IDLE_US: Final = 2_000_000


class PostgresStore:
    """A whole store in one schema of a PostgreSQL database, which is made if it is not there."""

    def __init__(self, url: str, schema: str | None = None, *, partitions: int = PARTITIONS, apply_schema: bool = True) -> None:
        self._place = place_of(url, schema)
        self._applies = apply_schema
        self._partitions = partitions
        self._traits = _traits(partitions)
        self._opening = asyncio.Lock()
        self._is_open = False
        statements = read_statements(self._place.schema)
        token = secrets.randbits(62)
        self._cluster = Cluster(self._place.name, statements)
        self._writing, self._reading, self._leasing = (Link(self._place, self._cluster.greet) for _ in range(3))
        self._keeping, self._taking = (Link(self._place, self._cluster.greet) for _ in range(2))
        self._writer = Writer(self._writing, self._cluster, self._place, token)
        self._reader = Reader(self._reading, statements, quoted(self._place.schema))
        self._leases = Leases(self._leasing, self._cluster, statements)
        self._records = Records(self._reading, self._keeping, statements)
        self._packets = Packets(self._keeping, self._taking, statements)
        self._news = News(self._place, token)
        self._transactions = Transactions(self._place)
        self._statements = statements
        self._token = token
        self._seen: tuple[str, frozenset[int]] | None = None

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def traits(self) -> Traits:
        return self._traits

    async def open(self) -> None:
        async with self._opening:
            if not self._is_open:
                await self._open()

    async def _open(self) -> None:
        try:
            await self._writing.open()
            partitions = await check_schema(self._writing, self._place, applies=self._applies, partitions=self._partitions)
            await self._reading.open()
            await self._leasing.open()
            self._keeping.open_when_asked()
            self._taking.open_when_asked()
        except BaseException as error:
            await self._end()
            if isinstance(error, StoreUnavailable) and error.__cause__ is not None and is_refusal(error.__cause__):
                option = f"the user, password or database of the store {self.name}"
                raise InvalidOption(option=option, found=f"refused ({error.__cause__})", expected="those of the server") from error
            raise
        self._traits = _traits(partitions)
        self._news.open()
        self._is_open = True

    async def close(self) -> None:
        """Commits that were asked for are done, then nothing is held any more; safe to call twice."""
        self._is_open = False
        await self._end()

    async def _end(self) -> None:
        await self._writing.close()
        await self._news.close()
        await self._reading.close()
        await self._leasing.close()
        await self._keeping.close()
        await self._taking.close()
        self._transactions.close()

    def abandon(self) -> None:
        """As if the process had died, for tests: the connections are cut, and the lease's row stays as it is."""
        self._is_open = False
        self._news.abandon()
        for link in (self._writing, self._reading, self._leasing, self._keeping, self._taking):
            link.abandon()

    def grants(self, asked: Durability | None) -> Durability:
        return self._cluster.grants(asked)

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        return await self._writer.commit(batch)

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Give a connection of asyncpg in a transaction, as `perdure.ports.transactions.Transactions` says."""
        return self._transactions.transaction()

    async def write_in(self, connection: Any, batch: Batch) -> Mapping[RunId, RunRow]:
        """The batch takes effect when the transaction of the connection does, as `perdure.ports.transactions.Transactions` says."""
        return await self._writer.write_in(guest_of(connection), batch)

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        return await self._leases.take(node, now_us, lease_us)

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        return await self._leases.renew(epoch, now_us, lease_us)

    async def survey(self) -> Survey:
        return await self._reader.survey()

    async def release_lease(self, epoch: int) -> None:
        await self._leases.release(epoch)

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        return await self._leases.take_partitions(epoch, wanted, now_us)

    async def give_partitions(self, epoch: int, given: Sequence[int]) -> None:
        await self._leases.give_partitions(epoch, given)

    async def row(self, run: RunId) -> RunRow | None:
        return await self._reader.row(run)

    async def find(self, query: RunQuery) -> list[RunRow]:
        return await self._reader.find(query)

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        return await self._reader.transitions(run, after, limit)

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        return await self._reader.load(runs, within)

    async def mentions(self, run: RunId, text: bytes) -> Loaded | None:
        return await self._reader.mentions(run, text)

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        return await self._reader.blobs(hashes)

    async def reply(self, id: str) -> Reply | None:
        return await self._reader.reply(id)

    async def held(self, partitions: Collection[int]) -> list[RunId]:
        return await self._reader.held(partitions)

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        return await self._reader.due(partitions, now_us, limit)

    async def next_wake_us(self, partitions: Collection[int]) -> int | None:
        return await self._reader.next_wake_us(partitions)

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        return await self._reader.addressed(partitions, limit)

    async def has_news(self, partitions: Collection[int]) -> bool:
        """Tell whether something became visible since the last call; always yes if there are partitions that it did not ask for."""
        asked = frozenset(partitions)
        known, before = self._seen or (None, frozenset())
        rows = await self._reading.fetch(self._statements["has_news"], list(asked), known, self._token, again=True)
        seen, found = rows[0]
        self._seen = seen, asked
        return bool(found) or known is None or not asked <= before

    def announce(self, hint: Hint) -> None:
        self._news.announce(hint)

    def subscribe(self, heard: Callable[[Hint], None]) -> Callable[[], None]:
        return self._news.subscribe(heard)

    async def setting(self, name: str) -> str | None:
        rows = await self._reading.fetch(self._statements["read_setting"], name, again=True)
        return str(rows[0][0]) if rows else None

    async def set_setting(self, name: str, value: str) -> None:
        await self._reading.fetch(self._statements["write_setting"], name, value, again=True)

    async def schema_version(self) -> int:
        return int((await self._reading.fetch(self._statements["read_version"], again=True))[0][0])

    async def prune_runs(self, outdated: Outdated, partitions: Collection[int], *, limit: int) -> int:
        given = (outdated.status.value, outdated.before_us, list(partitions), limit)
        return int((await self._reading.fetch(self._statements["prune_runs"], *given, again=True))[0][0])

    async def count_outdated(self, outdated: Outdated) -> int:
        rows = await self._reading.fetch(self._statements["count_outdated"], outdated.status.value, outdated.before_us, again=True)
        return int(rows[0][0])

    async def prune_replies(self, before_us: int) -> int:
        rows = await self._reading.fetch(self._statements["prune_replies"], before_us, again=True)
        return int(rows[0][0])

    async def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        return await self._records.read(kind, keys)

    async def scan(self, kind: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        return await self._records.scan(kind, prefix, after, limit)

    async def write(self, changes: Sequence[RecordChange]) -> list[str]:
        return await self._records.write(changes)

    async def add(self, kind: str, values: dict[str, bytes], *, expires_us: int | None = None) -> dict[str, bytes]:
        return await self._records.add(kind, values, expires_us)

    async def expire(self, now_us: int, limit: int) -> int:
        return await self._records.expire(now_us, limit)

    async def put_packets(self, packets: Sequence[tuple[str, Packet]], now_us: int) -> None:
        await self._packets.put(packets, now_us)

    async def take_packets(self, wanted: Mapping[str, int], owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        return await self._packets.take(wanted, owner, now_us=now_us, until_us=until_us)

    async def settle_packets(self, settlement: Settlement, now_us: int) -> None:
        await self._packets.settle(settlement, now_us)

    async def count_packets(self, address: str, now_us: int) -> int:
        return await self._packets.count(address, now_us)

    async def drop_packets(self, address: str, ids: Collection[str] | None = None) -> None:
        await self._packets.drop(address, ids)

    async def look_packets(self, address: str, after: Place | None, limit: int) -> list[tuple[Place, Packet]]:
        return await self._packets.look(address, after, limit)

    async def prune_packets(self, address: str, before_us: int, keep: int, *, limit: int) -> int:
        return await self._packets.prune(address, before_us, keep, limit)


def _traits(partitions: int) -> Traits:
    return Traits(partitions=partitions, poll_us=_POLL_US, poll_idle_us=_POLL_IDLE_US, is_transactional=True)
