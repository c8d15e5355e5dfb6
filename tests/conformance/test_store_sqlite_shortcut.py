"""Small commits may be made in the event loop's thread: never where it could be held up for long, and never at the price of a promise."""

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perdure.model.errors import LeaseLost, StoreUnavailable
from perdure.model.ids import RunId
from perdure.ports.store import Batch
from perdure.stores.sqlite import SqliteStore
from perdure.stores.sqlite.log import CHECKPOINT_FRAMES
from perdure.stores.sqlite.shortcut import BYTES_MAX, COMMITS_MAX, ENTRIES_MAX, PAUSE_FIRST, Shortcut
from perdure.stores.sqlite.writer import Writer
from perdure.testing.conformance.harness import journal, put, start, step, take

QUICK_US, LIMIT_US, SLOW_US = 100, 500, 60_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "perdure.db"


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each commit was made in the thread of the event loop, which is the test's."""
    noted: list[bool] = []
    commit = Writer.commit

    def note(self: Writer, connection: sqlite3.Connection, batch: Batch, parameters: tuple[Any, ...]) -> Any:
        noted.append(threading.current_thread() is threading.main_thread())
        return commit(self, connection, batch, parameters)

    monkeypatch.setattr(Writer, "commit", note)
    return noted


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every small commit takes 0.1 ms, as far as the shortcut knows."""
    note = Shortcut._note
    monkeypatch.setattr(Shortcut, "_note", lambda self, span_us: note(self, QUICK_US))


def _with(path: Path, scenario: Callable[[SqliteStore], Awaitable[None]], *, busy_ms: int = 60_000) -> None:
    async def run() -> None:
        store = SqliteStore(path, busy_ms=busy_ms, loop_wait_us_max=LIMIT_US)
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


async def _open_shortcut(store: SqliteStore) -> None:
    for number in range(20):
        await store.commit(Batch(rows=[step("first", number)]))


def test_the_first_commits_go_to_the_thread_and_those_on_a_quick_disk_do_not(path: Path, places: list[bool], quick_disk: None) -> None:
    async def scenario(store: SqliteStore) -> None:
        await _open_shortcut(store)
        assert (places[0], places[-1]) == (False, True)

    _with(path, scenario)


def test_slow_commits_close_the_shortcut_for_longer_each_time_until_a_row_of_them_went_well(monkeypatch: pytest.MonkeyPatch) -> None:
    shortcut, note, span_us = Shortcut(0, LIMIT_US), Shortcut._note, QUICK_US
    monkeypatch.setattr(Shortcut, "_note", lambda self, _: note(self, span_us))
    with closing(sqlite3.connect(":memory:")) as connection:
        spans = []
        for _ in range(3):
            span_us = QUICK_US
            spans.append(_commits_until_open(shortcut, connection))
            span_us = SLOW_US
            while shortcut.is_open:
                shortcut.commit_here(connection, lambda _: None)
            assert shortcut._in_a_row <= 3
        span_us = QUICK_US
        spans.append(_commits_until_open(shortcut, connection))
        for _ in range(COMMITS_MAX):
            shortcut.commit_here(connection, lambda _: None)
        assert _commits_until_open(shortcut, connection) == 1
        span_us = SLOW_US
        while shortcut.is_open:
            shortcut.commit_here(connection, lambda _: None)
        span_us = QUICK_US
        spans.append(_commits_until_open(shortcut, connection))
    assert spans[0] < 20
    assert spans[1:] == [PAUSE_FIRST, 2 * PAUSE_FIRST, 4 * PAUSE_FIRST, PAUSE_FIRST]


def _commits_until_open(shortcut: Shortcut, connection: sqlite3.Connection) -> int:
    count = 0
    while not shortcut.is_open:
        shortcut.commit_in_thread(connection, lambda _: None, is_small=True)
        count += 1
    return count


def test_a_limit_of_nothing_keeps_the_shortcut_closed() -> None:
    shortcut = Shortcut(0, 0)
    for _ in range(100):
        shortcut._note(0)
    assert not shortcut.is_open


@pytest.mark.parametrize(
    "batch",
    [
        Batch(rows=[step("a", number) for number in range(ENTRIES_MAX + 1)]),
        Batch(rows=[step("a", 1, b"x" * BYTES_MAX)]),
        Batch(replaced={RunId("first")}),
        Batch(truncated={RunId("first"): 10_000}),
    ],
    ids=["many", "large", "replacing", "truncating"],
)
def test_what_may_take_long_is_left_to_the_thread(path: Path, places: list[bool], quick_disk: None, batch: Batch) -> None:
    async def scenario(store: SqliteStore) -> None:
        await _open_shortcut(store)
        await store.commit(batch)
        assert places[-2:] == [True, False]

    _with(path, scenario)


def test_a_commit_waits_its_turn_behind_what_the_thread_does(path: Path, places: list[bool], quick_disk: None) -> None:
    async def scenario(store: SqliteStore) -> None:
        await _open_shortcut(store)
        gate = threading.Event()
        under_way = asyncio.ensure_future(store._writing.do(lambda _: gate.wait()))
        await asyncio.sleep(0)
        commit = asyncio.ensure_future(store.commit(Batch(rows=[step("a", 1)])))
        await asyncio.sleep(0)
        assert not commit.done()
        gate.set()
        await asyncio.gather(under_way, commit)
        assert places[-1] is False

    _with(path, scenario)


@pytest.mark.covers("M31")
def test_another_process_s_lock_holds_up_the_commit_and_not_the_event_loop(path: Path, places: list[bool], quick_disk: None) -> None:
    async def scenario(store: SqliteStore) -> None:
        await _open_shortcut(store)
        epoch = await take(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            # The commit tries here, finds the lock and goes to the thread; the renewal waits behind it, as patiently.
            commit = asyncio.ensure_future(store.commit(Batch(epoch, rows=[step("a", 1)])))
            renewal = asyncio.ensure_future(store.renew_lease(epoch, 1, 1))
            await asyncio.sleep(0)
            assert (places[-2:-1], commit.done(), renewal.done()) == ([True], False, False)
            other.execute("rollback")
            await commit
            assert await renewal
        assert await journal(store, "a") == [(1, b"[]")]

    _with(path, scenario)


def test_after_a_commit_here_the_thread_waits_for_locks_again(path: Path, places: list[bool], quick_disk: None) -> None:
    async def scenario(store: SqliteStore) -> None:
        await _open_shortcut(store)
        epoch = await take(store)
        await store.commit(Batch(epoch, rows=[step("a", 1)]))
        assert places[-1] is True
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            renewal = asyncio.ensure_future(store.renew_lease(epoch, 1, 1))
            await store.row(RunId("a"))
            assert not renewal.done()
            other.execute("rollback")
            assert await renewal

    _with(path, scenario)


def test_what_a_commit_here_raises_is_our_error_and_nothing_is_written(path: Path, places: list[bool], quick_disk: None) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, start("a"))
        await _open_shortcut(store)
        with pytest.raises(LeaseLost):
            await store.commit(Batch(epoch=99, rows=[step("b", 1)]))
        await store._writing.do(lambda connection: connection.execute("pragma query_only = on"))
        with pytest.raises(StoreUnavailable, match="readonly"):
            await store.commit(Batch(rows=[step("b", 1)]))
        assert places[-2:] == [True, True]
        assert await journal(store, "b") == []
        await store._writing.do(lambda connection: connection.execute("pragma query_only = off"))

    _with(path, scenario)


def test_the_log_does_not_grow_without_end_while_commits_are_made_here(path: Path, places: list[bool], quick_disk: None) -> None:
    async def scenario(store: SqliteStore) -> None:
        for number in range(1_000):
            await store.commit(Batch(rows=[step("a", number, b"x" * 12_000)]))
            if number % 50 == 0:
                # What else the thread does in between brings no checkpoint, and must not be taken for one.
                await store.has_news([0])
        assert places.count(False) < 1_000 / COMMITS_MAX + 20
        # Each commit writes six pages at most.
        assert _log(path).stat().st_size < (CHECKPOINT_FRAMES + 6 * COMMITS_MAX + 50) * 4_120

    _with(path, scenario)


@pytest.mark.covers("M16")
def test_after_a_power_cut_the_log_ends_where_the_commits_end_and_not_where_its_file_does(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "after" / path.name
    copy.parent.mkdir()

    async def scenario(store: SqliteStore) -> None:
        epoch = await take(store)
        assert _log(path).stat().st_size > CHECKPOINT_FRAMES * 4_096
        for number in range(1, 31):
            await store.commit(Batch(epoch, rows=[step("a", number)]))
        shutil.copy(path, copy)
        shutil.copy(_log(path), _log(copy))

    async def look(store: SqliteStore) -> None:
        assert [number for number, _ in await journal(store, "a")] == list(range(1, 31))
        await store.commit(Batch(rows=[step("a", 31)]))

    _with(path, scenario)
    _with(copy, look)


def test_a_log_that_has_its_size_is_left_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.release_lease(await take(store))
        await store.commit(Batch(rows=[step("a", 1)]))
        monkeypatch.setattr(os, "pwrite", lambda *_: pytest.fail("the log was written to"))
        await take(store, "b")
        assert await journal(store, "a") == [(1, b"[]")]

    _with(path, scenario)


def test_a_disk_without_room_for_a_laid_out_log_does_not_keep_a_node_from_its_lease(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite

    def fill_up(file: int, data: bytes, at: int) -> int:
        if len(data) < 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: len(data) - 500_000], at)

    async def scenario(store: SqliteStore) -> None:
        monkeypatch.setattr(os, "pwrite", fill_up)
        epoch = await take(store)
        assert _log(path).stat().st_size < 1_000_000
        await store.commit(Batch(epoch, rows=[step("a", 1)]))

    _with(path, scenario)


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
