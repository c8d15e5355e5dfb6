"""What goes wrong around an SQLite file: full disks, foreign locks, killed and paused processes, files that are not ours."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perdure.model.errors import EngineClosed, Internal, StoreUnavailable, Unsupported
from perdure.model.ids import RunId
from perdure.ports.store import Batch, RunQuery
from perdure.stores.sqlite import SqliteStore
from perdure.stores.sqlite import lease as lease_module
from perdure.testing.conformance.harness import LEASE_US, journal, message, put, start, step, take

_NODE = """
import asyncio, sys
from perdure.ports.store import Batch
from perdure.stores.sqlite import SqliteStore
from perdure.testing.conformance.harness import message, start, step, take

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    epoch = await take(store, "node that dies")
    for number in range(1, 1_000_000):
        rows = [step(f"r{run}", number) for run in range(5)]
        batch = Batch(epoch, [start(f"s{number}")], rows=rows, posts=[message("a", str(number))], blobs={str(number): b"x" * 9_000})
        await store.commit(batch)
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "perdure.db"


@contextmanager
def _node(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lease, commits without end and prints the number of each commit that returned."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", _NODE, str(path)], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _pause(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def _with(path: Path, scenario: Callable[[SqliteStore], Awaitable[None]], *, busy_ms: int = 5_000) -> None:
    async def run() -> None:
        store = SqliteStore(path, busy_ms=busy_ms)
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


def _refused(path: Path, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        asyncio.run(SqliteStore(path).open())


@pytest.mark.covers("M31")
def test_a_full_disk_leaves_the_old_state_and_a_store_that_works_when_there_is_room(path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, start("a"))
        await store._writing.do(lambda connection: connection.execute("pragma max_page_count = 40"))
        large = Batch(starts=[start("b")], rows=[step("a", 1), step("a", 2, b"x" * 1_000_000)], posts=[message("a", "m")])
        with pytest.raises(StoreUnavailable, match="full") as caught:
            await store.commit(large)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert ([row.id for row in await store.find(RunQuery())], await journal(store, "a"), await store.addressed([0], 9)) == (
            ["a"],
            [],
            [],
        )
        await store._writing.do(lambda connection: connection.execute("pragma max_page_count = 1000000"))
        await store.commit(large)
        assert len(await journal(store, "a")) == 2

    _with(path, scenario)


def test_a_database_locked_by_another_program_is_unavailable_to_commits_and_open_to_reads(path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, start("a"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.commit(Batch(rows=[step("a", 1)]))
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.take_lease("a", 1, 1)
        assert await store.row(RunId("a")) == start("a")
        other.close()
        await store.commit(Batch(rows=[step("a", 1)]))

    _with(path, scenario, busy_ms=0)


@pytest.mark.covers("M16", "M31")
@pytest.mark.parametrize("commits", [1, 7, 40, 150])
def test_a_killed_node_leaves_whole_batches_and_its_lease_can_be_taken_at_once(path: Path, commits: int) -> None:
    with _node(path) as node:
        assert node.stdout is not None
        for _ in range(commits):
            acknowledged = int(node.stdout.readline())
        node.kill()
        acknowledged = max([acknowledged, *map(int, node.stdout.read().split())])

    async def scenario(store: SqliteStore) -> None:
        numbers = [number for number, _ in await journal(store, "r0")]
        assert numbers == list(range(1, len(numbers) + 1))
        assert acknowledged <= len(numbers) <= acknowledged + 1
        for run in range(5):
            assert [number for number, _ in await journal(store, f"r{run}")] == numbers
        assert [int(item.id) for item in await store.addressed([0], 10_000)] == numbers
        assert len(await store.find(RunQuery(limit=10_000))) == len(await store.blobs([str(number) for number in numbers])) == len(numbers)
        assert await take(store, "b", now_us=2) == 2

    _with(path, scenario)


@pytest.mark.covers("M17")
def test_a_paused_node_keeps_its_lease_however_late_it_is(path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        with _node(path) as node:
            assert node.stdout is not None
            node.stdout.readline()
            _pause(node)
            assert await store.take_lease("b", 2**60, LEASE_US) is None
            os.kill(node.pid, signal.SIGCONT)
            assert node.stdout.readline()

    _with(path, scenario)


def test_without_file_locks_the_lease_lasts_until_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "fcntl", None)

    async def scenario(store: SqliteStore) -> None:
        epoch = await take(store, "a", now_us=1)
        other = SqliteStore(path)
        await other.open()
        assert await other.take_lease("b", LEASE_US, LEASE_US) is None
        assert await other.take_lease("b", LEASE_US + 2, LEASE_US) == epoch + 1
        await other.close()

    _with(path, scenario)


def test_a_missing_folder_is_named(path: Path) -> None:
    _refused(path.parent / "nowhere" / "x.db", StoreUnavailable, "nowhere does not exist")


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"hello, this is a letter " * 500)
    _refused(path, Unsupported, "not a database")
    assert path.read_bytes().startswith(b"hello")


def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table run (id)")
    connection.close()
    before = path.read_bytes()
    _refused(path, Unsupported, "another program")
    assert path.read_bytes() == before


def test_a_schema_newer_than_ours_is_refused(path: Path) -> None:
    _with(path, lambda store: put(store, start("a")))
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 999")
    connection.close()
    _refused(path, Unsupported, "schema 999")


def test_a_store_that_could_not_be_opened_opens_when_the_cause_is_gone(path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(path.parent / "later" / "x.db")
        with pytest.raises(StoreUnavailable):
            await store.open()
        (path.parent / "later").mkdir()
        await store.open()
        await put(store, start("a"))
        await store.close()

    asyncio.run(run())


def test_several_may_open_a_new_file_at_once(path: Path) -> None:
    async def run() -> None:
        stores = [SqliteStore(path) for _ in range(5)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(put(store, start(str(number))) for number, store in enumerate(stores)))
        assert len(await stores[0].find(RunQuery())) == 5
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(run())


def test_a_closed_store_says_so(path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(path)
        with pytest.raises(EngineClosed):
            await store.held([0])
        await store.open()
        await store.close()
        for request in (store.commit(Batch()), store.held([0]), store.take_lease("a", 1, 1)):
            with pytest.raises(EngineClosed):
                await request

    asyncio.run(run())


def test_commits_of_two_handles_take_turns(path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        other = SqliteStore(path)
        await other.open()
        epoch = await take(store)
        node = (store.commit(Batch(epoch, rows=[step("a", number)])) for number in range(1, 201))
        clients = (other.commit(Batch(posts=[message("a", str(number))])) for number in range(1, 201))
        await asyncio.gather(*node, *clients)
        assert (len(await journal(store, "a")), len(await store.addressed([0], 1_000))) == (200, 200)
        await other.close()

    _with(path, scenario)


def test_the_store_s_own_commits_are_no_news(path: Path) -> None:
    # SQLite counts the commits of other connections only, and only for the connection that asks: it must be the one that writes.
    async def scenario(store: SqliteStore) -> None:
        assert not await store.has_news([0])
        await put(store, start("a"))
        assert not await store.has_news([0])

    _with(path, scenario)


def test_an_id_that_sqlite_would_cut_off_is_refused(path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        for id in ("a\0b", "a\ud800"):
            with pytest.raises(Unsupported):
                await put(store, start(id))
        assert await store.find(RunQuery()) == []

    _with(path, scenario)


def test_an_unexpected_conflict_of_starts_is_our_mistake_and_writes_nothing(path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, start("a"))
        for starts in ([start("b"), start("a")], [start("c"), start("c")]):
            with pytest.raises(Internal):
                await store.commit(Batch(starts=starts, checked={RunId("c")}))
        assert [row.id for row in await store.find(RunQuery())] == ["a"]

    _with(path, scenario)


def test_journals_can_be_read_with_any_sqlite_tool(path: Path) -> None:
    facts = b'[{"fact":"SignalTaken","call":"3","id":"x"},{"fact":"RunCompleted","value":{"json":1}}]'
    _with(path, lambda store: put_rows(store, facts))
    connection = sqlite3.connect(path)
    rows = connection.execute("select * from journal_json").fetchall()
    assert rows == [("a", 1, "1970-01-01T00:00:00.001001Z", facts.decode(), 2)]
    assert connection.execute("select number, position, fact, call from fact order by position").fetchall() == [
        (1, 0, "SignalTaken", "3"),
        (1, 1, "RunCompleted", None),
    ]
    connection.close()


async def put_rows(store: SqliteStore, facts: bytes) -> None:
    await store.commit(Batch(rows=[step("a", 1, facts, b"\x00\x01")]))
