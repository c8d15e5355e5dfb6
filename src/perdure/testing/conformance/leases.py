"""Promises of `Leases` to a node, and to the one node of a store that has no partitions to share (G1)."""

import pytest

from perdure.model.durability import Durability
from perdure.model.errors import LeaseLost, Unsupported
from perdure.model.ids import RunId
from perdure.ports.store import Batch, NodeSeat, Store
from perdure.testing.conformance.harness import LEASE_US, StoreHarness, every, journal, message, promise, start, step, take


class LeasePromises(StoreHarness):
    @promise
    async def test_whoever_asks_is_told_who_is_there(self, store: Store) -> None:
        assert (await store.survey()).nodes == []
        epoch = await take(store, "first")
        async with self.another(store) as other:
            (seat,) = (await other.survey()).nodes
            assert (seat.epoch, seat.name) == (epoch, "first")
        await store.release_lease(epoch)
        assert (await store.survey()).nodes == []

    @promise
    async def test_each_epoch_is_higher_than_any_before(self, store: Store) -> None:
        epochs = []
        for _ in range(3):
            epochs.append(await take(store))
            await store.release_lease(epochs[-1])
        assert epochs == sorted(set(epochs))
        assert epochs[0] > 0

    @promise
    async def test_a_released_lease_can_be_taken_at_once_and_its_epoch_writes_no_more(self, store: Store) -> None:
        epoch = await take(store)
        await store.release_lease(epoch)
        with pytest.raises(LeaseLost):
            await store.commit(Batch(epoch, rows=[step("a", 1)]))
        async with self.another(store) as other:
            assert await take(other, "b") > epoch
        assert await journal(store, "a") == []

    @promise
    async def test_an_epoch_that_was_never_given_writes_nothing(self, store: Store) -> None:
        for epoch in (0, 1, 99):
            with pytest.raises(LeaseLost):
                await store.commit(Batch(epoch, rows=[step("a", 1)]))
        assert not await store.renew_lease(0, 1, LEASE_US)
        assert await journal(store, "a") == []

    @promise
    async def test_writers_without_an_epoch_are_not_fenced(self, store: Store) -> None:
        await take(store)
        async with self.another(store) as other:
            await other.commit(Batch(starts=[start("a")], rows=[step("a", 1)], posts=[message("a", "m")], blobs={"h": b"x"}))
        (loaded,) = await store.load([start("a").id])
        assert (len(loaded.transitions), len(loaded.inbox)) == (1, 1)

    @promise
    async def test_a_survey_tells_who_is_there_and_who_has_what(self, store: Store) -> None:
        epoch = await take(store, now_us=1)
        free = await store.renew_lease(epoch, 2, LEASE_US)
        assert free is not None
        assert (free.nodes, free.holders) == ([NodeSeat(epoch, "a", 2 + LEASE_US)], [None] * store.traits.partitions)
        assert sorted(await store.take_partitions(epoch, every(store), 3)) == list(every(store))
        taken = await store.renew_lease(epoch, 4, LEASE_US)
        assert taken is not None
        assert (taken.nodes, taken.holders) == ([NodeSeat(epoch, "a", 4 + LEASE_US)], [epoch] * store.traits.partitions)

    @promise
    async def test_a_fenced_epoch_takes_no_partitions(self, store: Store) -> None:
        epoch = await take(store)
        await store.release_lease(epoch)
        for fenced in (epoch, 0):
            with pytest.raises(LeaseLost):
                await store.take_partitions(fenced, every(store), 2)
        assert await store.renew_lease(epoch, 2, LEASE_US) is None
        await store.release_lease(epoch)

    @promise
    async def test_a_durability_is_given_at_least_as_strong_or_refused_by_name(self, store: Store) -> None:
        own = store.grants(None)
        given = 0
        for asked in Durability:
            granted, refusal = asked, None
            try:
                granted = store.grants(asked)
            except Unsupported as error:
                refusal = str(error)
            if refusal is not None:
                assert repr(asked.value) in refusal
            else:
                given += 1
                assert granted.rank >= asked.rank
                await store.commit(Batch(starts=[start(asked.value, durability=granted)], durability=granted))
                row = await store.row(RunId(asked.value))
                assert row is not None
                assert row.durability == granted or (row.durability is None and granted == own)
        assert given
        assert store.grants(own) == own


class OneNodePromises(StoreHarness):
    @promise
    async def test_another_node_does_not_get_a_live_lease(self, store: Store) -> None:
        _only_one(store)
        epoch = await take(store)
        async with self.another(store) as other:
            assert await other.take_lease("b", 2, LEASE_US) is None
        await store.commit(Batch(epoch, rows=[step("a", 1)]))

    @promise
    async def test_the_lease_of_a_dead_node_can_be_taken_at_once(self, store: Store) -> None:
        _only_one(store)
        if not self.tells_death:
            pytest.skip("this store cannot tell that a holder has died")
        epoch = await take(store)
        async with self.another(store) as other:
            self.crash(store)
            assert await take(other, "b", now_us=2) > epoch

    @promise
    async def test_a_lease_that_ended_is_taken_by_another_node_only_where_death_is_not_told(self, store: Store) -> None:
        _only_one(store)
        epoch = await take(store, now_us=1)
        async with self.another(store) as other:
            if other is store:
                pytest.skip("a shared handle: see the harness of the store")
            taken = await other.take_lease("b", LEASE_US + 2, LEASE_US)
        if self.tells_death:
            assert taken is None
            await store.commit(Batch(epoch, rows=[step("a", 1)]))
        else:
            assert taken is not None
            assert taken > epoch

    @promise
    async def test_a_lease_lasts_until_its_end_and_longer_when_renewed(self, store: Store) -> None:
        _only_one(store)
        epoch = await take(store, now_us=1)
        assert await store.take_lease("b", LEASE_US, LEASE_US) is None
        assert await store.renew_lease(epoch, LEASE_US, LEASE_US)
        assert await store.take_lease("b", LEASE_US + 2, LEASE_US) is None
        assert await store.take_lease("b", 2 * LEASE_US + 1, LEASE_US) is not None

    @promise
    async def test_an_old_epoch_writes_nothing_and_cannot_renew_or_release(self, store: Store) -> None:
        _only_one(store)
        old = await take(store, now_us=1)
        new = await take(store, "b", now_us=LEASE_US + 2)
        batch = Batch(old, [start("a", tags=("t",))], set(), [step("a", 1)], blobs={"h": b""}, posts=[message("a", "m")])
        with pytest.raises(LeaseLost):
            await store.commit(batch)
        assert (await store.load([start("a").id]), await store.blobs(["h"]), await store.addressed(every(store), 1)) == ([], {}, [])
        assert not await store.renew_lease(old, LEASE_US + 3, LEASE_US)
        await store.release_lease(old)
        assert await store.renew_lease(new, LEASE_US + 3, LEASE_US)
        await store.commit(Batch(new, rows=[step("a", 1)]))

    @promise
    async def test_the_same_node_may_take_its_lease_again_with_a_new_epoch(self, store: Store) -> None:
        _only_one(store)
        first = await take(store)
        second = await take(store)
        assert second > first
        with pytest.raises(LeaseLost):
            await store.commit(Batch(first, rows=[step("a", 1)]))


def _only_one(store: Store) -> None:
    if store.traits.partitions != 1:
        pytest.skip("many nodes share this store")
