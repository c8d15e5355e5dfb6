"""Faults by chance, built in for soak tests (M33): they come as often as was asked, and nothing is lost by them."""

import asyncio
import logging
from pathlib import Path

import pytest

from perdure import Engine, Registry, action, workflow
from perdure.model.errors import EngineClosed, InvalidOption, StoreUnavailable
from perdure.model.ids import RunId
from perdure.ports.records import RecordChange
from perdure.ports.store import Batch, Reply
from perdure.stores.chaos import Chaos, ChaosStore, chaos_of
from perdure.stores.memory import MemoryStore
from perdure.testing.env import BreakableLease, Environment
from tests.engine.stores import AnyStore

pytestmark = pytest.mark.covers("M33")

registry = Registry()


@action(registry=registry)
async def one(number: int) -> int:
    return number


@workflow(registry=registry)
async def total(count: int) -> int:
    return sum(await asyncio.gather(*(one(number) for number in range(count))))


def test_chances_are_read_and_a_seed_is_drawn_if_none_is_given() -> None:
    assert chaos_of("storage=0.05, suicide=0.01,slow=1,seed=7") == Chaos(storage=0.05, suicide=0.01, slow=1.0, seed=7)
    assert chaos_of("slow=0.1").storage == 0
    assert chaos_of("slow=0.1").seed != chaos_of("slow=0.1").seed


@pytest.mark.parametrize(
    "text", ["", "storage", "storage=often", "storage=1.5", "slow=-1", "slow=nan", "fire=0.1", "seed=x", "storage=0.1;slow=1"]
)
def test_chances_that_cannot_be_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"chaos: found .*such as storage=0\.05,suicide=0\.01"):
        Engine("memory://", chaos=text)


async def faults(store: ChaosStore, calls: int) -> list[int]:
    found = []
    for number in range(calls):
        try:
            await store.row(RunId("r"))
        except StoreUnavailable:
            found.append(number)
    return found


async def test_faults_come_as_often_as_asked_and_again_from_their_seed() -> None:
    first, again, other = [await faults(ChaosStore(MemoryStore(), chaos_of(f"storage=0.1,seed={seed}")), 1000) for seed in (1, 1, 2)]
    assert first == again != other
    assert 60 < len(first) < 140
    assert await faults(ChaosStore(MemoryStore(), chaos_of("slow=0,seed=1")), 100) == []


async def test_a_commit_fails_before_or_after_it_was_written() -> None:
    inner = MemoryStore()
    store = ChaosStore(inner, chaos_of("storage=1,seed=1"))
    written = 0
    for number in range(100):
        before = len(inner._tables.replies)
        with pytest.raises(StoreUnavailable, match="chaos"):
            await store.commit(Batch(replies=[Reply(f"r{number}", 0, b"{}")]))
        written += len(inner._tables.replies) - before
    assert 30 < written < 70


async def test_records_fail_before_they_were_written_and_pass_through_otherwise() -> None:
    inner = MemoryStore()
    with pytest.raises(StoreUnavailable, match="chaos"):
        await ChaosStore(inner, chaos_of("storage=1,seed=1")).write([RecordChange("k", "a", b"1", expires_us=5)])
    store = ChaosStore(inner, chaos_of("storage=0,seed=1"))
    assert await store.scan("k") == []
    assert await store.add("k", {"a": b"1"}, expires_us=5) == {}
    assert (await store.write([RecordChange("k", "a", b"2", 7)]), len(await store.read("k", ["a"]))) == (["a"], 1)
    assert (await store.expire(5, 9), await store.scan("k", prefix="a", limit=1)) == (1, [])


class Doomed(ChaosStore):
    """Its process dies after every commit, until it has died once."""

    def break_lease(self) -> None:
        self._chaos = chaos_of("seed=1")
        if isinstance(self.inner, BreakableLease):
            self.inner.break_lease()


async def test_the_process_dies_after_a_commit_that_is_there(store: AnyStore, caplog: pytest.LogCaptureFixture) -> None:
    died = asyncio.Event()
    with caplog.at_level(logging.WARNING, "perdure.chaos"):
        async with Environment(Doomed(store, chaos_of("suicide=1,seed=1"), die=died.set), registry=registry) as env:
            starting = asyncio.ensure_future(env.engine.start(total.options(id="r"), 3))
            await asyncio.wait_for(died.wait(), 10)
            await env.settle()
            assert not starting.done()
            await env.crash()
            assert await env.get("r").result() == 3
            assert isinstance((await asyncio.gather(starting, return_exceptions=True))[0], EngineClosed)
    assert "CHAOS IS ON (storage=0,suicide=1,slow=0,seed=1)" in caplog.text


async def test_an_engine_is_given_chaos_by_its_option(tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path}/app.db", registry=registry, chaos="slow=0.5,seed=1") as engine:
        assert isinstance(engine.store, ChaosStore)
        assert await engine.run(total, 4) == 6
