"""What many callers of a client ask at once goes down in few commits, and none of them pays for another's mistake."""

import asyncio
from collections.abc import Mapping

from perdure.client.poster import Poster
from perdure.model.errors import Internal, StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.store import Batch, InboxItem
from perdure.stores.memory import MemoryStore


class CountedStore(MemoryStore):
    """``failures`` are raised by the next commits, one each."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.failures: list[Exception] = []

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
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


async def test_what_is_asked_while_a_commit_is_under_way_goes_down_together() -> None:
    store = CountedStore()
    poster = Poster(store)
    await asyncio.gather(
        *(poster.commit(started(f"r{number}")) for number in range(50)), *(poster.commit(posted("r1", f"m{n}")) for n in range(50))
    )
    assert sum(store.sizes) == 100
    assert len(store.sizes) <= 2


async def test_each_caller_is_told_of_its_own_conflict_only() -> None:
    store = CountedStore()
    poster = Poster(store)
    await poster.commit(started("taken"))
    answers = await asyncio.gather(poster.commit(started("free")), poster.commit(started("taken")), poster.commit(posted("free", "m")))
    assert [set(answer) for answer in answers] == [set(), {"taken"}, set()]


async def test_of_two_callers_that_start_one_run_at_once_the_second_meets_the_first() -> None:
    store = CountedStore()
    poster = Poster(store)
    answers = await asyncio.gather(*(poster.commit(started("same")) for _ in range(3)))
    assert [set(answer) for answer in answers] == [set(), {"same"}, {"same"}]


async def test_a_batch_that_cannot_be_written_fails_its_own_caller_alone() -> None:
    store = CountedStore()
    poster = Poster(store)
    await poster.commit(started("taken"))
    wrong = poster.commit(started("taken", is_checked=False))
    answers = await asyncio.gather(poster.commit(started("a")), wrong, poster.commit(started("b")), return_exceptions=True)
    assert [type(answer) for answer in answers] == [dict, Internal, dict]
    assert await store.row(RunId("a")) is not None
    assert await store.row(RunId("b")) is not None


async def test_a_store_that_does_not_answer_is_told_to_all_that_wait_and_the_next_are_tried_again() -> None:
    store = CountedStore()
    poster = Poster(store)
    store.failures = [StoreUnavailable(store="memory", problem="the test asked it not to")]
    answers = await asyncio.gather(*(poster.commit(started(f"r{number}")) for number in range(3)), return_exceptions=True)
    assert sum(isinstance(answer, StoreUnavailable) for answer in answers) == 3
    assert await store.row(RunId("r0")) is None
    assert await poster.commit(started("r0")) == {}
