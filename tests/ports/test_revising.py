"""One record, changed by many at once."""

from typing import Any

import pytest

from perdure.model.errors import StoreUnavailable
from perdure.ports.records import RecordChange
from perdure.ports.revising import TRIES_MAX, Revision, revise
from perdure.ports.secrets import store_secret
from perdure.stores.memory import MemoryStore


class Restless(MemoryStore):
    """Others change the record before each of the first ``left`` writes."""

    left = 0

    async def write(self, changes: Any) -> Any:
        if self.left:
            self.left -= 1
            await super().write([RecordChange("k", "a", b"%d" % self.left)])
        return await super().write(changes)


async def test_a_change_is_made_of_what_the_record_holds_when_it_is_written() -> None:
    store = Restless()
    await store.write([RecordChange("k", "a", b"old")])
    store.left = 3
    assert await revise(store, "k", "a", lambda value: Revision(value + b"!")) == b"0!"


async def test_a_record_that_others_change_all_the_time_is_unavailable() -> None:
    store = Restless()
    await store.write([RecordChange("k", "a", b"old")])
    store.left = TRIES_MAX + 1
    with pytest.raises(StoreUnavailable, match="others change it"):
        await revise(store, "k", "a", lambda value: Revision(value + b"!"))


async def test_what_is_not_there_or_not_changed_is_left_alone() -> None:
    store = MemoryStore()
    assert await revise(store, "k", "a", lambda value: Revision(b"new")) is None
    await store.write([RecordChange("k", "a", b"old")])
    assert await revise(store, "k", "a", lambda value: None) == b"old"
    assert (await store.read("k", ["a"]))["a"].version == 1


async def test_a_store_has_one_key_for_each_purpose() -> None:
    store = MemoryStore()
    first = await store_secret(store, "a")
    assert len(first) == 32
    assert await store_secret(store, "a") == first != await store_secret(store, "b")
