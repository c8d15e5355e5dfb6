"""What was not seen before: exactly once, over runs, crashes and attempts that are made again (F4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from perdure import EMPTY, Engine, Retry, actions, errors
from perdure.actions.novelty import LAST, SEEN, TRIES_MAX, mark_of
from perdure.model.errors import StoreUnavailable
from perdure.ports.facilities import provide
from perdure.ports.records import ANY, RecordChange
from perdure.ports.store import Store
from perdure.stores.memory import MemoryStore
from perdure.stores.postgres import PostgresStore
from tests.actions.running import flow


class AtHand:
    """The facilities of a call of that name."""

    def __init__(self, store: Store, key: str) -> None:
        self.records: Any = store
        self.run: Any = "run"
        self.key: Any = key

    def now_us(self) -> int:
        return 0


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    """The store is open inside."""
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def seen(store: Store, key: str, values: list[Any], **options: Any) -> list[Any]:
    """Give what the call of that key finds new."""
    provide(AtHand(store, key))
    step: Any = actions.new_data(set="s", **options)
    found = await step.perform.function([{"v": value} for value in values], config=step.config)
    return [] if found is EMPTY else [item["v"] for item in found]


async def test_of_all_that_was_ever_seen_each_is_passed_on_once(any_store: Store) -> None:
    async with opened(any_store) as store:
        assert await seen(store, "1", [1, 2, 2]) == [1, 2]
        assert await seen(store, "2", [3, 1]) == [3]
        assert await seen(store, "3", [1, 2, 3]) == []


@pytest.mark.covers("F4")
@pytest.mark.parametrize("mode", ["all", "last"])
async def test_what_a_call_saw_first_is_new_to_it_again_when_it_is_tried_again(any_store: Store, mode: str) -> None:
    async with opened(any_store) as store:
        await seen(store, "1", [1], mode=mode)
        assert await seen(store, "2", [1, 2], mode=mode) == [2]
        assert await seen(store, "3", [2, 3], mode=mode) == [3]
        assert await seen(store, "2", [1, 2], mode=mode) == [2]
        assert await seen(store, "3", [2, 3], mode=mode) == [3]
        assert await seen(store, "4", [3], mode=mode) == []


async def test_last_compares_with_the_call_before_alone(any_store: Store) -> None:
    async with opened(any_store) as store:
        assert await seen(store, "1", [1, 2], mode="last") == [1, 2]
        assert await seen(store, "2", [2, 3], mode="last") == [3]
        assert await seen(store, "3", [1, 2], mode="last") == [1]


@pytest.mark.parametrize("mode", ["all", "last"])
async def test_readonly_looks_and_adds_nothing(any_store: Store, mode: str) -> None:
    async with opened(any_store) as store:
        assert await seen(store, "1", [1], mode=f"{mode}_readonly") == [1]
        assert await seen(store, "2", [1], mode=mode) == [1]
        assert await seen(store, "3", [1, 2], mode=f"{mode}_readonly") == [2]
        assert await seen(store, "4", [1, 2], mode=mode) == [2]


async def test_sets_are_apart_by_name(any_store: Store) -> None:
    async with opened(any_store) as store:
        for name in ("a", "a/b"):
            provide(AtHand(store, "1" + name))
            step: Any = actions.new_data(set=name)
            assert await step.perform.function([{"v": 1}], config=step.config) == [{"v": 1}]


def test_items_are_compared_by_the_fields_that_are_named_and_absent_is_not_null() -> None:
    assert mark_of({"a": 1, "b": 2}, ["a"]) == mark_of({"b": 3, "a": 1}, ["a"])
    assert mark_of({"a": 1, "b": 2}, []) == mark_of({"b": 2, "a": 1}, [])
    assert mark_of({"a": {"x": 1, "y": 2}}, []) == mark_of({"a": {"y": 2, "x": 1}}, [])
    assert mark_of({"a": None}, ["a"]) != mark_of({}, ["a"])
    assert mark_of({"a": 1}, []) != mark_of({"a": "1"}, [])


@pytest.mark.parametrize("mode", ["all", "last"])
async def test_of_calls_at_the_same_time_one_finds_it_new(mode: str) -> None:
    class Slow(MemoryStore):
        """Others come in between at every step."""

        async def read(self, *args: Any, **options: Any) -> Any:
            found = await super().read(*args, **options)
            await asyncio.sleep(0)
            return found

    store = Slow()
    found = await asyncio.gather(*(asyncio.create_task(seen(store, str(number), [1, 2], mode=mode)) for number in range(5)))
    assert sorted(map(len, found)) == [0, 0, 0, 0, 2]


@pytest.mark.covers("F4")
@pytest.mark.parametrize("mode", ["all", "last"])
async def test_of_calls_at_many_nodes_on_one_database_one_finds_it_new(renewed_postgres_url: str, mode: str) -> None:
    stores = [PostgresStore(renewed_postgres_url) for _ in range(3)]
    async with AsyncExitStack() as stack:
        for store in stores:
            await stack.enter_async_context(opened(store))
        for value in range(10):
            calls = [seen(store, f"{value}/{at}", [value], mode=mode) for at, store in enumerate(stores)]
            found = await asyncio.gather(*map(asyncio.create_task, calls))
            assert sorted(found) == [[], [], [value]]


class LosesTheAnswer(MemoryStore):
    """The write is durable, and then the connection is gone."""

    left = 1

    async def add(self, *args: Any, **options: Any) -> Any:
        found = await super().add(*args, **options)
        return self._answered(found)

    async def write(self, changes: Any) -> Any:
        return self._answered(await super().write(changes))

    def _answered(self, found: Any) -> Any:
        if self.left:
            self.left -= 1
            raise StoreUnavailable(store="memory", problem="the connection is gone")
        return found


@pytest.mark.covers("F4")
@pytest.mark.parametrize("mode", ["all", "last"])
async def test_an_attempt_that_dies_between_the_write_and_its_outcome_loses_nothing(mode: Any) -> None:
    step = actions.new_data(set="s", mode=mode).options(retry=Retry(attempts=2, first="1ms"))
    store = LosesTheAnswer()
    async with Engine(store) as engine:
        assert await engine.run(flow(step), [{"v": 1}]) == [{"v": 1}]
        assert store.left == 0
        assert await engine.run(flow(step), [{"v": 1}]) is EMPTY


async def test_a_set_that_others_move_all_the_time_is_unavailable() -> None:
    class Restless(MemoryStore):
        tries = 0

        async def write(self, changes: Any) -> Any:
            self.tries += 1
            await super().write([RecordChange(LAST, "s", b'{"marks":[]}', expected=ANY)])
            return await super().write(changes)

    store = Restless()
    with pytest.raises(StoreUnavailable, match="other calls"):
        await seen(store, "1", [1], mode="last")
    assert store.tries == TRIES_MAX


async def test_without_a_store_it_says_what_it_needs() -> None:
    provide(AtHand(None, "1"))  # type: ignore[arg-type]
    step: Any = actions.new_data(set="s")
    with pytest.raises(errors.Unsupported, match="new_data"):
        await step.perform.function([{"v": 1}], config=step.config)


async def test_no_items_are_nothing_new_and_touch_no_store() -> None:
    step: Any = actions.new_data(set="s")
    assert await step.perform.function([], config=step.config) is EMPTY


async def test_marks_are_kept_under_the_key_of_the_call_that_saw_them(any_store: Store) -> None:
    async with opened(any_store) as store:
        await seen(store, "run#1#2", [1])
        (kept,) = await store.scan(SEEN, prefix="s/")
        assert kept.value == b"run#1#2"
