"""Whole runs: each a workflow, what happens to it from outside, and how it must end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import perdure
from perdure import Retry, action, signal, workflow
from tests.matrix.stages import Stage

word = signal("plays_word", str)
Play = Callable[[Stage], Awaitable[Any]]


@action(name="plays_shout")
async def shout(text: str) -> str:
    await asyncio.sleep(len(text))
    return text.upper()


@action(name="plays_threaded")
def threaded(text: str) -> bytes:
    return text.encode() * 40_000


@action(name="plays_flaky", retry=Retry(attempts=4, first="7s"))
async def flaky() -> int:
    if perdure.attempt().number < 3:
        raise ConnectionError
    return perdure.attempt().number


@workflow(name="plays_branches")
async def branches() -> list[str]:
    async def one(text: str) -> str:
        return await shout(await shout(text) + "!")

    return await asyncio.gather(*(one("o" * size) for size in (3, 1, 2)))


@workflow(name="plays_races")
async def races() -> list[Any]:
    order: list[Any] = []

    async def note(text: str) -> None:
        order.append(await shout(text))

    async with asyncio.TaskGroup() as group:
        for text in ("ccc", "a", "bb"):
            group.create_task(note(text))
    first = asyncio.create_task(shout("dd"))
    second = asyncio.create_task(word.receive())
    done, left = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    order.append(len(done))
    for task in left:
        task.cancel()
    try:
        async with asyncio.timeout(30):
            order.append(await word.receive())
            order.append(await word.receive())
    except TimeoutError:
        order.append("late")
    return order


@workflow(name="plays_child")
async def child(text: str) -> str:
    return await shout(text) + await shout(text)


@workflow(name="plays_parent")
async def parent() -> list[str]:
    return await asyncio.gather(child("a"), child("bb"))


@workflow(name="plays_chance")
async def chance() -> list[Any]:
    drawn = [perdure.random().random(), str(perdure.uuid4()), perdure.record(lambda: 5), perdure.now().isoformat()]
    await asyncio.sleep(86_400)
    perdure.publish(drawn=len(drawn))
    return [*drawn, perdure.random().random(), perdure.patched("later"), len(await threaded("é"))]


@workflow(name="plays_saga")
async def saga() -> list[str]:
    undone: list[str] = []

    async def undo(text: str) -> None:
        undone.append(await shout(text))

    try:
        async with AsyncExitStack() as stack:
            for text in ("flight", "hotel"):
                await shout(text)
                stack.push_async_callback(undo, text)
            await flaky()
            raise RuntimeError("no car")
    except RuntimeError:
        return undone


@workflow(name="plays_account")
class Account:
    def __init__(self) -> None:
        self.total = 0
        self.lock = asyncio.Lock()

    async def run(self, rounds: int = 0) -> int:
        self.total = rounds
        if await word.receive() == "again":
            perdure.continue_as_new(self.total)
        return self.total

    @perdure.update
    async def pay(self, amount: int) -> int:
        async with self.lock:
            await shout("p" * amount)
            self.total += amount
            return self.total

    @perdure.query
    def look(self) -> int:
        return self.total


async def play_races(stage: Stage) -> Any:
    await stage.start(races)
    await stage.run.send(word, "first")
    await stage.between()
    return await stage.finish()


async def play_account(stage: Stage) -> Any:
    """Updates wait for their answers, so time moves while they do."""
    await stage.start(Account)
    for amount in (2, 3):
        paying = asyncio.ensure_future(stage.run.update(Account.pay, amount))
        await stage.quiet()
        while not paying.done():
            await stage.env.advance_to_next()
            await stage.quiet()
        await paying
        await stage.between()
    seen = await stage.run.query(Account.look)
    await stage.run.send(word, "again")
    await stage.between()
    await stage.run.send(word, "end")
    await stage.between()
    return [seen, await stage.run.result()]


def plain(played: Any, *args: Any) -> Play:
    async def play(stage: Stage) -> Any:
        await stage.start(played, *args)
        return await stage.finish()

    return play


PLAYS: dict[str, tuple[Play, Any]] = {
    "branches": (plain(branches), ["OOO!", "O!", "OO!"]),
    "races": (play_races, ["A", "BB", "CCC", 1, "late"]),
    "children": (plain(parent), ["AA", "BBBB"]),
    "chance": (plain(chance), None),
    "saga": (plain(saga), ["HOTEL", "FLIGHT"]),
    "account": (play_account, [5, 5]),
}
