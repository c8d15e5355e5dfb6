"""Promises of `Leases` and `Agenda` to many nodes that share the partitions (G1)."""

import asyncio

import pytest

from perdure.model.errors import LeaseLost
from perdure.model.ids import RunId
from perdure.ports.store import Batch, Store
from perdure.testing.conformance.harness import LEASE_US, StoreHarness, change, every, journal, message, promise, put, start, step, take

A, B = RunId("a"), RunId("b")


class SharingPromises(StoreHarness):
    @promise
    async def test_nodes_share_the_partitions_and_none_has_two_holders(self, store: Store) -> None:
        _many(store)
        async with self.another(store) as other:
            first, second = await take(store), await take(other, "b")
            assert second > first
            assert await store.take_partitions(first, [0, 1, 2], 2) == [0, 1, 2]
            assert await other.take_partitions(second, [5, 2, 3], 2) == [5, 3]
            assert await store.take_partitions(first, [1, 3], 2) == [1]
            survey = await other.renew_lease(second, 3, LEASE_US)
            assert survey is not None
            assert {seat.name: seat.epoch for seat in survey.nodes} == {"a": first, "b": second}
            assert survey.holders[:6] == [first, first, first, second, None, second]

    @promise
    async def test_nodes_that_take_at_once_get_each_partition_once(self, store: Store) -> None:
        _many(store)
        async with self.another(store) as other:
            handles = [store, other, store, other]
            epochs = [await take(handle, str(at)) for at, handle in enumerate(handles)]
            asked = (list(every(store)), list(reversed(every(store)))) * 2
            taken = await asyncio.gather(
                *(handle.take_partitions(epoch, wanted, 2) for handle, epoch, wanted in zip(handles, epochs, asked, strict=True))
            )
        assert sorted(number for numbers in taken for number in numbers) == list(every(store))

    @promise
    async def test_a_given_partition_is_free_for_others_and_its_giver_still_lives(self, store: Store) -> None:
        _many(store)
        async with self.another(store) as other:
            first, second = await take(store), await take(other, "b")
            await store.take_partitions(first, [0, 1], 2)
            await other.give_partitions(second, [0])
            assert await other.take_partitions(second, [0, 1], 2) == []
            await store.give_partitions(first, [0])
            assert await other.take_partitions(second, [0, 1], 2) == [0]
            await store.commit(Batch(first, rows=[step("a", 1)]))

    @promise
    async def test_a_released_node_leaves_its_partitions_at_once(self, store: Store) -> None:
        _many(store)
        async with self.another(store) as other:
            first, second = await take(store), await take(other, "b")
            await store.take_partitions(first, [0, 1], 2)
            await store.release_lease(first)
            assert await other.take_partitions(second, [1, 0], 2) == [1, 0]
            with pytest.raises(LeaseLost):
                await store.commit(Batch(first, rows=[step("a", 1)]))

    @promise
    async def test_a_live_holder_keeps_its_partitions_to_the_last_instant_of_its_lease(self, store: Store) -> None:
        _many(store)
        first, second = await take(store, now_us=1), await take(store, "b", now_us=1)
        await store.take_partitions(first, [0], 2)
        assert await store.take_partitions(second, [0], LEASE_US + 1) == []
        assert await store.renew_lease(first, LEASE_US, LEASE_US)
        assert await store.take_partitions(second, [0], LEASE_US + 2) == []
        await store.commit(Batch(first, rows=[step("a", 1)]))

    @promise
    async def test_a_dead_holder_loses_all_and_writes_nothing_more(self, store: Store) -> None:
        _many(store)
        async with self.another(store) as other:
            first, second = await take(store, now_us=1), await take(other, "b", now_us=LEASE_US)
            await store.take_partitions(first, [0, 1, 2], 2)
            await store.commit(Batch(first, [start("a", tags=("old",))], rows=[step("a", 1)]))
            assert await other.take_partitions(second, [0], LEASE_US + 2) == [0]
            # What the paused node had in hand when it woke up.
            late = Batch(first, [start("b", tags=("t",))], rows=[step("a", 2), step("b", 1)], changes=[change("a", wake_us=5)])
            late.blobs, late.posts, late.consumed = {"h": b""}, [message("a", "m")], [(A, "m")]
            with pytest.raises(LeaseLost):
                await store.commit(late)
            assert await store.renew_lease(first, LEASE_US + 3, LEASE_US) is None
            with pytest.raises(LeaseLost):
                await store.take_partitions(first, [7], LEASE_US + 3)
            assert (await journal(other, "a"), await other.row(A), await other.row(B)) == ([(1, b"[]")], start("a", tags=("old",)), None)
            assert (await other.blobs(["h"]), await other.addressed(every(other), 9)) == ({}, [])
            survey = await other.renew_lease(second, LEASE_US + 3, LEASE_US)
            assert survey is not None
            assert ([seat.epoch for seat in survey.nodes], survey.holders[:3]) == ([second], [second, None, None])

    @promise
    async def test_nodes_whose_lease_has_ended_are_no_longer_told_of_and_may_still_come_back(self, store: Store) -> None:
        _many(store)
        first, second = await take(store, now_us=1), await take(store, "b", now_us=LEASE_US)
        survey = await store.renew_lease(second, LEASE_US + 5, LEASE_US)
        assert survey is not None
        assert [seat.epoch for seat in survey.nodes] == [second]
        await store.commit(Batch(first, rows=[step("a", 1)]))
        assert await store.renew_lease(first, LEASE_US + 6, LEASE_US)

    @promise
    async def test_a_node_looks_after_the_runs_of_its_partitions_only(self, store: Store) -> None:
        _many(store)
        await put(store, start("a", partition=1), start("b", partition=2), start("c", partition=2, wake_us=9), start("d", wake_us=7))
        await store.commit(Batch(posts=[message("b", "m"), message("a", "n"), message("c", "o")]))
        assert [await store.held(own) for own in ([1], [2], [3], [])] == [["a"], ["b"], [], []]
        assert [await store.due(own, 9, 9) for own in ([0], [2], [0, 2], [1], [])] == [["d"], ["c"], ["d", "c"], [], []]
        assert [await store.next_wake_us(own) for own in ([0, 2], [2], [1], [])] == [7, 9, None, None]
        found = [[item.id for item in await store.addressed(own, 9)] for own in ([1], [2], [2, 1], [0], [])]
        assert found == [["n"], ["m", "o"], ["m", "n", "o"], [], []]
        assert [item.id for item in await store.addressed([1, 2], 2)] == ["m", "n"]

    @promise
    async def test_of_runs_elsewhere_a_load_need_give_the_row_only(self, store: Store) -> None:
        _many(store)
        await put(store, start("a", partition=1), start("b", partition=2))
        await store.commit(Batch(rows=[step("a", 1), step("b", 1)], posts=[message("a", "m"), message("b", "m")]))
        loaded = {one.row.id: one for one in await store.load([A, B], [1])}
        assert (len(loaded[A].transitions), len(loaded[A].inbox), loaded[B].row) == (1, 1, start("b", partition=2))
        everything = {one.row.id: len(one.transitions) for one in await store.load([A, B])}
        assert everything == {"a": 1, "b": 1}

    @promise
    async def test_what_others_leave_in_a_partition_is_news_to_its_holder(self, store: Store) -> None:
        _many(store)
        await put(store, start("a", partition=1), start("b", partition=2))
        async with self.another(store) as other:
            for number in range(3):
                await store.has_news([1])
                await other.commit(Batch(posts=[message("b", str(number)), message("a", str(number))]))
                assert await store.has_news([1])
            await store.has_news([1])
            await other.commit(Batch(starts=[start("due", partition=1, wake_us=5)]))
            assert await store.has_news([1])


def _many(store: Store) -> None:
    if store.traits.partitions == 1:
        pytest.skip("one node at a time has this store")
