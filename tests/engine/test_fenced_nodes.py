"""A node that was fenced stops, whichever way it comes to know it, and its engine becomes one new node."""

from collections.abc import Callable

import pytest

from perdure import Registry, signal, workflow
from perdure.engine.node import Node
from perdure.engine.sharing.tenure import Tenure
from perdure.model.errors import LeaseLost, StoreUnavailable
from perdure.ports.store import Survey
from perdure.stores.memory import MemoryStore
from perdure.testing import Environment
from perdure.testing.clock import START, VirtualClock

registry = Registry()
go = signal("go", str)


@workflow(registry=registry)
async def waits() -> str:
    return await go.receive()


class FencingStore(MemoryStore):
    """``fenced``: epochs whose renewal finds them fenced. ``breaks``: how many of the other renewals fail from now on."""

    def __init__(self) -> None:
        super().__init__(partitions=4)
        self.taken = 0
        self.fenced: set[int] = set()
        self.breaks = 0

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        self.taken += 1
        return await super().take_lease(node, now_us, lease_us)

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        if epoch in self.fenced:
            raise LeaseLost(epoch=epoch, found="the database failed over")
        if self.breaks:
            self.breaks -= 1
            raise StoreUnavailable(store=self.name, problem="it restarts")
        return await super().renew_lease(epoch, now_us, lease_us)


def fence(store: FencingStore, node: Node) -> None:
    """As a store does that may have lost what the node wrote: the node is no more, and every request of it is refused."""
    store.fenced.add(node.epoch)
    store.break_lease()


async def pass_time(env: Environment) -> None:
    """Long enough for renewals and for several tries to become the node, with a stop at each."""
    for _ in range(10):
        await env.advance("1s")


def note_nodes(env: Environment) -> list[Node]:
    """Give a list that will have every node that the engine makes from now on."""
    nodes: list[Node] = []
    seat = env.engine._seat
    make = seat._make_node

    def noting(on_lost: Callable[[BaseException], None]) -> Node:
        nodes.append(make(on_lost))
        return nodes[-1]

    seat._make_node = noting
    return nodes


@pytest.mark.covers("M17")
async def test_a_node_whose_renewal_finds_it_fenced_stops_and_is_followed_by_one_other() -> None:
    store = FencingStore()
    async with Environment(store, registry=registry) as env:
        run = await env.engine.start(waits)
        lost = env.engine.node
        fence(store, lost)
        await pass_time(env)
        assert (lost.is_open, env.engine.is_node, store.taken) == (False, True, 2)
        await run.send(go, "on")
        assert await run.result() == "on"


async def test_a_node_that_comes_to_know_twice_that_it_was_fenced_is_followed_by_one_other() -> None:
    store = FencingStore()
    async with Environment(store, registry=registry) as env:
        lost = env.engine.node
        store.break_lease()
        for _ in range(3):
            lost._on_lost(LeaseLost(epoch=lost.epoch, found="another node"))
        await pass_time(env)
        assert (env.engine.is_node, store.taken) == (True, 2)


async def test_a_node_that_could_not_open_does_nothing_behind_the_back_of_the_next() -> None:
    store = FencingStore()
    async with Environment(store, registry=registry) as env:
        fence(store, env.engine.node)
        store.breaks = 2
        nodes = note_nodes(env)
        await pass_time(env)
        assert (env.engine.is_node, store.taken) == (True, 4)
        assert [node.is_open for node in nodes] == [False, False, True]


class WrongClock(VirtualClock):
    """An hour ahead until a store tells it better."""

    ahead_us = 3_600_000_000

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us

    def calibrate(self, now_us: int) -> None:
        self.ahead_us = now_us - super().now_us()


class ClockedStore(MemoryStore):
    """Has a clock of its own, by which all nodes go, and notes until when the last lease was."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(partitions=4)
        self._clock = clock
        self.until_us = 0

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        self.until_us = now_us + lease_us
        survey = await super().renew_lease(epoch, now_us, lease_us)
        return None if survey is None else Survey(survey.nodes, survey.holders, self._clock.now_us())


async def test_a_node_with_a_wrong_clock_has_no_lease_longer_than_others_once_it_takes_partitions() -> None:
    truth = VirtualClock(START)
    store = ClockedStore(truth)
    tenure = Tenure(store, WrongClock(START), name="n", lease_us=3_000_000)
    tenure.on_taken = lambda partitions: None
    assert await tenure.begin()
    await tenure.renew()
    assert len(tenure.share.mine) == 4
    assert store.until_us == truth.now_us() + 3_000_000
