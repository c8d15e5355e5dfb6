"""Promises of `Pruning`: what is outdated goes with all that belongs to it, and nothing that anybody still refers to."""

import asyncio
from typing import Any

from perdure.model.ids import CallName, RunId
from perdure.model.retention import Outdated
from perdure.model.run import RunRow, Status
from perdure.ports.store import Batch, Heartbeat, Reply, RunQuery, Store
from perdure.testing.conformance.harness import StoreHarness, change, journal, message, promise, start, step

DONE = Outdated(Status.COMPLETED, 100)


def ended(run: str, *, updated_us: int = 50, **fields: Any) -> RunRow:
    return start(run, **{"status": Status.COMPLETED, "wake_us": None, "updated_us": updated_us} | fields)


def hash_of(name: str) -> str:
    return name.encode().hex().rjust(64, "0")


def facts(*names: str) -> bytes:
    return b"[%s]" % b",".join(b'{"value":{"blob":"%s","size":9}}' % hash_of(name).encode() for name in names)


async def prune(store: Store, outdated: Outdated = DONE, limit: int = 100) -> int:
    return await store.prune_runs(outdated, range(store.traits.partitions), limit=limit)


async def blobs(store: Store, *names: str) -> set[str]:
    found = await store.blobs([hash_of(name) for name in names])
    return {name for name in names if hash_of(name) in found}


class PruningPromises(StoreHarness):
    @promise
    async def test_a_pruned_run_is_gone_with_all_that_belongs_to_it(self, store: Store) -> None:
        rows = [ended("a", tags=("t", "u")), start("b", tags=("t",))]
        batch = Batch(starts=rows, rows=[step("a", 1), step("b", 1)], posts=[message("a", "m"), message("b", "m")])
        batch.heartbeats = [Heartbeat(RunId(run), CallName("1"), 1, b"1") for run in "ab"]
        await store.commit(batch)
        assert await prune(store) == 1
        assert [loaded.row.id for loaded in await store.load([RunId("a"), RunId("b")])] == ["b"]
        assert (await journal(store, "a"), len(await journal(store, "b"))) == ([], 1)
        assert [row.id for row in await store.find(RunQuery(tag="t"))] == ["b"]
        await store.commit(Batch(starts=[start("a")], checked={RunId("a")}))
        again = {loaded.row.id: loaded for loaded in await store.load([RunId("a"), RunId("b")])}
        assert (again[RunId("a")].inbox, again[RunId("a")].heartbeats) == ([], [])
        assert (len(again[RunId("b")].inbox), len(again[RunId("b")].heartbeats)) == (1, 1)
        assert [row.id for row in await store.find(RunQuery(tag="u"))] == []

    @promise
    async def test_only_runs_of_that_status_that_ended_before_the_instant_are_pruned_and_counted(self, store: Store) -> None:
        kept = [ended("late", updated_us=100), ended("failed", status=Status.FAILED), start("open", updated_us=1)]
        kept += [start("stalled", status=Status.STALLED, updated_us=1), start("waiting", status=Status.WAITING, updated_us=1, wake_us=5)]
        await store.commit(Batch(starts=[ended("a"), ended("b", updated_us=99), *kept]))
        assert await store.count_outdated(DONE) == 2
        assert await prune(store) == 2
        assert await store.count_outdated(DONE) == 0
        assert {row.id for row in await store.find(RunQuery())} == {row.id for row in kept}
        assert [await prune(store, Outdated(status, 1_000)) for status in (Status.WAITING, Status.STALLED, Status.RUNNING)] == [0, 0, 0]

    @promise
    async def test_no_more_runs_are_pruned_at_once_than_asked(self, store: Store) -> None:
        await store.commit(Batch(starts=[ended(str(number)) for number in range(5)]))
        assert [await prune(store, limit=2) for _ in range(4)] == [2, 2, 1, 0]

    @promise
    async def test_runs_of_other_partitions_stay(self, store: Store) -> None:
        await store.commit(Batch(starts=[ended("a")]))
        assert await store.prune_runs(DONE, [], limit=9) == 0
        assert await prune(store) == 1

    @promise
    async def test_a_blob_goes_with_the_last_that_refers_to_it(self, store: Store) -> None:
        both = {hash_of("x"): b"x" * 9, hash_of("y"): b"y" * 9, hash_of("z"): b"z" * 9}
        await store.commit(
            Batch(starts=[ended("a"), start("b")], rows=[step("a", 1, facts("x", "y")), step("b", 1, facts("y"))], blobs=both)
        )
        assert await prune(store) == 1
        assert await blobs(store, "x", "y", "z") == {"y", "z"}, "z was never referred to, so nobody knows when it can go"
        await store.commit(Batch(starts=[ended("c")], rows=[step("c", 1, facts("y"))], blobs={hash_of("y"): b"y" * 9}))
        assert await prune(store) == 1
        assert await blobs(store, "y") == {"y"}

    @promise
    async def test_messages_and_replies_keep_their_blobs(self, store: Store) -> None:
        given = {hash_of("m"): b"m", hash_of("r"): b"r"}
        batch = Batch(
            starts=[ended("a"), start("b")], rows=[step("a", 1, facts("m", "r"))], posts=[message("b", "1", facts("m"))], blobs=given
        )
        batch.replies = [Reply("a", 10, facts("r"))]
        await store.commit(batch)
        assert await prune(store) == 1
        assert await blobs(store, "m", "r") == {"m", "r"}
        assert await store.prune_replies(11) == 1
        assert await blobs(store, "m", "r") == {"m"}

    @promise
    async def test_a_blob_that_is_pruned_while_others_begin_to_refer_to_it_is_there_for_them(self, store: Store) -> None:
        given = {hash_of("x"): b"x" * 1_000}
        async with self.another(store) as other:
            for number in range(40):
                old, new = f"old{number}", f"new{number}"
                await store.commit(Batch(starts=[ended(old)], rows=[step(old, 1, facts("x"))], blobs=given))
                fresh = Batch(starts=[start(new)], rows=[step(new, 1, facts("x"))], blobs=given)
                await asyncio.gather(prune(store), other.commit(fresh))
                assert await blobs(store, "x") == {"x"}
                await store.commit(Batch(changes=[change(new, Status.COMPLETED)]))
                while await prune(store, Outdated(Status.COMPLETED, 10_000)):
                    pass
                assert await blobs(store, "x") == set()
