"""Engines on one PostgreSQL: clients, several nodes, durability, and how little an idle one asks."""

import asyncio
from typing import Any

import pytest

from perdure import Engine, Registry, action, signal, workflow
from perdure.model.durability import Durability
from perdure.model.errors import Unsupported
from perdure.stores.postgres import PostgresStore
from perdure.stores.postgres.link import Link

registry = Registry()
go = signal("go", str)


@action(registry=registry)
async def twice(number: int) -> int:
    return 2 * number


@workflow(registry=registry)
async def waits(number: int) -> str:
    doubled = await twice(number)
    return f"{doubled} {await go.receive()}"


@pytest.mark.covers("I5", "M17")
@pytest.mark.parametrize("options", ["", "&notify=off", "&notify=off&prepared=off"])
async def test_a_client_starts_signals_and_waits_through_the_store_and_two_nodes_share_the_runs(postgres_url: str, options: str) -> None:
    url = postgres_url + options
    async with (
        Engine(url, registry=registry, lease="600ms", name="one") as one,
        Engine(url, registry=registry, lease="600ms", name="two") as two,
        Engine(url, registry=registry, is_client=True) as client,
    ):
        while not (len(one.node.share.mine) == len(two.node.share.mine) == 32):  # noqa: ASYNC110  # No signal tells of it.
            await asyncio.sleep(0.05)
        runs = [await client.start(waits.options(id=f"r{number}"), number) for number in range(20)]
        assert not client.is_node
        for run in runs:
            await run.send(go, "x")
        assert [await run.result() for run in runs] == [f"{2 * number} x" for number in range(20)]
        rows = await client.list(definition="waits")
        assert len({row.partition for row in rows}) > 1
        # Through a node that does not have the run, too.
        asked = [await one.start(waits.options(id=f"s{number}"), number) for number in range(8)]
        for number in range(8):
            await two.get(f"s{number}", waits).send(go, "y")
        assert [await run.result() for run in asked] == [f"{2 * number} y" for number in range(8)]


@pytest.mark.covers("Z7", "X12")
async def test_a_start_says_which_durability_it_got_and_refuses_by_name_what_cannot_be_given(postgres_url: str) -> None:
    async with Engine(postgres_url, registry=registry) as engine:
        assert (await engine.start(waits, 1)).durability is Durability.DISK
        run = await engine.start(waits.options(durability="memory", id="light"), 1)
        assert run.durability is Durability.MEMORY
        await run.send(go, "x")
        assert await run.result() == "2 x"
        (row,) = await engine.list(limit=1, definition="waits", status="completed")
        assert row.durability is Durability.MEMORY
        with pytest.raises(Unsupported, match=r"disk\+replica"):
            await engine.start(waits.options(durability="disk+replica"), 1)


@pytest.mark.covers("M26")
async def test_an_idle_node_asks_at_most_one_question_a_second(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    fetch = Link.fetch

    async def counted(self: Link, *args: Any, **kwargs: Any) -> list[Any]:
        nonlocal asked
        asked += 1
        return await fetch(self, *args, **kwargs)

    store = PostgresStore(postgres_url)
    async with Engine(store, registry=registry) as engine:
        assert await engine.run(waits_for_nothing, 1) == 2
        # A lone node settles down: looks that find nothing come ever more rarely.
        await asyncio.sleep(4)
        monkeypatch.setattr(Link, "fetch", counted)
        await asyncio.sleep(6)
        monkeypatch.undo()
    await store.close()
    assert asked <= 6


@workflow(registry=registry)
async def waits_for_nothing(number: int) -> int:
    return await twice(number)
