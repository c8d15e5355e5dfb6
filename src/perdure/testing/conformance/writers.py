"""Promises to several writers at once, to writers that try again, and to those who wait for word from each other."""

import asyncio

import pytest

from perdure.model.ids import CallName, RunId
from perdure.model.run import Status
from perdure.ports.store import Batch, Heartbeat, Hint, Reply, Store, start_id
from perdure.testing.conformance.harness import StoreHarness, change, every, journal, message, promise, put, start, step, take

A, B = RunId("a"), RunId("b")


class ManyWritersPromises(StoreHarness):
    @promise
    async def test_nodes_and_clients_that_commit_at_once_lose_nothing(self, store: Store) -> None:
        async with self.another(store) as other:
            epoch = await take(store)
            second = epoch if store.traits.partitions == 1 else await take(other, "b")
            await put(store, start("x"), start("y"))
            nodes = [
                store.commit(Batch(epoch, [start(f"a{at}")], rows=[step("x", at)], posts=[message("y", f"x{at}")])) for at in range(1, 41)
            ]
            nodes += [
                other.commit(Batch(second, [start(f"b{at}")], rows=[step("y", at)], posts=[message("x", f"y{at}")])) for at in range(1, 41)
            ]
            clients = [handle.commit(Batch(posts=[message("x", f"c{at}")])) for at in range(40) for handle in (store, other)]
            await asyncio.gather(*nodes, *clients)
        assert [number for number, _ in await journal(store, "x")] == list(range(1, 41)) == [n for n, _ in await journal(store, "y")]
        loaded = {one.row.id: len(one.inbox) for one in await store.load([RunId("x"), RunId("y")])}
        assert loaded == {"x": 80, "y": 40}
        assert len(await store.load([RunId(f"{node}{at}") for node in "ab" for at in range(1, 41)])) == 80

    @promise
    async def test_writers_that_start_the_same_runs_at_once_agree_on_who_did(self, store: Store) -> None:
        ids = [RunId(f"r{number}") for number in range(20)]
        async with self.another(store) as other:
            batches = [
                Batch(starts=[start(id, created_us=at) for id in (ids if at % 2 else reversed(ids))], checked=set(ids))
                for at in range(1, 21)
            ]
            for at, batch in enumerate(batches, 1):
                batch.rows = [step(id, 1, b"[%d]" % at) for id in ids]
            answers = await asyncio.gather(*((store, other)[at % 2].commit(batch) for at, batch in enumerate(batches)))
        for id in ids:
            winners = [at for at, taken in enumerate(answers, 1) if id not in taken]
            assert len(winners) == 1
            assert await journal(store, id) == [(1, b"[%d]" % winners[0])]
            assert {taken[id].created_us for taken in answers if id in taken} == {winners[0]}

    @promise
    async def test_a_conflict_on_one_run_does_not_spoil_what_a_node_commits_for_others(self, store: Store) -> None:
        epoch = await take(store)
        await put(store, start("a"), start("b"))
        batch = Batch(epoch, [start("a", created_us=9), start("c")], {A}, [step("b", 1), step("a", 1), step("c", 1)])
        batch.changes, batch.posts = [change("b", wake_us=4), change("a", wake_us=5)], [message("b", "m"), message("a", start_id(A))]
        batch.consumed, batch.replies = [(B, "gone")], [Reply("q", 1, b"")]
        assert await store.commit(batch) == {A: start("a")}
        assert [len(await journal(store, run)) for run in ("a", "b", "c")] == [0, 1, 1]
        rows = [await store.row(A), await store.row(B)]
        assert rows == [start("a"), start("b", status=Status.WAITING, updated_us=2_000, wake_us=4)]
        assert [item.id for item in await store.addressed(every(store), 9)] == ["m"]

    @promise
    async def test_a_run_that_starts_and_changes_in_one_batch_is_as_if_it_had_been_two(self, store: Store) -> None:
        beat = Heartbeat(A, CallName("1"), 1, b"")
        changes = [change("a", Status.STALLED, wake_us=3, reason="bug"), change("a", Status.COMPLETED)]
        await store.commit(Batch(starts=[start("a", state=b"{}", version=2)], changes=changes, heartbeats=[beat]))
        (loaded,) = await store.load([A])
        assert loaded.row == start("a", state=b"{}", version=2, status=Status.COMPLETED, updated_us=2_000, wake_us=None, reason="bug")
        assert loaded.heartbeats == []

    @promise
    async def test_a_batch_without_journal_rows_may_be_committed_again(self, store: Store) -> None:
        epoch = await take(store)
        await put(store, start("a"))
        batch = Batch(
            epoch, changes=[change("a", wake_us=5, reason="why")], blobs={"h": b"x"}, posts=[message("a", "m"), message("a", "n")]
        )
        batch.replies, batch.consumed, batch.heartbeats = [Reply("q", 1, b"")], [(A, "n")], [Heartbeat(A, CallName("1"), 1, b"")]
        for _ in range(3):
            assert await store.commit(batch) == {}
        (loaded,) = await store.load([A])
        assert (loaded.row.wake_us, loaded.row.reason, len(loaded.heartbeats)) == (5, "why", 1)
        assert [item.id for item in loaded.inbox] == ["m"]

    @promise
    async def test_a_hint_reaches_the_others_with_all_its_names(self, store: Store) -> None:
        if not self.tells_news:
            pytest.skip("this store tells no hints")
        heard: list[Hint] = []
        arrived = asyncio.Event()
        async with self.another(store) as other:

            def hear(hint: Hint) -> None:
                heard.append(hint)
                arrived.set()

            stop = other.subscribe(hear)
            await self.until_heard(other)
            store.announce(Hint(frozenset({"a"}), frozenset({"b"})))
            store.announce(Hint(frozenset({"ü→"}), has_moved=True))
            posted: set[str] = set()
            while "ü→" not in posted or not any(hint.has_moved for hint in heard):
                await asyncio.wait_for(arrived.wait(), 10)
                arrived.clear()
                posted = {name for hint in heard for name in hint.posted}
            assert (posted, {name for hint in heard for name in hint.ended}) == ({"a", "ü→"}, {"b"})
            stop()
            stop()

    @promise
    async def test_a_hint_of_more_than_can_be_told_says_that_it_is_not_all(self, store: Store) -> None:
        if not self.tells_news:
            pytest.skip("this store tells no hints")
        names = frozenset(f"run number {number}" for number in range(3_000))
        told: asyncio.Future[Hint] = asyncio.get_running_loop().create_future()
        async with self.another(store) as other:
            other.subscribe(lambda hint: None if told.done() else told.set_result(hint))
            await self.until_heard(other)
            store.announce(Hint(names))
            hint = await asyncio.wait_for(told, 10)
        assert hint.posted <= names
        assert hint.is_partial or hint.posted == names

    @promise
    async def test_announcing_and_unsubscribing_do_no_harm_where_nobody_listens(self, store: Store) -> None:
        stop = store.subscribe(lambda hint: None)
        store.announce(Hint(frozenset({"a"}), is_partial=True))
        stop()
        store.announce(Hint())
        await put(store, start("a"))
