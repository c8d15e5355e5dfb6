"""A store that is old: many finished runs, made of one by copying its rows in the database."""

from typing import Any

import asyncpg

_AT_ONCE = 20_000
# Whatever columns there are: only those that tell runs apart are changed.
_COPY = """
insert into {schema}.{table}
select copy.* from {schema}.{table} as o, generate_series($2::bigint, $3::bigint) as n,
lateral jsonb_populate_record(o, jsonb_build_object('{key}', o.{key} || '-' || n){more}) as copy
where o.{key} = $1
"""
_SIZE = """
select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class where relnamespace = $1::regnamespace and relkind = 'r'
"""


async def fill(server: str, schema: str, run: str, first: int, last: int) -> None:
    """Beside this finished run there are copies of it with these numbers, each a little older, and the planner knows of them."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(server)
    try:
        await connection.execute("set synchronous_commit = off")
        older = " || jsonb_build_object('created_us', o.created_us - n, 'updated_us', o.updated_us - n)"
        for at in range(first, last + 1, _AT_ONCE):
            for table, key, more in (("journal", "run", ""), ("run", "id", older)):
                sql = _COPY.format(schema=f'"{schema}"', table=table, key=key, more=more)
                await connection.execute(sql, run, at, min(at + _AT_ONCE - 1, last), timeout=300)
        for table in ("journal", "run"):
            await connection.execute(f'vacuum analyze "{schema}".{table}', timeout=600)
        # What the filling left to be written must not be paid for by what is measured next.
        await _checkpoint(connection)
    finally:
        await connection.close()


async def _checkpoint(connection: "asyncpg.Connection[Any]") -> None:
    try:
        await connection.execute("checkpoint", timeout=600)
    except asyncpg.InsufficientPrivilegeError:
        pass  # The server will do it when it sees fit, and the figures are a little less even.


async def stored_bytes(server: str, schema: str) -> int:
    """Give the size of the schema's tables with their indexes."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(server)
    try:
        return int(await connection.fetchval(_SIZE, f'"{schema}"'))
    finally:
        await connection.close()
