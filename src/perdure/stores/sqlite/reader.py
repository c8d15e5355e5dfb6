"""Reads. Every statement gives one row with everything packed into it, because each row that Python's sqlite3 fetches lets go of the
interpreter lock and may wait 5 ms to get it back while the event loop computes."""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from perdure.model.ids import CallName, RunId
from perdure.model.run import RunRow, Transition
from perdure.ports.store import Heartbeat, InboxItem, Loaded, Reply, RunQuery
from perdure.stores.sqlite.packing import slices

_RUNS_PER_STATEMENT: Final = 1000
_encode = msgspec.json.Encoder().encode
_run_rows = msgspec.json.Decoder(list[RunRow]).decode
_ids = msgspec.json.Decoder(list[RunId]).decode
_lengths = msgspec.json.Decoder(list[int | None]).decode
_transition_heads = msgspec.json.Decoder(list[tuple[RunId, int, int, int, int | None]]).decode
_inbox_heads = msgspec.json.Decoder(list[tuple[int, RunId, str, int, int, int | None]]).decode
_heartbeat_heads = msgspec.json.Decoder(list[tuple[RunId, CallName, int, int, int | None]]).decode
_number = attrgetter("number")

_SOURCE_ROWS: Final = "select r.* from json_each(?1) as i cross join run as r on r.id = i.value"
_SOURCE_JOURNAL: Final = "select * from journal where run = ?1 and number > ?2 order by number limit ?3"
_SOURCE_JOURNALS: Final = """
    select j.* from json_each(?1) as i cross join run as r on r.id = i.value
    cross join journal as j on j.run = r.id and j.number >= r.base
"""
_SOURCE_INBOXES: Final = "select b.* from json_each(?1) as i cross join inbox as b on b.run = i.value"
_SOURCE_MENTIONS: Final = """
    select j.* from run as r cross join journal as j on j.run = r.id and j.number >= r.base where r.id = ?1 and instr(j.facts, ?2)
    order by j.number
"""
_SOURCE_MENTIONING: Final = "select * from inbox where run = ?1 and instr(body, ?2)"
_SOURCE_ADDRESSED: Final = "select * from inbox order by position limit ?1"


class Reader:
    """Reads on any connection to the file."""

    def __init__(self, statements: dict[str, str]) -> None:
        self._rows = _from(statements["read_runs"], _SOURCE_ROWS)
        self._journal = _from(statements["read_transitions"], _SOURCE_JOURNAL)
        self._journals = _from(statements["read_transitions"], _SOURCE_JOURNALS)
        self._inboxes = _from(statements["read_inbox"], _SOURCE_INBOXES)
        self._mentions = _from(statements["read_transitions"], _SOURCE_MENTIONS)
        self._mentioning = _from(statements["read_inbox"], _SOURCE_MENTIONING)
        self._addressed = _from(statements["read_inbox"], _SOURCE_ADDRESSED)
        self._heartbeats = statements["read_heartbeats"]
        self._statements = statements

    def rows(self, connection: sqlite3.Connection, runs: Collection[RunId]) -> list[RunRow]:
        return _unpack_runs(connection.execute(self._rows, (_json(runs),)).fetchone())

    def find(self, connection: sqlite3.Connection, query: RunQuery) -> list[RunRow]:
        conditions, values = _conditions(query)
        direction = "asc" if query.is_oldest_first else "desc"
        source = f"select * from run {conditions} order by created_us {direction}, id {direction} limit ?"
        return _unpack_runs(connection.execute(_from(self._statements["read_runs"], source), (*values, query.limit)).fetchone())

    def transitions(self, connection: sqlite3.Connection, run: RunId, after: int, limit: int) -> list[Transition]:
        return _unpack_transitions(connection.execute(self._journal, (run, after, limit)).fetchone())

    def load(self, connection: sqlite3.Connection, runs: Sequence[RunId]) -> list[Loaded]:
        """Give all of each run as of one commit."""
        unique = list(dict.fromkeys(runs))
        connection.execute("begin")
        try:
            chunks = (unique[at : at + _RUNS_PER_STATEMENT] for at in range(0, len(unique), _RUNS_PER_STATEMENT))
            return [loaded for chunk in chunks for loaded in self._load(connection, chunk)]
        finally:
            connection.execute("rollback")

    def _load(self, connection: sqlite3.Connection, runs: list[RunId]) -> list[Loaded]:
        try:
            return self._load_together(connection, runs)
        except sqlite3.DataError:
            # Together they are more than one SQLite value can hold (1 GB).
            if len(runs) == 1:
                raise
            half = len(runs) // 2
            return self._load(connection, runs[:half]) + self._load(connection, runs[half:])

    def _load_together(self, connection: sqlite3.Connection, runs: list[RunId]) -> list[Loaded]:
        given = (_json(runs),)
        rows = _unpack_runs(connection.execute(self._rows, given).fetchone())
        transitions = _by_run(_unpack_transitions(connection.execute(self._journals, given).fetchone()))
        inbox = _by_run(_unpack_inbox(connection.execute(self._inboxes, given).fetchone()))
        beats = _by_run(_unpack_heartbeats(connection.execute(self._heartbeats, given).fetchone()))
        for journal in transitions.values():
            journal.sort(key=_number)  # In order already by any likely query plan, and then this costs next to nothing.
        return [Loaded(row, transitions.get(row.id, []), inbox.get(row.id, []), beats.get(row.id, [])) for row in rows]

    def mentions(self, connection: sqlite3.Connection, run: RunId, text: bytes) -> Loaded | None:
        """Give what of the run contains the text, as of one commit."""
        connection.execute("begin")
        try:
            rows = self.rows(connection, [run])
            transitions = _unpack_transitions(connection.execute(self._mentions, (run, text)).fetchone())
            inbox = _unpack_inbox(connection.execute(self._mentioning, (run, text)).fetchone())
        finally:
            connection.execute("rollback")
        return Loaded(rows[0], transitions, inbox, []) if rows else None

    def blobs(self, connection: sqlite3.Connection, hashes: Collection[str]) -> dict[str, bytes]:
        return dict(connection.execute(self._statements["read_blobs"], (_json(hashes),)).fetchall())

    def reply(self, connection: sqlite3.Connection, id: str) -> Reply | None:
        found = connection.execute(self._statements["read_reply"], (id,)).fetchone()
        return None if found is None else Reply(*found)

    def held(self, connection: sqlite3.Connection) -> list[RunId]:
        return _ids(connection.execute(self._statements["list_held"]).fetchone()[0])

    def due(self, connection: sqlite3.Connection, now_us: int, limit: int) -> list[RunId]:
        return _ids(connection.execute(self._statements["list_due"], (now_us, limit)).fetchone()[0])

    def next_wake_us(self, connection: sqlite3.Connection) -> int | None:
        wake_us: int | None = connection.execute(self._statements["read_next_wake"]).fetchone()[0]
        return wake_us

    def addressed(self, connection: sqlite3.Connection, limit: int) -> list[InboxItem]:
        return _unpack_inbox(connection.execute(self._addressed, (limit,)).fetchone())


