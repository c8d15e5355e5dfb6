"""What a workload costs the server and the way to it: WAL, commits, round trips, processor time of its processes.

WAL and commits are counted by the server for all that goes on in it: on one that others use too, they are too high.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct

_FLUSH_S = 1.1
"""A backend tells its commits once a second, with the first statement after it (PostgreSQL, ``pgstat_report_stat``)."""
_READ = """
select
    pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint as wal_bytes,
    array(select pid from pg_stat_activity where application_name = $1) as backends,
    array(select pid from pg_stat_activity where backend_type not in ('client backend', 'parallel worker')) as others
"""
_COMMITS = "select xact_commit from pg_stat_database where datname = current_database()"
_COUNTS_SYNCS_SINCE, _COUNTS_BY_OBJECT_SINCE = 14, 18
_SYNCS = "select wal_sync from pg_stat_wal"
_SYNCS_18 = "select sum(fsyncs)::bigint from pg_stat_io where object = 'wal'"
_FLUSH_MAX_LOOKS = 30


class _Reading(Struct, frozen=True):
    wal_bytes: int
    round_trips: int
    cpu_s: dict[int, float]
    other_s: dict[int, float]


class RoundTrips:
    """``count`` of requests that connections made while `counted` have sent. ``connect`` makes one that is not counted."""

    def __init__(self) -> None:
        self.count = 0
        self.connect: Callable[..., Any] = asyncpg.connect

    def add(self, _: Any) -> None:
        """One more."""
        self.count += 1


@contextmanager
def counted() -> Iterator[RoundTrips]:
    """Requests of all connections that are made meanwhile are counted, each when it is answered."""
    trips = RoundTrips()

    async def connect_counted(*args: Any, **kwargs: Any) -> "asyncpg.Connection[Any]":
        connection: asyncpg.Connection[Any] = await trips.connect(*args, **kwargs)
        # The driver calls a plain function at once; a coroutine function would get a task for each request.
        connection.add_query_logger(trips.add)
        return connection

    asyncpg.connect = connect_counted  # type: ignore[assignment]
    try:
        yield trips
    finally:
        asyncpg.connect = trips.connect


class Meter:
    """``application``: whose backends count. ``settle`` makes every backend that is measured run a statement.

    ``await begin()``, the workload, ``await end()``; then `use` gives the difference.
    """

    def __init__(self, server: str, application: str, trips: RoundTrips, settle: Callable[[], Awaitable[object]]) -> None:
        self._server = server
        self._application = application
        self._trips = trips
        self._settle = settle
        self._before: _Reading | None = None
        self._after: _Reading | None = None
        self._commits = 0
        self._syncs: int | None = None

    async def begin(self) -> None:
        """Measuring begins."""
        self._connection: asyncpg.Connection[Any] = await self._trips.connect(self._server)
        self._commits = -await self._settled_commits()
        self._syncs = await self._read_syncs()
        self._before = await self._read()

    async def end(self) -> None:
        """Measuring has ended."""
        self._after = await self._read()
        self._commits += await self._settled_commits()
        before, after = self._syncs, await self._read_syncs()
        self._syncs = None if before is None or after is None else after - before
        await self._connection.close()

    async def _settled_commits(self) -> int:
        await asyncio.sleep(_FLUSH_S)
        await self._settle()
        # What was told is seen by others a moment later.
        await asyncio.sleep(0.1)
        return int(await self._connection.fetchval(_COMMITS))

    async def _read_syncs(self) -> int | None:
        """How often the server has synced its log; told as late as commits are. ``None`` where it does not count that."""
        version = self._connection.get_server_version().major
        if version < _COUNTS_SYNCS_SINCE:
            return None
        return int(await self._connection.fetchval(_SYNCS if version < _COUNTS_BY_OBJECT_SINCE else _SYNCS_18))

    async def _read(self) -> _Reading:
        row = await self._connection.fetchrow(_READ, self._application)
        assert row is not None
        cpu_s, other_s = ({pid: _cpu_s(pid) for pid in row[name]} for name in ("backends", "others"))
        return _Reading(row["wal_bytes"], self._trips.count, cpu_s, other_s)

    def use(self, steps: int) -> dict[str, Any]:
        """Give bytes of WAL, commits, syncs of the log, round trips and microseconds of the server for each step."""
        assert self._before is not None
        assert self._after is not None
        before, after = self._before, self._after
        return {
            "wal_bytes_per_step": round((after.wal_bytes - before.wal_bytes) / steps, 1),
            "db_commits_per_step": round(self._commits / steps, 4),
            "round_trips_per_step": round((after.round_trips - before.round_trips) / steps, 4),
            "syncs_per_step": None if self._syncs is None else round(self._syncs / steps, 4),
            "server_us_per_step": _spent_us(before.cpu_s, after.cpu_s, steps),
            "server_background_us_per_step": _spent_us(before.other_s, after.other_s, steps),
        }


def _cpu_s(pid: int) -> float:
    """Give the processor time of a server's process, negative if it is not one of this machine."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return -1.0
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if name.startswith("postgres") else -1.0


def _spent_us(before: dict[int, float], after: dict[int, float], steps: int) -> float | None:
    """Give what those that were there all the time, or came meanwhile, have used; ``None`` if that cannot be read here."""
    if not after or min(after.values()) < 0:
        return None
    return round(sum(spent - max(0.0, before.get(pid, 0.0)) for pid, spent in after.items()) / steps * 1e6, 2)


async def until(holds: Callable[[], Awaitable[bool]], limit_s: float, *, pause_s: float = 0.01) -> None:
    """Return once it holds; raises `TimeoutError` at the limit."""
    end = time.monotonic() + limit_s
    while not await holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {limit_s:g} s")
        await asyncio.sleep(pause_s)
