"""What runs in a simulated world: a little of everything that a workflow can do."""

import asyncio

from perdure.deciders.code.authoring import Signal, action, query, signal, update, workflow
from perdure.deciders.code.definition import Registry
from perdure.deciders.code.inside import continue_as_new, send
from perdure.model.pending import pending
from perdure.model.retry import GiveUp, Retry
from perdure.testing.simulation.bank import the_bank
from perdure.workers.attempt import attempt

REGISTRY = Registry()
PATIENT = Retry(first="100ms", factor=2, cap="2s", jitter=0.5)
QUIET_S = 3


class Flaky(Exception):
    """An action that does not work yet."""


words: Signal[str] = signal("words", str)
stop: Signal[list[str]] = signal("stop", list[str])
door: Signal[str] = signal("door", str)


async def _work(fails: int, span_ms: int) -> None:
    if span_ms:
        await asyncio.sleep(span_ms / 1000)
    if attempt().number <= fails:
        raise Flaky(f"attempt {attempt().number} of {fails + 1}")


@action(name="simulated.step", retry=PATIENT, registry=REGISTRY)
async def step(value: int, fails: int, span_ms: int) -> int:
    await _work(fails, span_ms)
    return 2 * value + 1


@action(name="simulated.mark", retry=PATIENT, registry=REGISTRY)
async def mark(what: str) -> None:
    the_bank.get().marks[attempt().key] = what


@action(name="simulated.ask_outside", registry=REGISTRY)
async def ask_outside() -> str:
    return pending()


@action(name="simulated.move", retry=PATIENT, registry=REGISTRY)
async def move(account: str, amount: int, fails: int, span_ms: int) -> None:
    # The effect comes first: an attempt that fails or is lost after it has had it.
    is_done = the_bank.get().move(attempt().key, account, amount)
    await _work(fails, span_ms)
    if not is_done:
        raise GiveUp("refused")


@workflow(name="simulated.chain", registry=REGISTRY)
async def chain(length: int, fails: int, span_ms: int) -> int:
    value = 0
    for _ in range(length):
        value = await step(value, fails, span_ms)
    return value


@workflow(name="simulated.sleeper", registry=REGISTRY)
async def sleeper(spans_ms: list[int]) -> int:
    await asyncio.gather(*(asyncio.sleep(span_ms / 1000) for span_ms in spans_ms))
    return len(spans_ms)


@workflow(name="simulated.transfer", registry=REGISTRY)
async def transfer(source: str, target: str, amount: int, fails: int, span_ms: int) -> str:
    try:
        await move(source, -amount, fails, span_ms)
    except Exception:
        return "refused"
    try:
        await move(target, amount, fails, span_ms)
    except Exception:
        await move(source, amount, fails, span_ms)
        return "undone"
    return "moved"


@workflow(name="simulated.family", registry=REGISTRY)
async def family(depth: int, count: int, span_ms: int) -> int:
    if depth == 0:
        return await chain(1, 0, span_ms)
    return sum(await asyncio.gather(*(family(depth - 1, count, span_ms) for _ in range(count))))


@workflow(name="simulated.loop", registry=REGISTRY)
async def loop(rounds: int, total: int, span_ms: int) -> int:
    total += await step(rounds, 0, 0)
    await asyncio.sleep(span_ms / 1000)
    if rounds:
        continue_as_new(rounds - 1, total, span_ms)
    return total


@workflow(name="simulated.collector", registry=REGISTRY)
async def collector() -> list[str]:
    """Give all words, and those that come within a while after the last that was promised."""
    found: list[str] = []

    async def collect() -> None:
        while True:
            found.append(await words.receive())

    collecting = asyncio.create_task(collect())
    promised = set(await stop.receive())
    while not promised <= set(found):  # noqa: ASYNC110 - timers are part of the load.
        await asyncio.sleep(0.5)
    await asyncio.sleep(QUIET_S)
    collecting.cancel()
    return found


@workflow(name="simulated.cart", registry=REGISTRY)
class Cart:
    def __init__(self) -> None:
        self.items: list[int] = []
        self.closed = asyncio.Event()

    async def run(self) -> list[int]:
        await self.closed.wait()
        return self.items

    @update
    async def add(self, item: int, fails: int) -> int:
        self.items.append(await step(item, fails, 20))
        return item

    @update
    def close(self) -> str:
        self.closed.set()
        return "closed"

    @query
    def size(self) -> int:
        return len(self.items)


@workflow(name="simulated.cancelled", registry=REGISTRY)
async def cancelled(key: str) -> None:
    try:
        await asyncio.sleep(100_000)
    finally:
        await mark(key)


@workflow(name="simulated.delegate", registry=REGISTRY)
async def delegate() -> str:
    return await ask_outside()


@workflow(name="simulated.guest", registry=REGISTRY)
async def guest() -> str:
    return await door.receive()


@workflow(name="simulated.host", registry=REGISTRY)
async def host(to: str, span_ms: int) -> None:
    await asyncio.sleep(span_ms / 1000)
    send(to, door, f"come in, {to}")
