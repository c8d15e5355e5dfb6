"""A session with an old snapshot, and what it keeps from being cleaned away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from msgspec import Struct

_SIZES = """
select t.relname as name, coalesce(pg_stat_get_dead_tuples(t.oid), 0)::bigint as dead,
    coalesce(pg_stat_get_live_tuples(t.oid), 0)::bigint as live, pg_total_relation_size(t.oid) as size
from pg_class as t where t.relnamespace = $1::regnamespace and t.relkind = 'r' order by 1
"""


class TableSize(Struct, frozen=True):
    """Rows as the server estimates them (``n_dead_tup``, ``n_live_tup``), and bytes with indexes."""

    dead: int
    live: int
    size: int


@asynccontextmanager
async def held_snapshot(server: str) -> AsyncIterator[int]:
    """Another session is in a transaction that sees the database as it is now, and does nothing; gives its process."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(server)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield int(await connection.fetchval("select pg_backend_pid()"))
    finally:
        await connection.close()


async def table_sizes(server: str, schema: str) -> dict[str, TableSize]:
    """Give the tables of the schema by name."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(server)
    try:
        rows = await connection.fetch(_SIZES, f'"{schema}"')
        return {row["name"]: TableSize(row["dead"], row["live"], row["size"]) for row in rows}
    finally:
        await connection.close()
