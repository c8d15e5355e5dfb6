"""Opens connections and brings the schema up to date. Protects from two versions of Perdure that write one file differently."""

import sqlite3
import time
from pathlib import Path
from typing import Final

from perdure.model.errors import StoreUnavailable, Unsupported
from perdure.stores.sqlite.statements import read_migrations, read_statements, split_script

APPLICATION_ID: Final = 0x50455244
"""Marks the file as ours (``PERD``); https://www.sqlite.org/pragma.html#pragma_application_id."""

_SQLITE_OLDEST: Final = (3, 38, 0)
_LOG_PAUSE_S: Final = 0.002


def connect_writer(path: Path, busy_ms: int) -> sqlite3.Connection:
    """Give a connection that can commit, on a file whose schema is the newest."""
    if sqlite3.sqlite_version_info < _SQLITE_OLDEST:
        raise Unsupported(what=f"SQLite {sqlite3.sqlite_version}", why="the operator ->> came with 3.38; use a newer Python or SQLite")
    if not path.parent.is_dir():
        raise StoreUnavailable(store=path, problem=f"the folder {path.parent} does not exist; create it first")
    connection = _connect(path, busy_ms)
    try:
        _check_owner(connection, path)
        _keep_log(connection, busy_ms)
        connection.execute("pragma synchronous = full")
        _migrate(connection, path)
        for statement in split_script(read_statements()["prepare_commit"]):
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, busy_ms: int) -> sqlite3.Connection:
    """Give a connection that only reads; the file must be open for writing already."""
    connection = _connect(path, busy_ms)
    connection.execute("pragma query_only = on")
    return connection


def _connect(path: Path, busy_ms: int) -> sqlite3.Connection:
    # isolation_level None: transactions are ours alone, the module begins none behind our back.
    connection = sqlite3.connect(path, timeout=busy_ms / 1000, isolation_level=None, check_same_thread=False)
    for pragma in ("temp_store = memory", "cache_size = -65536", "journal_size_limit = 67108864"):
        connection.execute(f"pragma {pragma}")
    return connection


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("pragma user_version").fetchone()[0]
    return version


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    # One transaction: between two looks, another process could make the tables.
    connection.execute("begin")
    owner: int = connection.execute("pragma application_id").fetchone()[0]
    tables: int = connection.execute("select count(*) from sqlite_master").fetchone()[0]
    connection.execute("rollback")
    if owner != APPLICATION_ID and (owner or tables):
        raise Unsupported(what=f"The file {path}", why="it is an SQLite database of another program; name another file for Perdure")


def _keep_log(connection: sqlite3.Connection, busy_ms: int) -> None:
    # The change to a write-ahead log is the one statement that fails at once, whatever the busy timeout, if another process is making it.
    end = time.monotonic() + busy_ms / 1000
    while connection.execute("pragma journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError:
            if time.monotonic() >= end:
                raise
            time.sleep(_LOG_PAUSE_S)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    migrations = read_migrations()
    newest = migrations[-1][0]
    if _version(connection) != newest:
        # The write lock makes two processes that open a new file take turns; the second finds the work done.
        connection.execute("begin immediate")
        try:
            _apply(connection, migrations)
            connection.execute("commit")
        except BaseException:
            connection.rollback()
            raise
    found = _version(connection)
    # SQLite does not notice inside a trigger that its picture of the schema is old ("no such table", when another process has just made
    # them); a plain statement does, and takes a new one.
    connection.execute("select 1 from lease")
    if found > newest:
        raise Unsupported(
            what=f"The store {path} with schema {found}", why=f"this version of Perdure knows schemas up to {newest}; install a newer one"
        )


def _apply(connection: sqlite3.Connection, migrations: list[tuple[int, str]]) -> None:
    found = _version(connection)
    for version, text in migrations:
        if version > found:
            for statement in split_script(text):
                connection.execute(statement)
            connection.execute(f"pragma user_version = {version}")
            connection.execute(f"pragma application_id = {APPLICATION_ID}")
