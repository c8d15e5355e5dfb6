"""Limits over all nodes, on virtual time: never more at once, never faster, each key in turn, and nothing lost with a node."""

import asyncio
from collections import Counter
from functools import partial
from random import Random
from typing import Any

import pytest

from perdure.model.call import Limit
from perdure.model.errors import StoreUnavailable
from perdure.permits.bucket import Bucket
from perdure.permits.turnstile import Place, Turnstile
from perdure.stores.memory import MemoryStore
from perdure.testing import VirtualClock

SECOND = 1_000_000
LEASE_US = 10 * SECOND


class Works:
    """Nodes that let calls of one action in; what has begun goes on until it is ended here."""

    def __init__(self, limit: Limit, *, nodes: int = 1) -> None:
        self.clock, self.store = VirtualClock(), MemoryStore()
        self.running: dict[str, tuple[int, str]] = {}
        self.began: list[str] = []
        self.times: list[int] = []
        self.turnstiles = [
            Turnstile(Place(self.store, self.clock, node=f"n{number}", lease_us=LEASE_US), "look", limit) for number in range(nodes)
        ]

    def enter(self, id: str, key: str = "", *, node: int = 0, priority: int = 0) -> None:
        self.turnstiles[node].enter(id, key, partial(self._begin, id, key, node), priority=priority)

    def _begin(self, id: str, key: str, node: int) -> None:
        self.running[id] = (node, key)
        self.began.append(id)
        self.times.append(self.clock.now_us())

    def end(self, id: str) -> None:
        node, _ = self.running.pop(id)
        self.turnstiles[node].leave(id)

    async def settle(self) -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        end = self.clock.now_us() + round(seconds * SECOND)
        await self.settle()
        while self.clock.now_us() < end:
            self.clock.move_to(min(end, self.clock.now_us() + SECOND // 20))
            await self.settle()


async def test_no_more_begin_at_once_than_the_limit_says_and_the_next_when_one_ends() -> None:
    works = Works(Limit(concurrency=3))
    for number in range(10):
        works.enter(f"{number}")
    await works.settle()
    assert works.began == ["0", "1", "2"]
    works.end("1")
    await works.settle()
    assert works.began == ["0", "1", "2", "3"]


@pytest.mark.parametrize("seed", range(5))
async def test_nodes_share_the_permits_and_together_never_exceed_them(seed: int) -> None:
    random, works = Random(seed), Works(Limit(concurrency=5, key="k", key_concurrency=2), nodes=3)
    for number in range(60):
        works.enter(f"{number}", f"k{number % 4}", node=number % 3)
    for _ in range(400):
        await works.advance(0.3)
        assert len(works.running) <= 5
        assert max(Counter(key for _, key in works.running.values()).values(), default=0) <= 2
        for id in [id for id in works.running if random.random() < 0.3]:
            works.end(id)
        if len(works.began) == 60 and not works.running:
            break
    assert len(works.began) == 60


async def test_a_node_that_comes_later_gets_its_part_while_the_first_has_plenty_waiting() -> None:
    works = Works(Limit(concurrency=4), nodes=2)
    for number in range(40):
        works.enter(f"a{number}", node=0)
    await works.settle()
    works.enter("b", node=1)
    await works.advance(1)
    for _ in range(3):
        await works.advance(2)
        works.end(next(iter(works.running)))
    await works.advance(1)
    assert "b" in works.began


async def test_the_permits_of_a_dead_node_are_others_after_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    works = Works(Limit(concurrency=2), nodes=2)
    works.enter("a", node=0)
    works.enter("b", node=0)
    await works.settle()
    with monkeypatch.context() as patch:
        patch.setattr(works.store, "write", _away)  # It says no more to anybody.
        await works.turnstiles[0].close()
    works.enter("c", node=1)
    await works.advance(8)
    assert works.began == ["a", "b"]
    await works.advance(4)
    assert works.began == ["a", "b", "c"]


async def test_a_live_node_keeps_the_permits_that_it_uses() -> None:
    works = Works(Limit(concurrency=1), nodes=2)
    works.enter("a", node=0)
    await works.settle()
    works.enter("b", node=1)
    await works.advance(60)
    assert works.began == ["a"]


async def test_attempts_begin_at_the_rate_after_a_burst_whoever_begins_them() -> None:
    works = Works(Limit(rate=10, burst=5), nodes=2)
    for number in range(50):
        works.enter(f"{number}", node=number % 2)
    start = works.clock.now_us()
    await works.advance(10)
    assert len(works.began) == 50
    for at, when in enumerate(works.times):
        assert (when - start) / SECOND >= (at - 5) / 10 - 0.001, at
    assert (works.times[-1] - start) / SECOND < 6


async def test_a_bucket_gives_no_more_than_it_holds_and_knows_when_the_next_token_comes() -> None:
    clock, store = VirtualClock(), MemoryStore()
    bucket = Bucket(store, clock, key="k", rate=2, burst=3)
    assert [await bucket.take(2), await bucket.take(2), await bucket.take(2)] == [2, 1, 0]
    assert bucket.next_us - clock.now_us() == pytest.approx(SECOND / 2, abs=2)
    clock.move_to(bucket.next_us)
    assert await bucket.take(5) == 1
    clock.move_to(clock.now_us() + 3600 * SECOND)
    assert await bucket.take(99) == 3


async def test_each_key_has_its_turn_and_a_higher_priority_goes_first() -> None:
    works = Works(Limit(concurrency=1))
    for number in range(3):
        works.enter(f"many{number}", "many")
    works.enter("few", "few")
    works.enter("urgent", "many", priority=5)
    order = []
    for _ in range(5):
        await works.settle()
        order += list(works.running)
        works.end(order[-1])
    assert order == ["urgent", "many0", "few", "many1", "many2"]


async def test_one_that_gives_up_its_place_takes_no_permit() -> None:
    works = Works(Limit(concurrency=1))
    works.enter("a")
    works.enter("b")
    works.enter("c")
    await works.settle()
    works.turnstiles[0].give_up("b")
    works.end("a")
    await works.settle()
    assert works.began == ["a", "c"]


async def test_permits_go_to_others_at_once_when_a_node_closes_in_good_order() -> None:
    works = Works(Limit(concurrency=2), nodes=2)
    works.enter("a", node=0)
    works.enter("b", node=0)
    await works.settle()
    await works.turnstiles[0].close()
    works.enter("c", node=1)
    await works.advance(1)
    assert works.began == ["a", "b", "c"]


async def test_a_store_that_is_away_when_a_node_closes_does_not_keep_it_from_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    works = Works(Limit(concurrency=2))
    works.enter("a")
    await works.settle()
    monkeypatch.setattr(works.store, "read", _away)
    await works.turnstiles[0].close()


@pytest.mark.covers("X16")
async def test_a_store_that_is_away_is_asked_again_ever_less_often_and_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    works = Works(Limit(concurrency=1))
    with monkeypatch.context() as patch:
        patch.setattr(works.store, "read", _away)
        works.enter("a")
        await works.advance(120)
    assert len([entry for entry in caplog.records if "away" in entry.getMessage()]) == 1
    await works.advance(6)
    assert works.began == ["a"]


@pytest.mark.parametrize(("before", "after", "begin"), [(1, 3, 3), (3, 1, 1)])
async def test_a_limit_that_changes_counts_what_is_under_way_already(before: int, after: int, begin: int) -> None:
    works = Works(Limit(concurrency=before))
    for number in range(10):
        works.enter(f"{number}")
    await works.settle()
    works.turnstiles[0].change(Limit(concurrency=after))
    await works.advance(1)
    assert len(works.running) == max(before, after)
    for id in list(works.running)[: before - after]:
        works.end(id)
    await works.advance(1)
    assert len(works.running) == begin
    works.turnstiles[0].change(Limit(rate=1000))
    await works.advance(2)
    assert len(works.began) == 10
    for id in list(works.running):
        works.end(id)
    works.turnstiles[0].change(Limit(concurrency=2))
    for number in range(10, 15):
        works.enter(f"{number}")
    await works.advance(2)
    assert len(works.running) == 2


async def test_a_permit_that_is_given_back_twice_is_one_permit() -> None:
    works = Works(Limit(concurrency=1))
    for name in "abc":
        works.enter(name)
    await works.settle()
    works.running.pop("a")
    works.turnstiles[0].leave("a")
    works.turnstiles[0].leave("a")
    await works.settle()
    assert list(works.running) == ["b"]


async def test_nothing_is_kept_of_keys_whose_work_is_done() -> None:
    works = Works(Limit(key="k", key_concurrency=1))
    for number in range(200):
        works.enter(f"{number}", f"k{number}")
    await works.settle()
    for id in list(works.running):
        works.end(id)
    await works.advance(1)
    assert not works.turnstiles[0]._shares
    assert not works.turnstiles[0]._held


async def _away(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable(store="memory", problem="away")
