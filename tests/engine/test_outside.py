"""A call that is ended from outside (I32): the first outcome wins, whoever is quicker."""

import asyncio

import pytest

import perdure
from perdure import Engine, action, workflow
from perdure.model.errors import CallClosed, InvalidValue


class Door:
    """What the test and the action share; made anew for each test's event loop."""

    keys: asyncio.Queue[str]
    may_return: asyncio.Event


door = Door()


@pytest.fixture(autouse=True)
def _open_door() -> None:
    door.keys, door.may_return = asyncio.Queue(), asyncio.Event()


@action(name="outside_slow_to_return")
async def slow_to_return() -> int:
    await door.keys.put(perdure.attempt().key)
    await door.may_return.wait()
    return perdure.pending()


@workflow(name="outside_answer")
async def answer() -> int:
    return await slow_to_return()


@pytest.mark.covers("I32")
@pytest.mark.parametrize("store", ["memory://", "sqlite"])
async def test_an_outcome_that_is_quicker_than_the_return_of_pending_is_taken(store: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    url = store if store == "memory://" else f"sqlite:///{tmp_path_factory.mktemp('outside')}/x.db"
    async with Engine(url) as engine:
        run = await engine.start(answer)
        key = await door.keys.get()
        with pytest.raises(InvalidValue):
            await engine.complete(key, "not a number")
        await engine.complete(key, 7)
        assert await run.result() == 7
        door.may_return.set()
    async with Engine(url) as engine:
        if store != "memory://":
            assert await engine.get(run.id).result() == 7
            assert "ActionPending" not in [entry.name async for entry in engine.get(run.id).journal()]


@workflow(name="outside_answer_twice")
async def answer_twice() -> list[int]:
    return list(await asyncio.gather(slow_to_return(), slow_to_return()))


@pytest.mark.covers("I32")
async def test_only_the_first_outcome_of_a_call_counts() -> None:
    door.may_return.set()
    async with Engine("memory://") as engine:
        run = await engine.start(answer_twice)
        first, second = await door.keys.get(), await door.keys.get()
        await engine.complete(first, 1)
        with pytest.raises(CallClosed):
            await engine.complete(first, 2)
        await engine.complete(second, 3)
        assert await run.result() == [1, 3]
