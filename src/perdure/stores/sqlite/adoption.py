"""Works out who refers to the blobs that are older than the table of their uses, so that they too can go with the last of them.

A file of the first version has no such table, and looking through all its journals at once would keep its writers waiting for minutes.
So the migration leaves a mark on each blob, which keeps it, and the pruner looks through the file a part at a time. All that is written
meanwhile brings its own uses; a process that dies in between leaves the marks, and the next one begins again.
"""

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from perdure.model.payload import blobs_named

ROWS_TOGETHER: Final = 2_000
MARKS_TOGETHER: Final = 500

_encode = msgspec.json.Encoder().encode


class _Source(NamedTuple):
    table: str
    owner: str
    text: str
    is_reply: bool


_SOURCES: Final = (
    _Source("journal", "run", "facts", is_reply=False),
    _Source("inbox", "run", "body", is_reply=False),
    _Source("reply", "id", "body", is_reply=True),
)


class Adoption:
    """Works on the writer's connection. ``is_done``: no blob is marked any more."""

    def __init__(self, statements: dict[str, str]) -> None:
        self._statements = statements
        self._parts: Iterator[tuple[_Source, int, int]] | None = None
        self.is_done = False

    def run_once(self, connection: sqlite3.Connection) -> None:
        """Do the next part, in a transaction that the caller has begun."""
        if self._parts is None:
            if connection.execute(self._statements["read_mark"]).fetchone() is None:
                self.is_done = True
                return
            self._parts = iter([part for source in _SOURCES for part in _parts(connection, source)])
        part = next(self._parts, None)
        if part is not None:
            self._adopt(connection, *part)
        else:
            self.is_done = self._drop_marks(connection) < MARKS_TOGETHER

    def _adopt(self, connection: sqlite3.Connection, source: _Source, after: int, last: int) -> None:
        sql = self._statements["list_naming"]
        for name, value in (("table", source.table), ("owner", source.owner), ("text", source.text)):
            sql = sql.replace(f"{{{name}}}", value)
        found = connection.execute(sql, (after, last)).fetchall()
        uses = [(hash, owner, int(source.is_reply)) for owner, text in found for hash in blobs_named(text)]
        connection.execute(self._statements["write_uses"], (_encode(uses).decode(),))

    def _drop_marks(self, connection: sqlite3.Connection) -> int:
        hashes = [hash for (hash,) in connection.execute(self._statements["drop_marks"], (MARKS_TOGETHER,)).fetchall()]
        connection.execute(self._statements["drop_blobs"], (_encode(hashes).decode(),))
        return len(hashes)


def _parts(connection: sqlite3.Connection, source: _Source) -> Iterator[tuple[_Source, int, int]]:
    """Give the parts of a table as it is now: (source, after which row, up to which)."""
    last: int = connection.execute(f"select coalesce(max(rowid), 0) from {source.table}").fetchone()[0]
    for after in range(0, last, ROWS_TOGETHER):
        yield source, after, min(after + ROWS_TOGETHER, last)
