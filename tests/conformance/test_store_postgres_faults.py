"""What goes wrong around a PostgreSQL server: lost answers, ended sessions, stopped processes, crashes, fail-overs, refusals."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from perdure.model.durability import Durability
from perdure.model.errors import EngineClosed, Internal, InvalidOption, LeaseLost, StoreUnavailable, TooLarge, Unsupported
from perdure.model.ids import RunId
from perdure.ports.store import Batch, Consequences, Hint, InboxItem, RunQuery
from perdure.stores.postgres import PostgresStore
from perdure.stores.postgres import packing as packing_module
from perdure.testing.conformance.harness import LEASE_US, change, journal, message, put, start, step, take
from tests.conformance.proxy import proxied
from tests.missing import missing
from tests.postgres import Cluster, cluster, execute, standby

A = RunId("a")
EVERY = range(64)


@asynccontextmanager
async def opened(url: str, **options: object) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, **options)  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Cluster]:
    """A server that a test may stop and break."""
    with tempfile.TemporaryDirectory(prefix="perdure-postgres-") as folder, cluster(Path(folder)) as server:
        if server is None:
            missing("the programs of a PostgreSQL server are not installed")
        yield server


async def _until_back(store: PostgresStore) -> None:
    for _ in range(50):
        try:
            await store.row(A)
        except StoreUnavailable:
            continue
        return
    raise AssertionError("the store did not come back")


@pytest.mark.covers("M31", "X2")
async def test_a_commit_whose_answer_is_lost_takes_effect_once_when_it_is_committed_again(postgres_url: str) -> None:
    async with proxied(postgres_url) as (proxy, url), opened(url) as store:
        epoch = await take(store)
        await put(store, start("a"))
        batch = Batch(epoch, [start("b"), start("c")], {RunId("c")}, [step("a", 1, b"[lost]"), step("b", 1)], [change("a", wake_us=5)])
        batch.posts, batch.consumed = [message("a", "m")], [(A, "n")]
        proxy.cut_answer = b"[lost]"
        with pytest.raises(StoreUnavailable):
            await store.commit(batch)
        assert proxy.cuts == 1
        assert await store.commit(batch) == {}
        assert (await journal(store, "a"), await journal(store, "b")) == ([(1, b"[lost]")], [(1, b"[]")])
        assert [item.id for item in await store.addressed(EVERY, 9)] == ["m"]
        await store.commit(Batch(epoch, rows=[step("a", 2)]))


async def test_a_commit_that_never_reached_the_server_takes_effect_when_it_is_committed_again(postgres_url: str) -> None:
    async with proxied(postgres_url) as (proxy, url), opened(url) as store:
        epoch = await take(store)
        batch = Batch(epoch, [start("b")], rows=[step("a", 1, b"[lost]")])
        proxy.cut_request = b"[lost]"
        with pytest.raises(StoreUnavailable):
            await store.commit(batch)
        assert await journal(store, "a") == []
        assert await store.commit(batch) == {}
        assert await journal(store, "a") == [(1, b"[lost]")]


async def test_a_taken_start_is_reported_when_the_answer_was_lost_as_it_was(postgres_url: str) -> None:
    async with proxied(postgres_url) as (proxy, url), opened(url) as store:
        await store.commit(Batch(starts=[start("a", created_us=7)], rows=[step("a", 1, b"[old]")]))
        batch = Batch(starts=[start("a"), start("b")], checked={A, RunId("b")}, rows=[step("a", 1, b"[new]"), step("b", 1, b"[lost]")])
        proxy.cut_answer = b"[lost]"
        with pytest.raises(StoreUnavailable):
            await store.commit(batch)
        assert await store.commit(batch) == {A: start("a", created_us=7)}
        assert (await journal(store, "a"), await journal(store, "b")) == ([(1, b"[old]")], [(1, b"[lost]")])


async def test_a_client_s_start_whose_answer_is_lost_is_not_taken_by_itself(postgres_url: str) -> None:
    # An id that nobody chose is not checked, and a node may have read and consumed the message meanwhile.
    async with proxied(postgres_url) as (proxy, url), opened(url) as store:
        batch = Batch(starts=[start("a", created_us=9)], posts=[message("a", "a#start", b"lost")])
        proxy.cut_answer = b"lost"
        with pytest.raises(StoreUnavailable):
            await store.commit(batch)
        async with opened(postgres_url) as node:
            await node.commit(Batch(await take(node), consumed=[(A, "a#start")]))
        assert await store.commit(batch) == {}
        assert await store.addressed(EVERY, 9) == []


async def test_what_fell_with_a_taken_start_is_told_again_when_the_answer_was_lost(postgres_url: str) -> None:
    async with proxied(postgres_url) as (proxy, url), opened(url) as store:
        await put(store, start("a", created_us=7), start("x"))
        batch = Batch(starts=[start("a"), start("b"), start("c")], checked={A, RunId("b")}, rows=[step("b", 1), step("c", 1)])
        batch.led_to, batch.refusals = {A: Consequences([RunId("b")])}, {A: message("x", "no a", b"lost")}
        # The first call finds the conflict and writes nothing; the second one, with the refusal, is the one whose answer is lost.
        proxy.cut_answer = b"lost"
        with pytest.raises(StoreUnavailable):
            await store.commit(batch)
        assert await store.commit(batch) == dict.fromkeys((A, RunId("b")), start("a", created_us=7))
        assert [len(await journal(store, run)) for run in "abc"] == [0, 0, 1]
        assert [item.id for item in await store.addressed(EVERY, 9)] == ["no a"]


async def test_a_commit_is_one_round_trip_whatever_the_batch_holds(postgres_url: str) -> None:
    async with proxied(postgres_url) as (proxy, url), opened(url) as store:
        epoch = await take(store)
        await store.commit(Batch(epoch))
        for number in range(1, 4):
            before = proxy.requests
            batch = Batch(epoch, [start(f"r{number}"), start("same")], {RunId("same")}, [step("a", number), step("b", number)])
            batch.posts, batch.blobs, batch.changes = [message("a", "m")], {"h": b""}, [change("a")]
            await store.commit(batch)
            assert proxy.requests - before == 1


@pytest.mark.covers("M31")
async def test_sessions_that_an_administrator_ends_come_back_by_themselves(postgres_url: str, postgres_server: str) -> None:
    async with opened(postgres_url) as store:
        epoch = await take(store)
        for number in range(1, 4):
            await store.commit(Batch(epoch, [], rows=[step("a", number)]))
            for link in (store._writing, store._reading, store._leasing):
                assert link._connection is not None
                await execute(postgres_server, f"select pg_terminate_backend({link._connection.get_server_pid()}, 5000)")
            assert len(await journal(store, "a")) == number
            assert await store.renew_lease(epoch, 2, LEASE_US)


async def test_a_session_ended_in_the_middle_of_a_commit_leaves_nothing_of_it(postgres_url: str, postgres_server: str) -> None:
    async with opened(postgres_url) as store:
        epoch = await take(store)
        await put(store, start("a"))
        assert store._writing._connection is not None
        process = store._writing._connection.get_server_pid()
        async with _locking(postgres_url, postgres_server, "run", process) as waiting:
            batch = Batch(epoch, rows=[step("a", 1)], changes=[change("a")])
            commit = asyncio.ensure_future(store.commit(batch))
            await waiting()
            await execute(postgres_server, f"select pg_terminate_backend({process}, 5000)")
            with pytest.raises(StoreUnavailable):
                await commit
        assert await journal(store, "a") == []
        await store.commit(batch)
        assert [number for number, _ in await journal(store, "a")] == [1]


@pytest.mark.covers("M17")
async def test_a_take_over_waits_for_the_commit_under_way_and_fences_the_next(postgres_url: str, postgres_server: str) -> None:
    async with opened(postgres_url) as store, opened(postgres_url) as other:
        first, second = await take(store, now_us=1), await take(other, "b", now_us=LEASE_US)
        await store.take_partitions(first, [0], 2)
        await put(store, start("a"))
        assert store._writing._connection is not None
        assert other._leasing._connection is not None
        async with _locking(postgres_url, postgres_server, "run", store._writing._connection.get_server_pid()) as commit_waits:
            commit = asyncio.ensure_future(store.commit(Batch(first, rows=[step("a", 1)], changes=[change("a")])))
            await commit_waits()
            taking = asyncio.ensure_future(other.take_partitions(second, [0], LEASE_US + 5))
            await _until_waiting(postgres_server, other._leasing._connection.get_server_pid())
            assert not commit.done()
        await commit
        assert await taking == [0]
        with pytest.raises(LeaseLost, match="'b'"):
            await store.commit(Batch(first, rows=[step("a", 2)]))
        assert len(await journal(other, "a")) == 1


async def test_a_renewal_does_not_wait_for_a_commit(postgres_url: str, postgres_server: str) -> None:
    async with opened(postgres_url) as store:
        epoch = await take(store)
        await put(store, start("a"))
        assert store._writing._connection is not None
        async with _locking(postgres_url, postgres_server, "run", store._writing._connection.get_server_pid()) as commit_waits:
            commit = asyncio.ensure_future(store.commit(Batch(epoch, changes=[change("a")])))
            await commit_waits()
            assert await asyncio.wait_for(store.renew_lease(epoch, 2, LEASE_US), 5)
        await commit


@asynccontextmanager
async def _locking(url: str, server: str, table: str, process: int):  # type: ignore[no-untyped-def]
    """Another session locks the rows of a table; gives a wait for the moment when ``process`` waits for it."""
    connection = await asyncpg.connect(server)
    schema = url.rpartition("schema=")[2]
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f'select 1 from "{schema}".{table} for update')
        yield lambda: _until_waiting(server, process)
    finally:
        await transaction.rollback()
        await connection.close()


async def _until_waiting(server: str, process: int) -> None:
    for _ in range(500):
        rows = await execute(server, f"select wait_event_type = 'Lock' from pg_stat_activity where pid = {process}")
        if rows and rows[0][0]:
            return
    raise AssertionError(f"the session {process} does not wait for a lock")


async def test_a_process_stopped_inside_a_transaction_gives_its_locks_back(postgres_url: str) -> None:
    # Only without prepared statements has a commit a moment between two messages in which the process can be stopped.
    async with opened(f"{postgres_url}&prepared=off") as stopped, opened(postgres_url) as other:
        await put(other, start("a"))
        assert stopped._writing._connection is not None
        await stopped._writing._connection.execute("begin; set local idle_in_transaction_session_timeout = '200ms'")
        await stopped._writing._connection.execute(f'update "{postgres_url.rpartition("schema=")[2]}".run set version = 2')
        await asyncio.wait_for(other.commit(Batch(changes=[change("a")])), 5)
        batch = Batch(starts=[start("b")])
        try:
            await stopped.commit(batch)
        except StoreUnavailable:
            # It depends on how far the loop has read the server's farewell.
            await stopped.commit(batch)
        assert await other.row(RunId("b")) == start("b")


async def test_writers_that_block_each_other_crosswise_are_tried_again(postgres_url: str) -> None:
    async with opened(postgres_url) as store, opened(postgres_url) as other:
        await put(store, *(start(f"r{number}") for number in range(40)))
        there = [message(f"r{number}", f"m{at}") for at in range(3) for number in range(40)]
        await asyncio.gather(store.commit(Batch(posts=there)), other.commit(Batch(posts=there[::-1])))
        assert len(await store.addressed(EVERY, 1_000)) == 120


async def test_a_store_that_may_not_write_is_unavailable_until_it_may(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        epoch = await take(store)
        assert store._writing._connection is not None
        await store._writing._connection.execute("set default_transaction_read_only = on")
        with pytest.raises(StoreUnavailable, match="25006"):
            await store.commit(Batch(epoch, rows=[step("a", 1)]))
        await store.commit(Batch(epoch, rows=[step("a", 1)]))


@pytest.mark.covers("M31")
async def test_a_restarted_server_is_found_again_and_what_it_kept_goes_on(own_server: Cluster) -> None:
    async with opened(f"{own_server.url}?schema=restarted") as store:
        epoch = await take(store)
        await store.commit(Batch(epoch, rows=[step("a", 1)]))
        own_server.stop()
        with pytest.raises(StoreUnavailable):
            await store.commit(Batch(epoch, rows=[step("a", 2)]))
        with pytest.raises(StoreUnavailable):
            await store.renew_lease(epoch, 2, LEASE_US)
        own_server.start()
        await _until_back(store)
        await store.commit(Batch(epoch, rows=[step("a", 2)]))
        assert await store.renew_lease(epoch, 2, LEASE_US)


@pytest.mark.covers("M16", "M31")
async def test_after_a_crash_that_may_have_lost_commits_in_memory_the_node_begins_anew(own_server: Cluster) -> None:
    async with opened(f"{own_server.url}?schema=crashed") as store:
        epoch = await take(store)
        await store.commit(Batch(epoch, rows=[step("a", 1)], durability=Durability.MEMORY))
        own_server.stop("immediate")
        own_server.start()
        await _until_back(store)
        with pytest.raises(LeaseLost, match="commits of class 'memory'"):
            await store.commit(Batch(epoch, rows=[step("a", 2)]))
        with pytest.raises(LeaseLost, match="commits of class 'memory'"):
            await store.renew_lease(epoch, 2, LEASE_US)
        await store.release_lease(epoch)
        later = await take(store)
        await store.commit(Batch(later, rows=[step("b", 1)]))


async def test_a_database_without_the_node_s_last_commit_fences_it(postgres_url: str, postgres_server: str) -> None:
    async with opened(postgres_url) as store:
        epoch = await take(store)
        await store.commit(Batch(epoch, rows=[step("a", 1)]))
        # As after a backup was restored.
        await execute(postgres_server, f'delete from "{postgres_url.rpartition("schema=")[2]}".journal')
        assert store._writing._connection is not None
        store._writing._connection.terminate()
        with pytest.raises(LeaseLost, match="last commit"):
            await store.commit(Batch(epoch, rows=[step("a", 2)]))
        assert await journal(store, "a") == []


async def test_another_server_behind_the_same_connection_is_noticed(postgres_url: str) -> None:
    # A pooler keeps the client's connection when the server behind it has become another one.
    async with opened(postgres_url) as store:
        epoch = await take(store)
        server = store._cluster._server
        assert server is not None
        await store.commit(Batch(epoch, rows=[step("a", 1)], durability=Durability.MEMORY))
        store._cluster._server = type(server)(1, *(getattr(server, name) for name in server.__struct_fields__[1:]))
        with pytest.raises(LeaseLost, match="restarted"):
            await store.commit(Batch(epoch, rows=[step("a", 2)]))
        assert len(await journal(store, "a")) == 1


@pytest.mark.covers("M26")
async def test_a_replicated_class_is_refused_by_name_without_a_standby_and_given_with_one(own_server: Cluster) -> None:
    async with opened(f"{own_server.url}?schema=replicated") as store:
        for asked in (Durability.MEMORY_REPLICA, Durability.DISK_REPLICA):
            with pytest.raises(Unsupported, match=f"'{asked.value.replace('+', '.')}'.*synchronous_standby_names is empty"):
                store.grants(asked)
        epoch = await take(store)
        await execute(own_server.url, "alter system set synchronous_standby_names = 'somebody'")
        try:
            await execute(own_server.url, "select pg_reload_conf()")
            while "attached" not in await _refusal(store, epoch):
                pass
        finally:
            await execute(own_server.url, "alter system reset synchronous_standby_names")
            await execute(own_server.url, "select pg_reload_conf()")


async def _refusal(store: PostgresStore, epoch: int) -> str:
    await store.renew_lease(epoch, 2, LEASE_US)
    try:
        store.grants(Durability.DISK_REPLICA)
    except Unsupported as error:
        return str(error)
    return ""


@pytest.mark.covers("M26", "M31", "Z20")
async def test_a_fail_over_is_followed_and_the_node_begins_anew_on_the_standby() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="perdure-postgres-") as one,
        tempfile.TemporaryDirectory(prefix="perdure-postgres-") as two,
        cluster(Path(one), "synchronous_standby_names=follower") as primary,
    ):
        if primary is None:
            missing("the programs of a PostgreSQL server are not installed")
        with standby(Path(two), primary) as follower:
            await _until_synchronous(primary)
            url = f"postgresql://postgres@127.0.0.1:{follower.port},127.0.0.1:{primary.port}/postgres"
            async with opened(url) as store:
                epoch = await take(store)
                assert store.grants(Durability.MEMORY_REPLICA) == Durability.MEMORY_REPLICA
                assert store.grants(Durability.DISK_REPLICA) == Durability.DISK_REPLICA
                await store.commit(Batch(epoch, [start("a")], rows=[step("a", 1)], durability=Durability.DISK_REPLICA))
                primary.stop("immediate")
                follower.promote()
                await _until_back(store)
                with pytest.raises(LeaseLost, match="failed over"):
                    await store.commit(Batch(epoch, rows=[step("a", 2)]))
                later = await take(store)
                await store.commit(Batch(later, rows=[step("a", 2)]))
                assert [number for number, _ in await journal(store, "a")] == [1, 2]
                with pytest.raises(Unsupported, match="synchronous_standby_names is empty"):
                    store.grants(Durability.DISK_REPLICA)


async def _until_synchronous(primary: Cluster) -> None:
    for _ in range(1_000):
        rows = await execute(primary.url, "select sync_state from pg_stat_replication")
        if [row[0] for row in rows] == ["sync"]:
            return
    raise AssertionError("the standby does not follow synchronously")


async def test_without_syncs_there_is_no_class_of_the_disk(own_server: Cluster) -> None:
    own_server.stop()
    own_server.start("fsync=off")
    try:
        async with opened(f"{own_server.url}?schema=unsynced") as store:
            assert store.grants(None) == Durability.MEMORY
            with pytest.raises(Unsupported, match="fsync = off"):
                store.grants(Durability.DISK)
    finally:
        own_server.stop()
        own_server.start()


async def test_a_stopped_server_is_unavailable_and_not_waited_for_without_end(own_server: Cluster) -> None:
    os.kill(own_server.process, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            await PostgresStore(f"{own_server.url}?connect_timeout=1").open()
    finally:
        os.kill(own_server.process, signal.SIGCONT)


async def test_news_come_back_when_their_connection_was_lost(postgres_url: str, postgres_server: str) -> None:
    async with opened(postgres_url) as store, opened(postgres_url) as other:
        heard: asyncio.Queue[Hint] = asyncio.Queue()
        other.subscribe(heard.put_nowait)
        await asyncio.wait_for(other._news.is_heard.wait(), 10)
        sessions = f"pg_stat_activity where query ilike '%{other._news._channel}%' and pid <> pg_backend_pid()"
        await execute(postgres_server, f"select pg_terminate_backend(pid, 5000) from {sessions}")
        for _ in range(1_000_000):
            await asyncio.sleep(0)
            if not other._news.is_heard.is_set():
                break
        await asyncio.wait_for(other._news.is_heard.wait(), 10)
        store.announce(Hint(frozenset({"a"})))
        assert await asyncio.wait_for(heard.get(), 10) == Hint(frozenset({"a"}))


async def test_a_store_does_not_hear_its_own_hints(postgres_url: str) -> None:
    async with opened(postgres_url) as store, opened(postgres_url) as other:
        own: list[Hint] = []
        heard: asyncio.Queue[Hint] = asyncio.Queue()
        store.subscribe(own.append)
        other.subscribe(heard.put_nowait)
        for handle in (store, other):
            await asyncio.wait_for(handle._news.is_heard.wait(), 10)
        store.announce(Hint(frozenset({"a"})))
        await asyncio.wait_for(heard.get(), 10)
        other.announce(Hint(frozenset({"b"})))
        for _ in range(1_000_000):
            await asyncio.sleep(0)
            if own:
                break
        assert own == [Hint(frozenset({"b"}))]


async def test_a_node_s_own_posts_are_no_news_and_one_that_becomes_visible_late_is(postgres_url: str, postgres_server: str) -> None:
    schema = postgres_url.rpartition("schema=")[2]
    async with opened(postgres_url) as store, opened(postgres_url) as other:
        await put(store, start("a"))
        assert await store.has_news([0])
        assert not await store.has_news([0])
        epoch = await take(store)
        await store.commit(Batch(epoch, posts=[message("a", "own")]))
        assert not await store.has_news([0])
        # What is posted without an epoch may come from a client beside the node, which does not know of it.
        await store.commit(Batch(posts=[message("a", "a client's")]))
        assert await store.has_news([0])
        assert not await store.has_news([0])
        slow = await asyncpg.connect(postgres_server)
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(
            f'insert into "{schema}".inbox (run, id, at_us, body, partition, arrived, writer) '
            "values ('a', 'slow', 1, '', 0, pg_current_xact_id(), 0)"
        )
        await other.commit(Batch(posts=[message("a", "quick")]))
        assert await store.has_news([0])
        assert not await store.has_news([0])
        await transaction.commit()
        await slow.close()
        assert await store.has_news([0])
        assert not await store.has_news([0])
        assert await store.has_news([0, 1])


async def test_an_unexpected_conflict_of_starts_is_our_mistake_and_writes_nothing(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        await put(store, start("a"))
        for starts in ([start("b"), start("a")], [start("c"), start("c")]):
            with pytest.raises(Internal):
                await store.commit(Batch(starts=starts, checked={RunId("c")}))
        assert [row.id for row in await store.find(RunQuery())] == ["a"]


async def test_an_id_that_is_no_text_of_postgresql_is_refused(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        for id in ("a\0b", "a\ud800"):
            with pytest.raises(Unsupported):
                await put(store, start(id))
            with pytest.raises(Unsupported):
                await store.row(RunId(id))
        assert await store.find(RunQuery()) == []


async def test_a_batch_beyond_a_gigabyte_is_refused_before_it_is_sent(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_module, "_BYTES_MAX", 1_000)
    large = b"x" * 1_001
    async with opened(postgres_url) as store:
        for batch in (
            Batch(rows=[step("a", 1, large)]),
            Batch(rows=[step("a", 1, b"", large)]),
            Batch(blobs={"h": large}),
            Batch(posts=[InboxItem(A, "m", 1, large)]),
        ):
            with pytest.raises(TooLarge):
                await store.commit(batch)


async def test_a_closed_store_says_so(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    with pytest.raises(EngineClosed):
        await store.held([0])
    await store.open()
    await store.close()
    for request in (store.commit(Batch()), store.held([0]), store.take_lease("a", 1, 1)):
        with pytest.raises(EngineClosed):
            await request


def test_a_url_is_read_with_care_and_named_without_secrets() -> None:
    name = PostgresStore("postgresql://me:secret@one:1,two:2/app?sslmode=require&password=hidden&schema=other").name
    assert (name.startswith("postgresql://me@one:1,two:2/app"), "secret" in name, "hidden" in name) == (True, False, False)
    for bad in ("mysql://x/y", "postgresql://h/d?notify=maybe", "postgresql://h/d?schema=a%22b", "postgresql://h/d?schema=pg_x"):
        with pytest.raises(InvalidOption):
            PostgresStore(bad)
    with pytest.raises(InvalidOption):
        PostgresStore("postgresql://h/d?connect_timeout=soon")


async def test_a_server_that_refuses_or_is_not_there_is_unavailable() -> None:
    for url in ("postgresql://postgres@127.0.0.1:1/x", "postgresql://nobody-there@127.0.0.1:1,127.0.0.1:2/x"):
        with pytest.raises(StoreUnavailable):
            await PostgresStore(url).open()
