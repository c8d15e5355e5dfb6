"""Records in the database. What is written waits for the server's disk, so not on a connection that others wait for."""

from collections.abc import Collection, Sequence
from typing import Any

import asyncpg

from perdure.model.errors import Internal
from perdure.ports.records import Record, RecordChange, end_of
from perdure.stores.postgres.failures import UNIQUE_VIOLATION, state_of
from perdure.stores.postgres.link import Link


class Records:
    """``reading`` gives what is there, ``writing`` waits for the disk."""

    def __init__(self, reading: Link, writing: Link, statements: dict[str, str]) -> None:
        self._reading = reading
        self._writing = writing
        self._statements = statements

    async def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        rows = await self._reading.fetch(self._statements["read_records"], kind, list(keys), again=True)
        return {record.key: record for record in (Record(kind, *row) for row in rows)}

    async def scan(self, kind: str, prefix: str, after: str, limit: int) -> list[Record]:
        rows = await self._reading.fetch(self._statements["scan_records"], kind, prefix, after, end_of(prefix), limit, again=True)
        return [Record(kind, *row) for row in rows]

    async def write(self, changes: Sequence[RecordChange]) -> list[str]:
        columns: tuple[list[Any], ...] = (
            [change.kind for change in changes],
            [change.key for change in changes],
            [change.value for change in changes],
            [change.expected for change in changes],
            [change.expires_us for change in changes],
        )
        while True:
            try:
                # Not twice: the second time its own first would look like another's.
                rows = await self._writing.fetch(self._statements["write_records"], *columns, again=False)
                return list(rows[0][0])
            except asyncpg.PostgresError as error:
                # Another wrote one of these keys for the first time meanwhile: now there is a version to compare with.
                if state_of(error) != UNIQUE_VIOLATION:
                    raise Internal(what=f"A write of records met what it cannot meet: {error}") from error

    async def add(self, kind: str, values: dict[str, bytes], expires_us: int | None) -> dict[str, bytes]:
        given = kind, list(values), list(values.values()), expires_us
        # Not twice: the second time its own first would be what was there before.
        return dict(await self._writing.fetch(self._statements["add_records"], *given, again=False))

    async def expire(self, now_us: int, limit: int) -> int:
        return int((await self._reading.fetch(self._statements["expire_records"], now_us, limit, again=True))[0][0])
