"""Blobs of a file from before uses were written down go with the last run that refers to them, as all others do (G8)."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from perdure.model.ids import RunId
from perdure.model.run import Status
from perdure.ports.store import Batch
from perdure.stores.sqlite import SqliteStore, adoption
from perdure.stores.sqlite.pruner import Pruner
from perdure.stores.sqlite.schema import APPLICATION_ID, connect_writer
from perdure.stores.sqlite.statements import read_migrations, read_statements, split_script
from perdure.testing.conformance.harness import change, step
from perdure.testing.conformance.pruning import blobs, facts, hash_of, prune

RUNS = 30
_RUN = "insert into run values (?, 'd', 1, ?, '', null, null, '[]', 1, 50, null, 1, null, null)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file as the first version left it: ``a`` has ended, ``b`` is open, and a blob ``z`` is nobody's."""
    file = tmp_path / "perdure.db"
    connection = sqlite3.connect(file, isolation_level=None)
    for statement in split_script(read_migrations()[0][1]):
        connection.execute(statement)
    connection.execute("pragma user_version = 1")
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.executemany("insert into blob values (?, ?)", [(hash_of(name), name.encode()) for name in ("x", "y", "m", "r", "z", "old")])
    connection.executemany(_RUN, [("a", "completed"), ("b", "running"), *((f"old{at}", "completed") for at in range(RUNS))])
    rows = [("a", 1, facts("x")), ("a", 2, b"[]"), ("a", 3, facts("y", "m")), ("b", 1, facts("y"))]
    connection.executemany("insert into journal values (?, ?, 1, ?, null)", [*rows, *((f"old{at}", 1, facts("old")) for at in range(RUNS))])
    connection.execute("insert into inbox values (null, 'b', '1', 1, ?, null)", (facts("m"),))
    connection.execute("insert into reply values ('q', 10, ?, null)", (facts("r", "unknown"),))
    connection.close()
    return file


def uses(path: Path) -> set[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return set(connection.execute("select hash, owner, is_reply from blob_use where owner not like 'old%'").fetchall())
    finally:
        connection.close()


@pytest.mark.parametrize("rows_together", [1, 7, 1_000])
def test_blobs_of_an_old_file_go_with_the_last_that_refers_to_them(path: Path, rows_together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "ROWS_TOGETHER", rows_together)
    monkeypatch.setattr(adoption, "MARKS_TOGETHER", 2)

    async def main() -> None:
        store = SqliteStore(path)
        await store.open()
        await until_no_mark_is_left(store, path)
        assert uses(path) == {(hash_of(name), owner, reply) for name, owner, reply in [*_of("a", "xym"), *_of("b", "ym"), ("r", "q", 1)]}
        assert await blobs(store, "x", "y", "m", "r", "z", "old") == {"x", "y", "m", "r", "old"}
        assert await prune(store) == RUNS + 1
        assert await blobs(store, "x", "y", "m", "r", "old") == {"y", "m", "r"}
        await store.prune_replies(11)
        assert await blobs(store, "y", "m", "r") == {"y", "m"}
        await store.commit(Batch(changes=[change("b", Status.COMPLETED)]))
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("update run set updated_us = 50")
        connection.close()
        assert await prune(store) == 1
        assert await blobs(store, "y", "m") == set()
        await store.close()

    asyncio.run(main())


async def until_no_mark_is_left(store: SqliteStore, path: Path) -> None:
    for _ in range(10):
        await store.prune_replies(0)
    assert not any(owner == "" for _, owner, _ in uses(path))


def _of(owner: str, names: str) -> list[tuple[str, str, int]]:
    return [(name, owner, 0) for name in names]


def test_what_is_written_while_an_old_file_is_looked_through_keeps_its_blobs_and_a_process_that_dies_begins_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "ROWS_TOGETHER", 1)
    monkeypatch.setattr("perdure.stores.sqlite.store._PARTS_TOGETHER", 10)

    async def main() -> None:
        for _ in range(3):
            store = SqliteStore(path)
            await store.open()
            await store.prune_replies(0)
            store.abandon()
        store = SqliteStore(path)
        await store.open()
        await store.prune_replies(0)
        await store.commit(Batch(rows=[step("b", 9, facts("z"))], blobs={hash_of("z"): b"z"}))
        await until_no_mark_is_left(store, path)
        assert await prune(store) == RUNS + 1
        assert await blobs(store, "x", "y", "m", "r", "z", "old") == {"y", "m", "r", "z"}
        assert [row.run for row in await store.transitions(RunId("b"), 8, 9)] == ["b"]
        await store.close()

    asyncio.run(main())


def adopt_all(pruner: Pruner, connection: Any) -> None:
    while pruner.adopt(connection):
        pass


class _Failing:
    """A connection whose ``number``-th commit fails, as on a full disk."""

    def __init__(self, connection: sqlite3.Connection, number: int) -> None:
        self._connection = connection
        self._left = number

    def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
        self._left -= sql == "commit"
        if self._left == 0 and sql == "commit":
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(sql, *given)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_part_that_could_not_be_written_is_done_again(path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "ROWS_TOGETHER", 1)
    connection = connect_writer(path, 1_000)
    pruner = Pruner(read_statements())
    failing: Any = _Failing(connection, number)
    with pytest.raises(sqlite3.OperationalError):
        adopt_all(pruner, failing)
    adopt_all(pruner, connection)
    connection.close()
    assert {(hash_of("x"), "a", 0), (hash_of("m"), "b", 0), (hash_of("r"), "q", 1)} < uses(path)
