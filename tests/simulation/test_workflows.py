"""Every way to write a workflow, crashed before and after every commit, doubled, slowed down and replayed cold."""

import asyncio
from contextlib import AsyncExitStack

import pytest

import perdure
from perdure import GiveUp, Retry, Signal, action, query, signal, update, workflow
from perdure.insight import OutsideReason
from perdure.testing import CANCEL, Environment, crash_everywhere

approval: Signal[bool] = signal("approval", bool)
words: Signal[str] = signal("words", str)


@action(name="simulation.step")
async def step(value: int) -> int:
    return value + 1


@action(name="simulation.slowly")
async def slowly(value: int) -> int:
    await asyncio.sleep(1)
    return value + 1


@action(name="simulation.at_once")
async def at_once(value: int) -> int:
    return value * 10


@action(name="simulation.in_thread")
def in_thread(value: int) -> int:
    return value * 100


@workflow(name="simulation.chain")
async def chain(length: int) -> int:
    value = 0
    for _ in range(length):
        value = await in_thread(await slowly(value)) // 100
    return value


@pytest.mark.covers("I3", "I12", "I14", "M31")
def test_a_chain() -> None:
    assert crash_everywhere(chain, 5)


@workflow(name="simulation.branches")
async def branches(count: int) -> list[int]:
    async def one(n: int) -> int:
        return await at_once(await at_once(n))

    return await asyncio.gather(*(one(n) for n in range(count)))


@pytest.mark.covers("I2", "I3", "I10")
@pytest.mark.parametrize("count", [3, 191])
def test_branches(count: int) -> None:
    assert crash_everywhere(branches, count)


@workflow(name="simulation.deadline")
async def deadline(hours: int) -> str:
    try:
        async with asyncio.timeout(hours * 3600):
            return "yes" if await approval.receive() else "no"
    except TimeoutError:
        return "too late"


@pytest.mark.covers("I25", "I26")
@pytest.mark.parametrize(("hours", "sent"), [(2, "1h"), (2, "3h"), (2, "2h")])
def test_a_signal_that_races_a_timeout(hours: int, sent: str) -> None:
    assert crash_everywhere(deadline, hours, signals=[(approval, True, sent)])


@workflow(name="simulation.early")
async def early() -> list[str]:
    await asyncio.sleep(60)
    return [await words.receive() for _ in range(3)]


@pytest.mark.covers("I25")
def test_signals_that_come_early_are_kept_in_order() -> None:
    assert crash_everywhere(early, signals=[(words, "a", 1), (words, "b", "30s"), (words, "c", "2m")])


@action(name="simulation.stubborn", retry=Retry(attempts=4, first="1s", factor=3, cap="5s", never=[KeyError]))
async def stubborn(works_at: int) -> int:
    if perdure.attempt().number < works_at:
        raise ValueError("not yet")
    return works_at


@workflow(name="simulation.retries")
async def retries() -> list[object]:
    found: list[object] = [await stubborn(3)]
    try:
        await stubborn.options(retry=Retry(attempts=2, first="1m"))(100)
    except ValueError as error:
        found.append(type(error).__name__)
    return found


@pytest.mark.covers("I17", "I19", "I36")
def test_retries_with_a_growing_delay() -> None:
    assert crash_everywhere(retries)


@workflow(name="simulation.tree")
async def tree(depth: int, name: str) -> list[str]:
    if depth == 0:
        return [f"{name}{await at_once(1)}"]
    found = await asyncio.gather(tree(depth - 1, f"{name}l"), tree(depth - 1, f"{name}r"))
    return [leaf for leaves in found for leaf in leaves]


@pytest.mark.covers("I28")
def test_a_tree_of_children() -> None:
    assert crash_everywhere(tree, 3, "t")


booked: dict[str, str] = {}


@action(name="simulation.book")
async def book(what: str) -> str:
    if what == "hotel":
        raise GiveUp("no room")
    booked[perdure.attempt().key] = what
    return perdure.attempt().key


@action(name="simulation.unbook")
async def unbook(key: str) -> None:
    booked.pop(key, None)


@workflow(name="simulation.saga")
async def saga() -> str:
    try:
        async with AsyncExitStack() as undo:
            for what in ("train", "plane", "hotel"):
                key = await book(what)
                undo.push_async_callback(unbook, key)
            undo.pop_all()
    except Exception as error:
        return f"undone: {error}"
    return "done"


@pytest.mark.covers("I1", "I19")
def test_a_saga() -> None:
    assert crash_everywhere(saga, before=booked.clear, effects=lambda: dict(booked))


