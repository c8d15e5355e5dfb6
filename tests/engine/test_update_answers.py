"""An update with an id takes effect once, and whoever asks again gets the answer it had (G5)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import perdure
from perdure import Engine, Registry, Run, signal, update, workflow
from perdure.model.errors import UpdateConflict
from perdure.model.fact import UpdateAccepted, decode_facts, encode_facts
from perdure.stores.memory import MemoryStore
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore

registry = Registry()
go = signal("go", str)


class Purse:
    def __init__(self) -> None:
        self.coins = 0

    async def run(self) -> int:
        await go.receive()
        return self.coins

    @update
    async def put(self, coins: int, note: str = "") -> str:
        await asyncio.sleep(0)
        self.coins += coins
        if self.coins > 100:
            raise OverflowError("the purse is full")
        return f"{self.coins}{note}"


purse = workflow(registry=registry)(Purse)


async def put(run: Run[int], id: str, coins: int, note: str = "") -> str:
    return await asyncio.wait_for(run.update(Purse.put, coins, note, update_id=id), 20)


@pytest.mark.covers("I29")
async def test_an_update_sent_again_gets_its_first_answer_also_after_a_restart(tmp_path: Path) -> None:
    url, large = f"sqlite:///{tmp_path}/app.db", "x" * 100_000
    async with Engine(url, registry=registry) as engine:
        run = await engine.start(purse.options(id="p"))
        first = [await put(run, "a", 1), *await asyncio.gather(*(put(run, "b", 2, large) for _ in range(3)))]
        assert first == ["1", f"3{large}", f"3{large}", f"3{large}"]
        assert [await put(run, "a", 1), await put(run, "b", 2, large)] == ["1", f"3{large}"]
        with pytest.raises(OverflowError):
            await put(run, "c", 98)
        async with Engine(url, registry=registry, is_client=True) as client:
            assert await put(client.get("p", purse), "a", 1) == "1"
    async with Engine(url, registry=registry) as engine:
        run = engine.get("p", purse)
        assert [await put(run, "a", 1), await put(run, "b", 2, large)] == ["1", f"3{large}"]
        with pytest.raises(OverflowError, match="full"):
            await put(run, "c", 98)
        await run.send(go, "end")
        assert await run.result() == 101


@workflow(registry=registry, name="updates_till")
class Till:
    """Goes on as a new incarnation when it is told to."""

    def __init__(self) -> None:
        self.sum = 0

    async def run(self, sum: int = 0) -> int:
        self.sum = sum
        if await go.receive() == "again":
            perdure.continue_as_new(self.sum)
        return self.sum

    @update
    def add(self, coins: int = 0, note: str = "") -> int:
        self.sum += coins
        return self.sum

    @update
    def take(self, coins: int) -> int:
        self.sum -= coins
        return self.sum


async def refused(run: Run[Any], method: str, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(UpdateConflict, match=f"id 'a' was sent to run 'till' before .*{method}"):
        await asyncio.wait_for(run.update(method, *args, update_id="a", **kwargs), 20)


async def only_one_content_counts(run: Run[Any]) -> None:
    """Under the id that had ``add(1)``, nothing else is done, and that is answered as it was."""
    await refused(run, "add", 2)
    await refused(run, "take", 1)
    await refused(run, "add", 1, "note")
    await refused(run, "add", coins=1)
    assert await asyncio.wait_for(run.update("add", 1, update_id="a"), 20) == 1


@pytest.mark.covers("M20", "I29")
async def test_an_update_id_with_other_content_is_a_conflict_over_crash_restart_incarnations_and_the_end(store: AnyStore) -> None:
    async with Environment(store, registry=registry) as env:
        run = await env.start(Till.options(id="till"))
        assert await run.update(Till.add, 1, update_id="a") == 1
        await only_one_content_counts(run)
        await env.crash()
        await only_one_content_counts(env.get("till"))
        await env.restart()
        await env.get("till").send(go, "again")
        await env.settle()
        await only_one_content_counts(env.get("till"))
        await env.crash()
        await only_one_content_counts(env.get("till"))
        await env.get("till").send(go, "end")
        assert await env.get("till").result() == 1
        await only_one_content_counts(env.get("till"))
        await env.crash()
        await only_one_content_counts(env.get("till"))


@pytest.mark.covers("M20")
async def test_fifty_updates_of_one_id_at_once_take_effect_once_and_have_one_answer(store: AnyStore) -> None:
    async with Environment(store, registry=registry) as env:
        run = await env.start(Till.options(id="till"))
        assert await asyncio.gather(*(run.update(Till.add, 7, update_id="a") for _ in range(50))) == [7] * 50
        mixed = (run.update(Till.add, 1 + number % 2, update_id="b") for number in range(50))
        outcomes = await asyncio.gather(*mixed, return_exceptions=True)
        assert [outcome for outcome in outcomes if outcome == 8] == [8] * 25
        assert sum(isinstance(outcome, UpdateConflict) for outcome in outcomes) == 25
        await run.send(go, "end")
        assert await run.result() == 8


@pytest.mark.covers("M20")
async def test_fifty_starts_of_one_id_at_once_are_one_run_with_one_result_for_all(store: AnyStore) -> None:
    async with Environment(store, registry=registry) as env:
        runs = await asyncio.gather(*(env.engine.start(Till.options(id="till"), 5) for _ in range(50)))
        results = asyncio.gather(*(run.result() for run in runs))
        await runs[0].update(Till.add, 1)
        await runs[0].send(go, "end")
        assert await results == [6] * 50
        assert len(await env.engine.list()) == 1


@pytest.mark.covers("M20")
async def test_fifty_equal_and_two_other_updates_through_the_store_have_one_answer_and_two_conflicts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    async with Engine(url, registry=registry) as engine, Engine(url, registry=registry, is_client=True) as client:
        await engine.start(Till.options(id="till"))
        run = client.get("till")
        equal = (asyncio.wait_for(run.update(Till.add, 1, update_id="a"), 20) for _ in range(50))
        assert await asyncio.gather(*equal) == [1] * 50
        await only_one_content_counts(run)
        await engine.store.prune_replies(1 << 62)
        await only_one_content_counts(run)
        await run.send(go, "end")
        assert await run.result() == 1
        await only_one_content_counts(run)


@pytest.mark.covers("M20")
async def test_an_update_recorded_before_there_were_digests_is_answered_unchecked() -> None:
    """Rows of older versions say nothing of what was asked: they are read as they are, and refuse nobody."""
    assert decode_facts(b'[{"fact":"UpdateAccepted","id":"a","method":"add","is_named":true}]') == [
        UpdateAccepted("a", "add", is_named=True)
    ]
    store = MemoryStore()
    async with Environment(store, registry=registry) as env:
        run = await env.start(Till.options(id="till"))
        assert await run.update(Till.add, 1, update_id="a") == 1
        await env.kill()
        rows = store._tables.journals[run.id]
        for number, row in list(rows.items()):
            plain = [replace(fact, digest="") if isinstance(fact, UpdateAccepted) else fact for fact in decode_facts(row.facts)]
            rows[number] = replace(row, facts=encode_facts(plain))
        await env.revive()
        assert await env.get("till").update(Till.add, 2, update_id="a") == 1
