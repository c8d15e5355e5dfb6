"""What many callers of a client ask at once goes down in few commits, and none of them pays for another's mistake."""

import asyncio
from collections.abc import Mapping

import pytest

from perdure import Run, connect
from perdure.client.poster import Poster
from perdure.engine.callers.admission import Admission
from perdure.model.errors import Internal, Overloaded, StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.limits import Limits
from perdure.model.run import RunRow
from perdure.ports.store import Batch, InboxItem
from perdure.ports.system import SystemClock
from perdure.stores.memory import MemoryStore


class CountedStore(MemoryStore):
    """``failures`` are raised by the next commits, one each; ``turns`` of the event loop are what a commit takes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.failures: list[Exception] = []
        self.turns = 1

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop()
        refused = await super().commit(batch)
        self.sizes.append(len(batch.starts) + len(batch.posts))
        return refused


def started(id: str, *, is_checked: bool = True) -> Batch:
    run = RunId(id)
    return Batch(starts=[RunRow(id=run, definition="d", created_us=1, updated_us=1)], checked={run} if is_checked else set())


def posted(run: str, id: str) -> Batch:
    return Batch(posts=[InboxItem(RunId(run), id, 1, b"{}")])


def poster_on(store: CountedStore, limit: int = 1_000) -> Poster:
    return Poster(store, Admission(Limits(requests_waiting_max=limit), SystemClock()))


async def test_what_is_asked_while_a_commit_is_under_way_goes_down_together() -> None:
    store = CountedStore()
    poster = poster_on(store)
    await asyncio.gather(
        *(poster.commit(started(f"r{number}"), "it") for number in range(50)),
        *(poster.commit(posted("r1", f"m{n}"), "it") for n in range(50)),
    )
    assert sum(store.sizes) == 100
    assert len(store.sizes) <= 2


async def test_each_caller_is_told_of_its_own_conflict_only() -> None:
    store = CountedStore()
    poster = poster_on(store)
    await poster.commit(started("taken"), "it")
    answers = await asyncio.gather(
        poster.commit(started("free"), "it"), poster.commit(started("taken"), "it"), poster.commit(posted("free", "m"), "it")
    )
    assert [set(answer) for answer in answers] == [set(), {"taken"}, set()]


async def test_of_two_callers_that_start_one_run_at_once_the_second_meets_the_first() -> None:
    store = CountedStore()
    poster = poster_on(store)
    answers = await asyncio.gather(*(poster.commit(started("same"), "it") for _ in range(3)))
    assert [set(answer) for answer in answers] == [set(), {"same"}, {"same"}]


async def test_a_batch_that_cannot_be_written_fails_its_own_caller_alone() -> None:
    store = CountedStore()
    poster = poster_on(store)
    await poster.commit(started("taken"), "it")
    wrong = poster.commit(started("taken", is_checked=False), "it")
    answers = await asyncio.gather(poster.commit(started("a"), "it"), wrong, poster.commit(started("b"), "it"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [dict, Internal, dict]
    assert await store.row(RunId("a")) is not None
    assert await store.row(RunId("b")) is not None


async def test_a_store_that_does_not_answer_is_told_to_all_that_wait_and_the_next_are_tried_again() -> None:
    store = CountedStore()
    poster = poster_on(store)
    store.failures = [StoreUnavailable(store="memory", problem="the test asked it not to")]
    answers = await asyncio.gather(*(poster.commit(started(f"r{number}"), "it") for number in range(3)), return_exceptions=True)
    assert sum(isinstance(answer, StoreUnavailable) for answer in answers) == 3
    assert await store.row(RunId("r0")) is None
    assert await poster.commit(started("r0"), "it") == {}


@pytest.mark.covers("M34")
async def test_one_that_is_too_many_is_told_so_at_once_and_there_is_room_again_after_the_commit() -> None:
    store = CountedStore()
    poster = poster_on(store, limit=3)
    first = [asyncio.ensure_future(poster.commit(posted("r", str(number)), "the signal")) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match=r"the signal was not taken: 3 requests wait.*the limit requests_waiting_max is 3"):
        await poster.commit(posted("r", "3"), "the signal")
    await asyncio.gather(*first)
    assert await poster.commit(posted("r", "3"), "the signal") == {}


@pytest.mark.covers("M34")
async def test_who_gives_up_before_the_commit_leaves_nothing_behind() -> None:
    store = CountedStore()
    poster = poster_on(store, limit=2)
    store.turns = 50
    first = asyncio.ensure_future(poster.commit(started("first"), "the start"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for number in range(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await poster.commit(started(f"r{number}"), "the start")
    await first
    assert await poster.commit(started("last"), "the start") == {}
    assert [await store.row(RunId(id)) is None for id in ("first", "r0", "r9", "last")] == [False, True, True, False]


@pytest.mark.covers("M34")
async def test_a_client_holds_no_more_requests_than_its_limit_while_the_store_is_slow() -> None:
    store = CountedStore()
    store.turns = 50
    async with connect(store, limits=Limits(requests_waiting_max=5)) as client:
        starts = await asyncio.gather(*(client.start("unknown") for _ in range(12)), return_exceptions=True)
        assert [type(outcome) for outcome in starts] == [Run] * 5 + [Overloaded] * 7
        cancels = await asyncio.gather(*(client.get(starts[0].id).cancel() for _ in range(12)), return_exceptions=True)
        assert [outcome for outcome in cancels if outcome is not True and not isinstance(outcome, Overloaded)] == []
        assert sum(outcome is True for outcome in cancels) == 5
