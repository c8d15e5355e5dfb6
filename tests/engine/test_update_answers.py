"""An update with an id takes effect once, and whoever asks again gets the answer it had (G5)."""

import asyncio
from pathlib import Path

import pytest

from perdure import Engine, Registry, Run, signal, update, workflow

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
        assert [await put(run, "a", 1), await put(run, "b", 2)] == ["1", f"3{large}"]
        with pytest.raises(OverflowError):
            await put(run, "c", 98)
        async with Engine(url, registry=registry, is_client=True) as client:
            assert await put(client.get("p", purse), "a", 1) == "1"
    async with Engine(url, registry=registry) as engine:
        run = engine.get("p", purse)
        assert [await put(run, "a", 1), await put(run, "b", 2)] == ["1", f"3{large}"]
        with pytest.raises(OverflowError, match="full"):
            await put(run, "c", 98)
        await run.send(go, "end")
        assert await run.result() == 101
