"""What the server is and what it can promise. Protects from a database that came back without all that was committed.

Commits of class ``memory`` are lost in a crash, and after a fail-over to an asynchronous standby any may be. A node whose runs are ahead of
the database must not go on: it begins anew, from what is there.
"""

from typing import Any, Final

import asyncpg
from msgspec import Struct, structs

from perdure.model.durability import Durability
from perdure.model.errors import StoreUnavailable, Unsupported
from perdure.model.ids import RunId
from perdure.ports.store import Batch

_OLDEST: Final = 13_00_00
_WITH_REPLICA: Final = (Durability.MEMORY_REPLICA, Durability.DISK_REPLICA)
_SYNCED: Final = (Durability.DISK, Durability.DISK_REPLICA)


class Server(Struct, frozen=True):
    """``started``: the instant in microseconds, which no two servers share. ``timeline``: changes with every fail-over."""

    started: int
    timeline: str
    version: int
    encoding: str
    syncs: bool
    standbys_named: str
    standbys: int
    standbys_hidden: int


class Cluster:
    """Looks at the server whenever a connection is made."""

    def __init__(self, store: str, statements: dict[str, str]) -> None:
        self._store = store
        self._read_server = statements["read_server"]
        self._find_row = statements["find_row"]
        self._server: Server | None = None
        self._last: tuple[RunId, int, int] | None = None
        self._risks = False
        self._epoch = 0
        self._fenced = 0
        self._reason = ""

    @property
    def started(self) -> int:
        """Identifies the server."""
        return self._server.started if self._server is not None else 0

    def given(self, epoch: int) -> None:
        """The epoch begins on the server as it is now."""
        self._epoch = epoch
        self._last, self._risks = None, False

    def written(self, batch: Batch) -> None:
        """The batch of a node has been committed."""
        if batch.durability in (Durability.MEMORY, Durability.MEMORY_REPLICA):
            self._risks = True
        if batch.rows:
            row = batch.rows[-1]
            self._last = None if row.run in batch.truncated else (row.run, row.number, row.at_us)

    def doubt(self, epoch: int) -> str | None:
        """Tell why this epoch must not go on; ``None`` if nothing speaks against it."""
        return self._reason if self._reason and epoch <= self._fenced else None

    async def greet(self, connection: "asyncpg.Connection[Any]") -> None:
        """The server behind a new connection is known; raises `Unsupported`, `StoreUnavailable`."""
        found = await self.look(connection)
        known, self._server = self._server, found
        if known is None or not self._epoch:
            return
        if found.timeline != known.timeline:
            self._fence("the database failed over to a standby, which may lack the last commits")
        elif found.started != known.started and self._risks:
            self._fence("the database restarted, and commits of class 'memory' may be lost")
        elif self._last is not None and not await connection.fetchval(self._find_row, *self._last):
            self._fence("the database came back without this node's last commit")

    def _fence(self, reason: str) -> None:
        # What was seen first is the cause; another connection may see no more than an effect of it.
        if self._fenced < self._epoch:
            self._fenced, self._reason = self._epoch, reason

    async def look(self, connection: "asyncpg.Connection[Any]") -> Server:
        """Give the server as it is now."""
        row = await connection.fetchrow(self._read_server)
        assert row is not None
        server = Server(*row)
        if server.version < _OLDEST:
            raise Unsupported(what=f"PostgreSQL {server.version // 10_000}", why="Perdure needs 13 or newer; upgrade the server")
        if server.encoding != "UTF8":
            raise Unsupported(what=f"A database with encoding {server.encoding}", why="ids may be any text; create one with encoding UTF8")
        if server.timeline == "standby":
            raise StoreUnavailable(store=self._store, problem="the server is a standby and takes no writes; name the primary as well")
        return server

    def promises(self, standbys_named: str, standbys: int, standbys_hidden: int) -> None:
        """The server can promise this as of now."""
        if self._server is not None:
            named = {"standbys_named": standbys_named, "standbys": standbys, "standbys_hidden": standbys_hidden}
            self._server = structs.replace(self._server, **named)

    def grants(self, asked: Durability | None) -> Durability:
        """Give the class that the server can give; raises `Unsupported` that names what it lacks."""
        server = self._server
        if server is None:
            raise StoreUnavailable(store=self._store, problem="it is not open")
        if asked is None:
            return Durability.DISK if server.syncs else Durability.MEMORY
        lack = self._lack(server, asked)
        if lack is not None:
            raise Unsupported(what=f"Durability {asked.value!r}", why=lack)
        return asked

    def _lack(self, server: Server, asked: Durability) -> str | None:
        if asked in _SYNCED and not server.syncs:
            return "the server runs with fsync = off, so nothing is safe on its disk; turn it on, or ask for 'memory'"
        if asked not in _WITH_REPLICA or server.standbys:
            return None
        if not server.standbys_named:
            return "the server has no synchronous standby: synchronous_standby_names is empty; set it, or ask for 'disk'"
        if server.standbys_hidden:
            return "this user may not see whether a synchronous standby is attached; grant it pg_monitor"
        return f"no synchronous standby is attached (synchronous_standby_names = {server.standbys_named!r}); attach one, or ask for 'disk'"
