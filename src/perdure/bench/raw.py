"""The raw ceiling: rows of a journal's size, written and read by the bare driver with nothing around it."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

SQLITE = sqlite3.sqlite_version

FACTS = (
    b'[["ActionCompleted","1/7",{"value":{"i":1,"ok":true},"size":17},1790000000123456],'
    b'["ActionScheduled","1/8","perdure.bench.noop",[{"value":2}],{},"bench/workflows.py:23"]]'
)
RUNS = 1_000


def _rows(first: int, count: int) -> list[tuple[str, int, int, bytes]]:
    return [(f"run-{place % RUNS:06d}", place // RUNS, 1_790_000_000_000_000 + place, FACTS) for place in range(first, first + count)]


def write_sqlite(path: Path, total: int, per_commit: int) -> float:
    """Give rows a second, durable (``synchronous=FULL``) at each commit."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute(
            "create table if not exists raw (run text, number integer, at_us integer, facts blob, primary key (run, number))"
        )
        began = time.perf_counter()
        for first in _next_number(connection, total, per_commit):
            connection.execute("begin immediate")
            connection.executemany("insert into raw values (?, ?, ?, ?)", _rows(first, per_commit))
            connection.execute("commit")
        return total / (time.perf_counter() - began)
    finally:
        connection.close()


def _next_number(connection: sqlite3.Connection, total: int, per_commit: int) -> Iterator[int]:
    # Rows of an earlier measurement stay, so that a second one in the same file starts behind them.
    present: int = connection.execute("select count(*) from raw").fetchone()[0]
    first = -(-present // RUNS) * RUNS
    return iter(range(first, first + total, per_commit))


def read_sqlite(path: Path, wanted: int) -> float:
    """Give rows a second of reading journals back, one run after another."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        began, count = time.perf_counter(), 0
        for run in range(RUNS):
            found = connection.execute("select number, at_us, facts from raw where run = ? order by number", (f"run-{run:06d}",)).fetchall()
            count += len(found)
            if count >= wanted:
                break
        return count / (time.perf_counter() - began)
    finally:
        connection.close()


def write_memory(total: int, per_commit: int) -> float:
    """Give rows a second of putting the same rows into a dictionary."""
    kept: dict[tuple[str, int], tuple[int, bytes]] = {}
    began = time.perf_counter()
    for first in range(0, total, per_commit):
        kept.update({(run, number): (at_us, facts) for run, number, at_us, facts in _rows(first, per_commit)})
    return total / (time.perf_counter() - began)


def weigh(path: Path) -> tuple[int, int]:
    """Give journal rows and bytes of a store's file and log, after its engine was closed."""
    connection = sqlite3.connect(path)
    try:
        rows: int = connection.execute("select count(*) from journal").fetchone()[0]
    finally:
        connection.close()
    return rows, sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))
