"""Several nodes share a store's partitions, in one process and on virtual time: nobody is forgotten, and nobody is served twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import pytest

import perdure
from perdure import Limits, Registry, action, query, signal, update, workflow
from perdure.model.errors import LeaseLost
from perdure.model.ids import RunId
from perdure.model.limits import Limits as AnyLimits
from perdure.ports.store import Batch, InboxItem, Loaded
from perdure.stores.memory import MemoryStore
from perdure.testing.clock import VirtualClock
from perdure.testing.simulation.faults import SECOND_US, Fault, Kind
from perdure.testing.simulation.loop import run_virtually
from perdure.testing.simulation.process import Process
from perdure.testing.simulation.wire import Traffic

LEASE_S = 10
PARTITIONS = 12
REGISTRY = Registry()
go = signal("go", str)
begun: list[tuple[str, int]] = []


@action(name="nodes.slow", registry=REGISTRY)
async def slow(seconds: float) -> int:
    begun.append((perdure.attempt().run, perdure.attempt().number))
    await asyncio.sleep(seconds)
    return perdure.attempt().number


@workflow(name="nodes.works", registry=REGISTRY)
async def works(seconds: float) -> int:
    return await slow(seconds)


@workflow(name="nodes.sleeps", registry=REGISTRY)
async def sleeps(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "awake"


@workflow(name="nodes.waits", registry=REGISTRY)
async def waits() -> str:
    return await go.receive()


@workflow(name="nodes.box", registry=REGISTRY)
class Box:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.closed = asyncio.Event()

    async def run(self) -> list[str]:
        await self.closed.wait()
        return self.items

    @update
    async def put(self, item: str, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.items.append(item)
        return len(self.items)

    @update
    def close(self) -> None:
        self.closed.set()

    @query
    def size(self) -> int:
        return len(self.items)


class CountingStore(MemoryStore):
    """Counts the runs that are read into memory."""

    def __init__(self) -> None:
        super().__init__(partitions=PARTITIONS)
        self.loaded: list[str] = []

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        found = await super().load(runs, within)
        self.loaded += [entry.row.id for entry in found if within is None or entry.row.partition in within]
        return found


class Cluster:
    """Processes on one store; all that they do takes place on the virtual clock."""

    def __init__(self, clock: VirtualClock, limits: AnyLimits) -> None:
        self.clock = clock
        self.store = CountingStore()
        self._traffic = Traffic(self.store)
        self._limits = limits
        self._count = 0

    async def join(self, *, is_client: bool = False) -> Process:
        self._count += 1
        process = Process(
            f"node{self._count}",
            self._traffic,
            self.clock,
            seed=f"{self._count}",
            lease_us=LEASE_S * SECOND_US,
            limits=self._limits,
            registry=REGISTRY,
            is_client=is_client,
        )
        await process.open()
        return process

    def shares(self) -> list[int]:
        holders = self.store._seats._holders
        return sorted(holders.count(epoch) for epoch in self.store._seats._nodes)

    async def partition_of(self, run: str) -> int:
        row = await self.store.row(RunId(run))
        assert row is not None
        return row.partition

    async def holder(self, run: str, processes: Sequence[Process]) -> Process:
        epoch = self.store._seats._holders[await self.partition_of(run)]
        return next(process for process in processes if process.engine.node is not None and process.engine.node.epoch == epoch)

    async def other(self, run: str, processes: Sequence[Process]) -> Process:
        holder = await self.holder(run, processes)
        return next(process for process in processes if process is not holder)


def on_virtual_time(test: Callable[[Cluster], Awaitable[None]], limits: AnyLimits | None = None) -> None:
    begun.clear()
    clock = VirtualClock()

    async def main() -> None:
        async with asyncio.timeout(600):
            await test(Cluster(clock, limits or Limits()))

    run_virtually(clock, main())


@asynccontextmanager
async def within(cluster: Cluster, seconds: float) -> AsyncIterator[None]:
    """What is done inside takes no longer."""
    start_us = cluster.clock.now_us()
    yield
    assert (cluster.clock.now_us() - start_us) / SECOND_US <= seconds


@pytest.mark.covers("M17", "X1")
def test_shares_are_even_within_two_lease_periods_after_nodes_come_go_and_die() -> None:
    async def test(cluster: Cluster) -> None:
        first = await cluster.join()
        assert cluster.shares() == [12]
        second, third, fourth = await cluster.join(), await cluster.join(), await cluster.join()
        await asyncio.sleep(2 * LEASE_S)
        assert cluster.shares() == [3, 3, 3, 3]
        await second.close()
        await asyncio.sleep(2 * LEASE_S)
        assert cluster.shares() == [4, 4, 4]
        third.die()
        await asyncio.sleep(3 * LEASE_S)  # Its lease must end first.
        assert cluster.shares() == [6, 6]
        await first.close()
        await asyncio.sleep(2 * LEASE_S)
        assert cluster.shares() == [12]
        assert fourth.engine.is_node

    on_virtual_time(test)


@pytest.mark.covers("M16", "M17", "X2")
def test_the_runs_of_a_dead_node_go_on_within_a_lease_period_after_its_lease_ended() -> None:
    async def test(cluster: Cluster) -> None:
        nodes = [await cluster.join(), await cluster.join()]
        await asyncio.sleep(2 * LEASE_S)
        for number in range(30):
            await nodes[number % 2].engine.start(works.options(id=f"r{number}"), 5.0)
        await asyncio.sleep(1)
        nodes[0].die()
        async with within(cluster, LEASE_S + LEASE_S):
            while len({run for run, number in begun if number == 2}) < 15:  # noqa: ASYNC110 - virtual time.
                await asyncio.sleep(0.1)
        results = [await nodes[1].engine.get(f"r{number}", works).result() for number in range(30)]
        assert sorted(results) == [1] * 15 + [2] * 15

    on_virtual_time(test)


@pytest.mark.covers("M17")
def test_a_draining_node_hands_its_runs_over_at_once() -> None:
    async def test(cluster: Cluster) -> None:
        nodes = [await cluster.join(), await cluster.join()]
        await asyncio.sleep(2 * LEASE_S)
        for number in range(20):
            await nodes[0].engine.start(waits.options(id=f"r{number}"))
        async with within(cluster, 1):
            assert await nodes[0].close()
            for number in range(20):
                await nodes[1].engine.get(f"r{number}").send(go, "on", id=f"go{number}")
                assert await nodes[1].engine.get(f"r{number}", waits).result() == "on"
        assert cluster.shares() == [12]

    on_virtual_time(test)


@pytest.mark.covers("M17")
def test_a_take_over_loads_the_runs_that_were_in_flight_and_leaves_the_sleepers_where_they_are() -> None:
    async def test(cluster: Cluster) -> None:
        first = await cluster.join()
        for number in range(40):
            await first.engine.start(sleeps.options(id=f"sleeper{number}"), 100_000.0)
        for number in range(3):
            await first.engine.start(works.options(id=f"busy{number}"), 60.0)
        second = await cluster.join()
        first.die()
        cluster.store.loaded.clear()
        await asyncio.sleep(2 * LEASE_S)
        assert cluster.shares() == [12]
        assert sorted(cluster.store.loaded) == ["busy0", "busy1", "busy2"]
        assert await second.engine.get("busy0", works).result() == 2

    on_virtual_time(test)


@pytest.mark.covers("M13", "M17")
def test_a_signal_an_update_a_query_a_result_and_a_cancel_through_the_wrong_node_reach_the_run() -> None:
    async def test(cluster: Cluster) -> None:
        nodes = [await cluster.join(), await cluster.join()]
        await asyncio.sleep(2 * LEASE_S)
        for id, what in (("box", Box), ("waits", waits), ("gone", waits)):
            await nodes[0].engine.start(what.options(id=id))  # type: ignore[attr-defined]
        box = (await cluster.other("box", nodes)).engine.get("box", Box)
        result = asyncio.ensure_future(box.result())
        assert await box.update(Box.put, "a", 0.0) == 1
        assert await box.query(Box.size) == 1
        await box.update(Box.close)
        assert await result == ["a"]
        wrong = await cluster.other("waits", nodes)
        await wrong.engine.get("waits").send(go, "said")
        assert await wrong.engine.get("waits", waits).result() == "said"
        wrong = await cluster.other("gone", nodes)
        assert await wrong.engine.get("gone").cancel("enough")
        with pytest.raises(perdure.RunCancelled):
            await wrong.engine.get("gone").result()

    on_virtual_time(test)


@pytest.mark.covers("M13", "M17")
@pytest.mark.parametrize("is_through_the_other", [False, True])
def test_an_update_that_is_under_way_is_answered_over_a_hand_over(is_through_the_other: bool) -> None:
    async def test(cluster: Cluster) -> None:
        nodes = [await cluster.join(), await cluster.join()]
        await asyncio.sleep(2 * LEASE_S)
        await nodes[0].engine.start(Box.options(id="box"))
        asked = nodes[1 if is_through_the_other else 0].engine.get("box", Box)
        answer = asyncio.ensure_future(asked.update(Box.put, "a", 4.0, update_id="once"))
        await asyncio.sleep(1)
        third = await cluster.join()  # With three nodes, partitions of both others move.
        await nodes[0].engine.node.handover.give({await cluster.partition_of("box")}, patience_us=0)
        assert await answer == 1
        assert await third.engine.get("box").query(Box.size) == 1

    on_virtual_time(test)


@pytest.mark.covers("M17")
def test_a_node_without_partitions_can_start_runs() -> None:
    async def test(cluster: Cluster) -> None:
        nodes = [await cluster.join() for _ in range(PARTITIONS + 1)]
        await asyncio.sleep(2 * LEASE_S)
        poor = next(process for process in nodes if not process.engine.node.share.mine)
        run = await poor.engine.start(works.options(id="r"), 1.0)
        assert await run.result() == 1

    on_virtual_time(test)


@pytest.mark.covers("X2")
def test_attempts_under_way_at_a_hand_over_are_waited_for_up_to_half_a_lease_and_then_made_again() -> None:
    async def test(cluster: Cluster) -> None:
        first = await cluster.join()
        short = [await first.engine.start(works.options(id=f"short{number}"), LEASE_S * 0.6) for number in range(12)]
        long = [await first.engine.start(works.options(id=f"long{number}"), LEASE_S * 2.0) for number in range(12)]
        second = await cluster.join()
        asked_us = cluster.clock.now_us()
        moved = [run.id for run in (*short, *long)]
        assert {await run.result() for run in short} == {1}, "they ended in time"
        while second.engine.node is None or len(second.engine.node.share.mine) < 6:  # noqa: ASYNC110 - virtual time.
            await asyncio.sleep(0.05)
        moved = [id for id in moved if await cluster.partition_of(id) in second.engine.node.share.mine and id.startswith("long")]
        assert moved
        waited_s = (cluster.clock.now_us() - asked_us) / SECOND_US
        assert LEASE_S / 2 <= waited_s <= LEASE_S / 3 + LEASE_S / 2 + 1
        results = {run.id: await second.engine.get(run.id, works).result() for run in long}
        assert results == {id: 2 if id in moved else 1 for id in results}

    on_virtual_time(test)


@pytest.mark.covers("M13", "X1", "X2")
def test_a_node_that_was_stopped_longer_than_its_lease_writes_nothing_more_and_joins_anew() -> None:
    async def test(cluster: Cluster) -> None:
        nodes = [await cluster.join(), await cluster.join()]
        await asyncio.sleep(2 * LEASE_S)
        for number in range(12):
            await nodes[0].engine.start(works.options(id=f"r{number}"), 1.0)
        await asyncio.sleep(0.1)
        epoch = nodes[0].engine.node.epoch
        nodes[0].pause()  # The outcomes come while it stands still, and their commit after it was replaced.
        await asyncio.sleep(3 * LEASE_S)
        assert [await nodes[1].engine.get(f"r{number}", works).result() for number in range(12)] == [2] * 12
        nodes[0].resume()
        await asyncio.sleep(2 * LEASE_S)
        with pytest.raises(LeaseLost):
            await cluster.store.commit(Batch(epoch=epoch))
        assert nodes[0].engine.node.epoch > epoch
        assert cluster.shares() == [6, 6]

    on_virtual_time(test)


# What the simulation found, one by one.


@pytest.mark.covers("X1")
def test_a_node_that_finds_out_twice_that_it_was_replaced_comes_back_once() -> None:
    async def test(cluster: Cluster) -> None:
        nodes = [await cluster.join(), await cluster.join()]
        await asyncio.sleep(2 * LEASE_S)
        node = nodes[0].engine.node
        await cluster.store.release_lease(node.epoch)
        for _ in range(2):
            node._on_lost(LeaseLost(epoch=node.epoch, found="the commit and the renewal both say so"))
        await asyncio.sleep(2 * LEASE_S)
        assert cluster.shares() == [6, 6]

    on_virtual_time(test)


def test_a_run_whose_partition_comes_while_it_is_read_for_a_client_is_read_again_with_its_journal() -> None:
    async def test(cluster: Cluster) -> None:
        first = await cluster.join()
        run = await first.engine.start(waits.options(id="r"))
        await run.send(go, "kept", id="once")
        await first.engine.start(waits.options(id="open"))
        second = await cluster.join()
        first.die()
        assert not second.engine.node.share.mine
        second.wire.arm(Fault(Kind.SLOW_AFTER, at_us=0, slot=0, span_us=2 * LEASE_S * SECOND_US))
        await second.engine.get("open").send(go, "late", id="go")
        assert await second.engine.get("open", waits).result() == "late"

    on_virtual_time(test)


def test_a_message_that_a_late_answer_of_the_store_shows_again_takes_effect_once() -> None:
    async def test(cluster: Cluster) -> None:
        node, outside = await cluster.join(), await cluster.join(is_client=True)
        read = node.wire.addressed

        async def late(partitions: Collection[int], limit: int) -> list[InboxItem]:
            items = await read(partitions, limit)
            await asyncio.sleep(1)
            return items

        node.wire.addressed = late  # type: ignore[method-assign]
        await outside.engine.start(Box.options(id="r"))  # type: ignore[attr-defined]
        await asyncio.sleep(0.5)
        # Whoever asks brings the run into memory, and with it its inbox, while the look is still on its way.
        assert await node.engine.get("r").query(Box.size) == 0
        await asyncio.sleep(5)
        names = [entry.name async for entry in outside.engine.get("r").journal()]
        assert names.count("RunStarted") == 1

    on_virtual_time(test)


def test_the_same_batch_again_has_one_effect_and_the_same_answer() -> None:
    async def test(cluster: Cluster) -> None:
        node = await cluster.join()
        node.wire.arm(Fault(Kind.FAIL_AFTER, at_us=0, slot=0, span_us=0, skip=1, count=2))
        run = await node.engine.start(works.options(id="r"), 1.0)
        assert await run.result() == 1

    on_virtual_time(test)


def test_of_two_starts_with_one_id_by_two_ways_one_begins_and_the_other_finds_it() -> None:
    async def test(cluster: Cluster) -> None:
        node, outside = await cluster.join(), await cluster.join(is_client=True)
        for number in range(20):
            what = works.options(id=f"r{number}")
            runs = await asyncio.gather(outside.engine.start(what, 1.0), node.engine.start(what, 1.0), node.engine.start(what, 1.0))
            assert {await run.result() for run in runs} == {1}

    on_virtual_time(test)
