"""Records in the file: each method is the work of one thread's turn with its connection."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from perdure.ports.records import Record, RecordChange, end_of
from perdure.stores.sqlite.packing import JoinedBytes, json_list, slices
from perdure.stores.sqlite.thread import in_transaction

_heads = msgspec.json.Decoder(list[tuple[str, str, int, int, int | None]]).decode
_keys = msgspec.json.Decoder(list[str]).decode
_SOURCE_KEYS: Final = "select r.* from json_each(?2) as k cross join record as r on r.kind = ?1 and r.key = k.value"
_SOURCE_RANGE: Final = "select * from record where kind = ?1 and key {begins} ?2 and (?3 is null or key < ?3) order by key limit ?4"


class Records:
    """Reads on any connection to the file, writes on one that may."""

    def __init__(self, statements: dict[str, str]) -> None:
        self._statements = statements

    def _find(self, connection: sqlite3.Connection, source: str, *values: object) -> list[Record]:
        found = connection.execute(self._statements["read_records"].replace("{source}", source), values).fetchone()
        take = slices(found[1])
        return [Record(kind, key, take(size) or b"", version, expires_us) for kind, key, size, version, expires_us in _heads(found[0])]

    def read(self, connection: sqlite3.Connection, kind: str, keys: Collection[str]) -> dict[str, Record]:
        asked = json_list(list(keys))
        return {} if asked is None else {record.key: record for record in self._find(connection, _SOURCE_KEYS, kind, asked)}

    def scan(self, connection: sqlite3.Connection, kind: str, prefix: str, after: str, limit: int) -> list[Record]:
        # One lower bound: of two, SQLite begins at the first and walks to the second.
        source = _SOURCE_RANGE.format(begins=">" if after >= prefix else ">=")
        return self._find(connection, source, kind, max(prefix, after), end_of(prefix), limit)

    def write(self, connection: sqlite3.Connection, changes: Sequence[RecordChange]) -> list[str]:
        held = JoinedBytes()
        expected = json_list([(change.kind, change.key, change.expected) for change in changes])
        kept = [change for change in changes if change.value is not None]
        written = json_list([(change.kind, change.key, *held.place(change.value), change.expires_us) for change in kept])
        dropped = json_list([(change.kind, change.key) for change in changes if change.value is None])
        given = expected, dropped, written, held.joined()
        return in_transaction(connection, lambda: self._write(connection, *given))

    def _write(
        self, connection: sqlite3.Connection, expected: str | None, dropped: str | None, written: str | None, values: bytes
    ) -> list[str]:
        refused = _keys(connection.execute(self._statements["list_conflicts"], (expected or "[]",)).fetchone()[0])
        if not refused and dropped is not None:
            connection.execute(self._statements["drop_records"], (dropped,))
        if not refused and written is not None:
            connection.execute(self._statements["write_records"], (written, values))
        return refused

    def add(self, connection: sqlite3.Connection, kind: str, values: dict[str, bytes], expires_us: int | None) -> dict[str, bytes]:
        held = JoinedBytes()
        given = json_list([(kind, key, *held.place(value), expires_us) for key, value in values.items()]) or "[]", held.joined()

        def work() -> dict[str, bytes]:
            before = {key: record.value for key, record in self.read(connection, kind, values).items()}
            connection.execute(self._statements["add_records"], given)
            return before

        return in_transaction(connection, work)

    def expire(self, connection: sqlite3.Connection, now_us: int, limit: int) -> int:
        return connection.execute(self._statements["expire_records"], (now_us, limit)).rowcount
