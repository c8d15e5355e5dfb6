"""Those who ask: each client has one thing done, through any process that is there, and knows what must have come of it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, Protocol, TypeVar

from perdure.app import Engine
from perdure.insight import OutsideReason
from perdure.model.errors import CallClosed, CallNotFound, LeaseLost, RunCancelled, RunEnded, Unavailable
from perdure.testing.simulation.bank import ACCOUNTS, CLOSED, Bank
from perdure.testing.simulation.process import Process, ProcessDied
from perdure.testing.simulation.workload import (
    Cart,
    cancelled,
    chain,
    collector,
    delegate,
    door,
    family,
    guest,
    host,
    loop,
    sleeper,
    stop,
    transfer,
    words,
)

T = TypeVar("T")
Question = Callable[[Engine], Coroutine[Any, Any, T]]


class Broken(AssertionError):
    """Something is not as it was promised."""


class Place(Protocol):
    """What a client knows of its world."""

    bank: Bank

    def pick(self, chance: Random) -> Process:
        """Give a process to ask."""
        ...


class Client:
    """``acts`` that it can be told to play take nothing but the client."""

    def __init__(self, name: str, place: Place, chance: Random) -> None:
        self.name = name
        self.place = place
        self.chance = chance

    async def once(self, question: Question[T]) -> T | None:
        """Give the answer, ``None`` if none came: then nobody knows whether it had an effect."""
        try:
            return await self.place.pick(self.chance).ask(question)
        except (Unavailable, ProcessDied, LeaseLost):
            return None

    async def insist(self, question: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Give the answer, asking again and again, here and there."""
        while True:
            try:
                return await self.place.pick(self.chance).ask(question)
            except (Unavailable, ProcessDied, LeaseLost):
                await asyncio.sleep(self.chance.uniform(0.05, 0.8))

    async def insist_twice(self, question: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Sometimes asked twice at once, through two processes."""
        if self.chance.random() < 0.3:
            first, second = await asyncio.gather(self.insist(question), self.insist(question))
            if _plain(first) != _plain(second):
                raise Broken(f"{self.name}: asked twice with one id, it was answered {first!r} and {second!r}")
            return first
        return await self.insist(question)

    async def start(self, workflow: Any, *args: Any, id: str | None = None) -> str:
        """The run has been started; gives its id."""
        run = id or self.name
        named = workflow.options(id=run)
        await self.insist_twice(lambda engine: _started(engine, named, args))
        return run

    async def result(self, run: str, workflow: Any) -> Any:
        return await self.insist(lambda engine: engine.get(run, workflow).result())

    async def expect(self, workflow: Any, args: tuple[Any, ...], expected: Any) -> None:
        found = await self.result(await self.start(workflow, *args), workflow)
        if found != expected:
            raise Broken(f"{self.name} ended with {found!r} instead of {expected!r}")

    async def wait(self, longest_s: float) -> None:
        await asyncio.sleep(self.chance.uniform(0, longest_s))


def _plain(answer: Any) -> Any:
    return getattr(answer, "id", answer)


async def _started(engine: Engine, workflow: Any, args: tuple[Any, ...]) -> str:
    return (await engine.start(workflow, *args)).id


def _steps(length: int) -> int:
    return int(2**length - 1)


async def play_chain(client: Client) -> None:
    chance = client.chance
    length = chance.randrange(1, 6)
    await client.expect(chain, (length, chance.choice((0, 0, 1, 3)), chance.choice((0, 10, 400, 2500))), _steps(length))


async def play_sleeper(client: Client) -> None:
    spans_ms = [client.chance.choice((1, 900, 2_000, 7_000, 20_000)) for _ in range(client.chance.randrange(1, 4))]
    await client.expect(sleeper, (spans_ms,), len(spans_ms))


async def play_transfer(client: Client) -> None:
    chance, bank = client.chance, client.place.bank
    source, target = chance.sample((*ACCOUNTS, CLOSED), 2)
    amount = chance.randrange(1, 60)
    run = await client.start(transfer, source, target, amount, chance.choice((0, 0, 2)), chance.choice((0, 50, 1_500)))
    found = await client.result(run, transfer)
    moved = sorted(entry.amount for key, entry in bank.entries.items() if key.startswith(f"{run}#") and entry.is_done)
    if moved != ([] if found == "refused" else [-amount, amount]) or (found == "moved") != (target != CLOSED and found != "refused"):
        raise Broken(f"{run} from {source} to {target} ended as {found!r}, and the bank moved {moved}")


async def play_family(client: Client) -> None:
    depth, count = client.chance.choice(((1, 1), (1, 3), (2, 2)))
    await client.expect(family, (depth, count, client.chance.choice((0, 300))), count**depth)


async def play_loop(client: Client) -> None:
    rounds = client.chance.randrange(4)
    await client.expect(loop, (rounds, 0, client.chance.choice((0, 500, 3_000))), sum(2 * entry + 1 for entry in range(rounds + 1)))


async def play_collector(client: Client) -> None:
    """Words with an id are sent until they are acknowledged, often twice; words without are sent once."""
    run = await client.start(collector)
    acknowledged: list[str] = []
    uncertain: list[str] = []

    async def tell(word: str, *, is_named: bool) -> None:
        await client.wait(6)
        if is_named:
            await client.insist_twice(lambda engine: engine.get(run).send(words, word, id=f"{run}/{word}"))
            acknowledged.append(word)
        else:
            is_sent = await client.once(lambda engine: _true(engine.get(run).send(words, word)))
            (acknowledged if is_sent else uncertain).append(word)

    await asyncio.gather(*(tell(f"word{number}", is_named=number % 3 > 0) for number in range(client.chance.randrange(1, 7))))
    promised = sorted(acknowledged)
    await _until_ended(client, lambda engine: engine.get(run).send(stop, promised, id=f"{run}/stop"))
    found = await client.result(run, collector)
    for word in sorted({*found, *acknowledged}):
        if found.count(word) != 1 or word not in (*acknowledged, *uncertain):
            raise Broken(f"{run} took {word!r} {found.count(word)} times; acknowledged were {promised}")


async def _true(sending: Awaitable[None]) -> bool:
    await sending
    return True


async def _until_ended(client: Client, question: Callable[[Engine], Coroutine[Any, Any, Any]]) -> None:
    """Asked until it is acknowledged, or has had its effect so thoroughly that the run is over."""
    try:
        await client.insist(question)
    except RunEnded:
        return


async def play_cart(client: Client) -> None:
    run = await client.start(Cart)
    items = range(client.chance.randrange(1, 5))

    async def add(item: int) -> None:
        await client.wait(6)
        fails = client.chance.choice((0, 0, 1))
        answer = await client.insist_twice(lambda engine: engine.get(run).update(Cart.add, item, fails, update_id=f"{run}/{item}"))
        if answer != item:
            raise Broken(f"{run} answered {answer!r} to the update {item}")

    async def look() -> None:
        await client.wait(8)
        size = await client.insist(lambda engine: engine.get(run).query(Cart.size))
        if not 0 <= size <= len(items):
            raise Broken(f"{run} says that it has {size} items")

    await asyncio.gather(look(), *(add(item) for item in items))
    await _until_ended(client, lambda engine: engine.get(run).update(Cart.close, update_id=f"{run}/close"))
    found = await client.result(run, Cart)
    if sorted(found) != [2 * item + 1 for item in items]:
        raise Broken(f"{run} has {found!r} of {len(items)} items")


async def play_cancel(client: Client) -> None:
    run = await client.start(cancelled, client.name)
    await client.wait(10)
    await client.insist_twice(lambda engine: _cancelled(engine, run))
    try:
        await client.result(run, cancelled)
    except RunCancelled:
        if client.name not in client.place.bank.marks.values():
            raise Broken(f"{run} was cancelled and has not cleaned up") from None
    else:
        raise Broken(f"{run} was cancelled, and completed")


async def _cancelled(engine: Engine, run: str) -> None:
    await engine.get(run).cancel("enough")


async def play_delegate(client: Client) -> None:
    """An open call is completed from outside."""
    run = await client.start(delegate)

    async def complete(engine: Engine) -> bool:
        for reason in await engine.get(run).why():
            if isinstance(reason, OutsideReason):
                await engine.complete(reason.key, "done")
                return True
        return (await engine.get(run).status()).is_final

    is_complete = False
    while not is_complete:
        await client.wait(2)
        try:
            is_complete = await client.insist(complete)
        except (CallClosed, CallNotFound, RunEnded):
            is_complete = True
    if (found := await client.result(run, delegate)) != "done":
        raise Broken(f"{run} was completed with 'done' and ended with {found!r}")


async def play_visit(client: Client) -> None:
    """One run sends a signal to another."""
    inside = await client.start(guest, id=f"{client.name}-guest")
    await client.expect(host, (inside, client.chance.choice((0, 1_000, 5_000))), None)
    if (found := await client.result(inside, guest)) != f"come in, {inside}":
        raise Broken(f"{inside} was told {found!r}")


async def play_rivals(client: Client) -> None:
    """Two clients start one run at once, and one of them something else under the same id a little later."""
    first, second = (Client(client.name, client.place, Random(client.chance.random())) for _ in range(2))
    await asyncio.gather(first.expect(chain, (2, 0, 50), 3), second.expect(chain, (2, 0, 50), 3))


async def play_sitter(client: Client) -> None:
    """A run that only waits for the outside is left waiting: the world wakes it when all else is done."""
    await client.start(guest, id=f"sitter-{client.name}")


async def wake_sitter(client: Client, run: str) -> None:
    """The run that was left waiting goes on when it is called."""
    await _until_ended(client, lambda engine: engine.get(run).send(door, "wake up", id=f"{run}/door"))
    if (found := await client.result(run, guest)) != "wake up":
        raise Broken(f"{run} was told {found!r}")


Act = Callable[[Client], Coroutine[Any, Any, None]]

ACTS: tuple[Act, ...] = (
    play_chain,
    play_sleeper,
    play_transfer,
    play_transfer,
    play_family,
    play_loop,
    play_collector,
    play_collector,
    play_cart,
    play_cancel,
    play_delegate,
    play_visit,
    play_rivals,
    play_sitter,
)
