"""Turns a batch into the parameters of one statement, and runs it; ``sql/prepare_commit.sql`` says what it does there, and why."""

import sqlite3
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from perdure.model.errors import Internal, LeaseLost
from perdure.model.ids import RunId
from perdure.model.run import RunChange, RunRow, Transition
from perdure.ports.store import Batch, uses_of
from perdure.stores.sqlite.packing import JoinedBytes, Place, json_list
from perdure.stores.sqlite.reader import Reader

_encode = msgspec.json.Encoder().encode
_NOWHERE: Final[Place] = (None, 0)


def packed(batch: Batch, taken: Collection[RunId] = ()) -> tuple[Any, ...]:
    """Give the parameters of ``commit.sql``, without what belongs to the ``taken`` starts."""
    place = (held := JoinedBytes()).place
    starts, rows, changes, posts = batch.starts, batch.rows, batch.changes, batch.posts
    if taken:
        starts = [row for row in starts if row.id not in taken]
        rows = [row for row in rows if row.run not in taken]
        changes = [change for change in changes if change.id not in taken]
        posts = batch.posts_without(taken)
    lists: tuple[list[Any], ...] = (
        [run for run in batch.replaced if run not in taken],
        [_start(row, held) for row in starts],
        [(tag, row.id) for row in starts for tag in row.tags],
        [(digest, *place(data)) for digest, data in batch.blobs.items()],
        _rows(rows, held),
        [(beat.run, beat.call, beat.attempt, *place(beat.body), *place(beat.data)) for beat in batch.heartbeats],
        [_change(change, held) for change in changes],
        list(batch.truncated.items()),
        [(item.run, item.id, item.at_us, *place(item.body), *place(item.data)) for item in posts],
        batch.consumed,
        [(reply.id, reply.at_us, *place(reply.body), *place(reply.data)) for reply in batch.replies],
        [(use.hash, use.owner, int(use.is_reply)) for use in uses_of(batch) if use.is_reply or use.owner not in taken]
        if batch.blobs
        else [],
    )
    return (batch.epoch, *map(json_list, lists), held.joined())


def _rows(rows: Iterable[Transition], held: JoinedBytes) -> list[Any]:
    # The hot loop of the store: most rows have facts only, and a method call for each would double its time.
    lists: list[Any] = []
    add, keep, at = lists.append, held.parts.append, held.next
    for row in rows:
        facts, data = row.facts, row.data
        size = len(facts)
        keep(facts)
        if data is None:
            add((row.run, row.number, row.at_us, at, size))
        else:
            keep(data)
            add((row.run, row.number, row.at_us, at, size, at + size, len(data)))
            size += len(data)
        at += size
    held.next = at
    return lists


def _start(row: RunRow, held: JoinedBytes) -> tuple[Any, ...]:
    return (
        *(row.id, row.definition, row.version, row.status, row.input_hash, row.parent, row.parent_call),
        *(_encode(row.tags).decode() if row.tags else "[]", row.created_us, row.updated_us, row.wake_us, row.base),
        *held.place_text(row.reason),
        *held.place(row.state),
    )


def _change(change: RunChange, held: JoinedBytes) -> tuple[Any, ...]:
    reason, state = change.reason, change.state
    return (
        *(change.id, change.status, change.updated_us, change.wake_us, _set_or_none(change.version), _set_or_none(change.base)),
        *(reason is not UNSET, *(_NOWHERE if isinstance(reason, UnsetType) else held.place_text(reason))),
        *(state is not UNSET, *(_NOWHERE if isinstance(state, UnsetType) else held.place(state))),
        change.status.is_final,
    )


def _set_or_none(value: int | UnsetType) -> int | None:
    return None if isinstance(value, UnsetType) else value


class Writer:
    """Commits batches on one connection."""

    def __init__(self, statements: dict[str, str], reader: Reader) -> None:
        self._commit = statements["commit"]
        self._lease = statements["read_lease"]
        self._reader = reader

    def commit(self, connection: sqlite3.Connection, batch: Batch, parameters: tuple[Any, ...]) -> dict[RunId, RunRow]:
        """Write all of the batch but the starts in conflict; give the rows that they met.

        Conflicts are rare, so nothing is looked up before: the whole statement fails, and is repeated without those starts. Another
        process may take one more id in between; each round leaves out at least one start, so the rounds end.
        """
        taken: dict[RunId, RunRow] = {}
        while True:
            try:
                connection.execute(self._commit, parameters)
                return taken
            except sqlite3.IntegrityError as error:
                found = self._conflicts(connection, batch, error)
                if found.keys() <= taken.keys():
                    raise Internal(what=f"A start that cannot be in conflict is, or is there twice: {error}") from error
                taken = batch.dropped(taken | found)
                parameters = packed(batch, taken)

    def _conflicts(self, connection: sqlite3.Connection, batch: Batch, error: sqlite3.IntegrityError) -> dict[RunId, RunRow]:
        match str(error):
            case "lease lost":
                epoch, node, _ = connection.execute(self._lease).fetchone()
                found = f"node {node!r} has them with epoch {epoch}" if node is not None else "its lease was ended"
                raise LeaseLost(epoch=batch.epoch, found=found) from error
            case "UNIQUE constraint failed: journal.run, journal.number":
                raise LeaseLost(epoch=batch.epoch, found="a journal has one of these rows already") from error
            case "UNIQUE constraint failed: run.id":
                ids = [row.id for row in batch.starts if row.id in batch.checked]
                return {row.id: row for row in self._reader.rows(connection, ids)}
            case _:
                raise error
