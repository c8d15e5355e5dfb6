"""The server that is measured, and a schema for each workload. Protects it from what a benchmark leaves behind."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

T = TypeVar("T")

ANSWER_S = 5.0
DROP_S = 300.0
_UNREACHABLE = (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


def problem_with(url: str) -> str | None:
    """Say why nothing can be measured on that server; ``None`` if it answers and takes new schemas."""

    async def look(connection: "asyncpg.Connection[Any]") -> str | None:
        may = await connection.fetchval("select has_database_privilege(current_database(), 'create') and not pg_is_in_recovery()")
        return None if may else "it takes no new schema: it is a standby, or this user may not create one"

    try:
        return asyncio.run(_with(url, look, ANSWER_S))
    except _UNREACHABLE as error:
        return f"{type(error).__name__}: {error}"


async def _with(url: str, ask: Callable[["asyncpg.Connection[Any]"], Awaitable[T]], timeout_s: float) -> T:
    async with asyncio.timeout(timeout_s):
        connection = await asyncpg.connect(url, timeout=ANSWER_S)
        try:
            return await ask(connection)
        finally:
            connection.terminate()


@contextmanager
def fresh_schema(url: str) -> Iterator[str]:
    """Give a name that no other schema has; whatever was made under it is dropped in the end."""
    schema = f"perdure_bench_{uuid4().hex[:16]}"
    try:
        yield schema
    finally:
        try:
            asyncio.run(_with(url, lambda connection: connection.execute(f'drop schema if exists "{schema}" cascade'), DROP_S))
        except _UNREACHABLE as error:
            print(f"perdure bench: could not drop the schema {schema}: {error}", file=sys.stderr)


async def settings_of(url: str) -> dict[str, str]:
    """Give the version and the settings that decide what a commit costs."""
    names: Sequence[str] = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")

    async def read(connection: "asyncpg.Connection[Any]") -> dict[str, str]:
        rows = await connection.fetch("select name, current_setting(name) as value from unnest($1::text[]) as name", names)
        return {row["name"]: row["value"] for row in rows}

    return await _with(url, read, ANSWER_S)


def without_database(url: str) -> str:
    """Give the server's URL as the peers' scripts want it, which make databases of their own."""
    return urlunsplit(urlsplit(url)._replace(path="", query="", fragment=""))


def with_database(url: str) -> str:
    """Give a URL that names a database: the one it names, or the one that every server has."""
    parts = urlsplit(url)
    return url if parts.path.strip("/") else urlunsplit(parts._replace(path="/postgres"))


async def shares(url: str, schema: str) -> list[int]:
    """Give how many partitions each node has; one that nobody has is not there."""

    async def read(connection: "asyncpg.Connection[Any]") -> list[int]:
        free = await connection.fetchval(f'select count(*) from "{schema}".partition where epoch is null')
        rows = await connection.fetch(f'select count(*) as count from "{schema}".partition where epoch is not null group by epoch')
        return [] if free else [row["count"] for row in rows]

    return await _with(url, read, ANSWER_S)
