"""The raw ceiling of PostgreSQL: rows of a journal's size by the bare driver, one statement a transaction, nothing around it."""

import time
from typing import Any

import asyncpg

from perdure.bench.raw import FACTS, RUNS

_PUT = "insert into {table} select * from unnest($1::text[], $2::int[], $3::bytea[])"


class RawTable:
    """A table of its own in a schema that is made if it is not there. ``async with RawTable(server, schema) as table: …``"""

    def __init__(self, server: str, schema: str) -> None:
        self._server = server
        self._schema = schema
        self._name = f'"{schema}".raw'
        self._count = 0

    async def __aenter__(self) -> "RawTable":
        self._connection: asyncpg.Connection[Any] = await asyncpg.connect(self._server)
        await self._connection.execute(
            f'create schema if not exists "{self._schema}"; '
            f"create table {self._name} (run text, number int, facts bytea, primary key (run, number))"
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connection.close()

    async def write(self, total: int, per_commit: int) -> float:
        """Give rows a second, durable at each commit as the server is set up to be."""
        put = await self._connection.prepare(_PUT.replace("{table}", self._name))
        # Behind those of an earlier call, at a number that no run has yet.
        first = -(-self._count // RUNS) * RUNS
        began = time.perf_counter()
        for at in range(first, first + total, per_commit):
            await put.fetch(*_columns(at, per_commit))
        elapsed_s = time.perf_counter() - began
        self._count = first + total
        return total / elapsed_s

    async def read(self, wanted: int) -> float:
        """Give rows a second of reading journals back, one run after another."""
        read = await self._connection.prepare(f"select number, facts from {self._name} where run = $1 order by number")
        began, count = time.perf_counter(), 0
        for run in range(RUNS):
            count += len(await read.fetch(_run(run)))
            if count >= wanted:
                break
        return count / (time.perf_counter() - began)


def _run(number: int) -> str:
    return f"run-{number:06d}"


def _columns(first: int, count: int) -> tuple[list[str], list[int], list[bytes]]:
    places = range(first, first + count)
    return [_run(place % RUNS) for place in places], [place // RUNS for place in places], [FACTS] * count