def _from(statement: str, source: str) -> str:
    return statement.replace("{source}", source)


def _json(values: Collection[str]) -> str:
    return _encode(list(values)).decode()


def _conditions(query: RunQuery) -> tuple[str, list[Any]]:
    conditions: list[tuple[str, Any]] = [
        ("status = ?", query.status),
        ("definition = ?", query.definition),
        ("parent = ?", query.parent),
        ("id in (select run from tag where tag = ?)", query.tag),
    ]
    asked = [(text, value) for text, value in conditions if value is not None]
    texts, values = [text for text, _ in asked], [value for _, value in asked]
    if query.before is not None:
        texts.append("(created_us, id) < (?, ?)")
        values += query.before
    if query.after is not None:
        texts.append("(created_us, id) > (?, ?)")
        values += query.after
    return (f"where {' and '.join(texts)}" if texts else ""), values


def _unpack_runs(packed: tuple[bytes, bytes, bytes | None]) -> list[RunRow]:
    rows = _run_rows(packed[0])
    states, at = packed[2], 0
    if states is not None:
        for row, size in zip(rows, _lengths(packed[1]), strict=True):
            if size is not None:
                row.state = states[at : at + size]
                at += size
    return rows


def _unpack_transitions(packed: tuple[bytes, bytes | None, bytes | None]) -> list[Transition]:
    heads, facts, data = _transition_heads(packed[0]), slices(packed[1]), slices(packed[2])
    return [Transition(run, number, at_us, facts(size) or b"", data(more)) for run, number, at_us, size, more in heads]


def _unpack_inbox(packed: tuple[bytes, bytes | None, bytes | None]) -> list[InboxItem]:
    heads, bodies, data = _inbox_heads(packed[0]), slices(packed[1]), slices(packed[2])
    items = [(position, InboxItem(run, id, at_us, bodies(size) or b"", data(more))) for position, run, id, at_us, size, more in heads]
    return [item for _, item in sorted(items, key=lambda entry: entry[0])]


def _unpack_heartbeats(packed: tuple[bytes, bytes | None, bytes | None]) -> list[Heartbeat]:
    heads, bodies, data = _heartbeat_heads(packed[0]), slices(packed[1]), slices(packed[2])
    return [Heartbeat(run, call, attempt, bodies(size) or b"", data(more)) for run, call, attempt, size, more in heads]


def _by_run(values: Iterable[Any]) -> dict[RunId, list[Any]]:
    groups: defaultdict[RunId, list[Any]] = defaultdict(list)
    for value in values:
        groups[value.run].append(value)
    return groups