@workflow(name="simulation.loop")
async def loop(rounds: int, total: int) -> int:
    total += await step(rounds)
    await asyncio.sleep(3600)
    if rounds:
        perdure.continue_as_new(rounds - 1, total)
    return total


@pytest.mark.covers("I39")
def test_a_loop_that_continues_as_new() -> None:
    assert crash_everywhere(loop, 3, 0)


@workflow(name="simulation.cart")
class Cart:
    def __init__(self) -> None:
        self.items: list[int] = []
        self.closed = asyncio.Event()

    async def run(self) -> list[int]:
        await self.closed.wait()
        return self.items

    @update
    async def add(self, item: int) -> int:
        self.items.append(await at_once(item))
        return len(self.items)

    @update
    def close(self) -> str:
        self.closed.set()
        return "closed"

    @query
    def size(self) -> int:
        return len(self.items)


@pytest.mark.covers("I29")
def test_updates_of_an_instance() -> None:
    assert crash_everywhere(Cart, signals=[(Cart.add, 1, 1), (Cart.add, 2, "10m"), (Cart.close, (), "90m")])


@workflow(name="simulation.recording")
async def recording() -> list[object]:
    seen: list[object] = [perdure.record(lambda: 42), str(perdure.uuid4()), perdure.random().random()]
    await step(1)
    if perdure.patched("new-way"):
        seen.append(await at_once(1))
    seen.append(str(perdure.now()))
    return seen


@pytest.mark.covers("I13", "I27", "I30")
def test_recorded_values_and_patches() -> None:
    assert crash_everywhere(recording)


@workflow(name="simulation.between")
async def between_branches() -> list[object]:
    """Queue, Event, Lock, Semaphore and Condition between branches."""
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    ready, lock, two, turn = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2), asyncio.Condition()
    log: list[object] = []

    async def produce() -> None:
        for n in range(3):
            await queue.put(await step(n))
        ready.set()

    async def consume() -> None:
        for _ in range(3):
            log.append(await queue.get())

    async def guarded(n: int) -> None:
        async with two:
            await asyncio.sleep(n)
            async with lock:
                log.append(await at_once(n))
        async with turn:
            turn.notify_all()

    async def last() -> None:
        async with turn:
            await turn.wait_for(lambda: log.count(30) == 1)
        await ready.wait()
        log.append("end")

    async with asyncio.TaskGroup() as group:
        for branch in (produce(), consume(), *(guarded(n) for n in range(1, 4)), last()):
            group.create_task(branch)
    return log


@pytest.mark.covers("I10", "I11")
def test_what_branches_share() -> None:
    assert crash_everywhere(between_branches)


@action(name="simulation.ask_outside")
async def ask_outside() -> str:
    perdure.pending()
    return perdure.pending()


@workflow(name="simulation.delegates")
async def delegates() -> list[str]:
    return list(await asyncio.gather(ask_outside(), ask_outside()))


async def answer_all(env: Environment) -> None:
    for row in await env.engine.list():
        for reason in await env.get(row.id).why():
            if isinstance(reason, OutsideReason):
                task = asyncio.ensure_future(env.engine.complete(reason.key, f"answer to {reason.call}"))
                await env.settle()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                return


@pytest.mark.covers("I32")
def test_calls_that_are_completed_from_outside() -> None:
    assert crash_everywhere(delegates, when_idle=answer_all)


cleaned: set[str] = set()


@action(name="simulation.clean")
async def clean(what: str) -> None:
    cleaned.add(what)


@workflow(name="simulation.inner")
async def inner() -> None:
    try:
        await asyncio.sleep(10_000)
    finally:
        await clean("inner")


@workflow(name="simulation.cleaning")
async def cleaning() -> None:
    try:
        await inner()
    finally:
        await clean("outer")


@pytest.mark.covers("I24")
def test_a_cancel_with_clean_up_in_a_child_and_its_parent() -> None:
    assert crash_everywhere(cleaning, signals=[(CANCEL, "enough", "1h")], before=cleaned.clear, effects=lambda: set(cleaned))


@workflow(name="simulation.race")
async def race() -> list[object]:
    slow, fast = asyncio.create_task(asyncio.sleep(20, "slow")), asyncio.create_task(step(5))
    done, pending = await asyncio.wait({slow, fast}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    firsts = [await task for task in asyncio.as_completed([asyncio.sleep(3, "c"), asyncio.sleep(1, "a"), asyncio.sleep(2, "b")])]
    return [[task.result() for task in done], firsts, await asyncio.shield(step(7))]


@pytest.mark.covers("I11")
def test_races() -> None:
    assert crash_everywhere(race)
