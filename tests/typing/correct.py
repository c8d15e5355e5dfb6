"""Uses of the public names that every type checker must accept, and see with these types. Read by the checkers, never run."""

# pyright: strict

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, assert_type
from uuid import UUID

import perdure
from perdure import Batch, Engine, Limit, Limits, Retry, Run, Status, Worker, action, blocking, query, signal, update, workflow
from perdure.insight import AnyReason, Entry
from perdure.model.run import RunRow


@dataclass
class Decision:
    ok: bool


approval = signal("approval", Decision)
nudge = signal("nudge", type=int, early="discard")
anything = signal("anything")


@action(retry=Retry(attempts=5, first="200ms", factor=2, cap="30s"), timeout="20s")
async def download(url: str, *, proxy: str | None = None) -> bytes:
    return b""


@action
def crop(image: bytes, size: int) -> bytes:
    return image[:size]


@action(name="upload-picture", on_lost="fail")
def upload(image: bytes) -> str:
    perdure.attempt().heartbeat({"done": 1})
    assert_type(perdure.attempt().number, int)
    return "url"


@action(queue="photos", version=2, runs_in="process", cost=0.1, limit=Limit(rate=5, key=lambda image: image.owner))
def sharpen(image: bytes) -> bytes:
    return image


@action(batch=Batch(calls_max=100, wait="50ms", key=lambda order: order.user))
async def insert(orders: dict[str, Decision]) -> dict[str, int]:
    return {key: len(order.__dict__) for key, order in orders.items()}


@action(batch=Batch(), name="insert-plainly")
def insert_plainly(orders: dict[str, Decision]) -> dict[str, int]:
    return {key: len(order.__dict__) for key, order in orders.items()}


@workflow
async def batched() -> int:
    assert_type(await sharpen(b""), bytes)
    assert_type(await insert_plainly(Decision(True)), int)
    number = await insert(Decision(True))
    assert_type(number, int)
    return number


async def embedded() -> None:
    async with Worker("amqp://localhost", [insert, sharpen], slots=8, drain="10s") as worker:
        assert_type(worker.id, str)
        assert_type(worker.running, int)


@action
def ask_a_human(question: str) -> int:
    return perdure.pending()


@workflow
async def thumbnails(url: str, sizes: list[int]) -> list[str]:
    image = await download(url, proxy="p")
    assert_type(image, bytes)

    async def one(size: int) -> str:
        cut = await crop(image, size)
        assert_type(cut, bytes)
        return await upload.options(retry=Retry(attempts=2), timeout=timedelta(seconds=3))(cut)

    urls = await asyncio.gather(*(one(size) for size in sizes))
    assert_type(urls, list[str])
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        first = group.create_task(crop(image, 1))
    assert_type(first.result(), bytes)
    decision = await approval.receive()
    assert_type(decision, Decision)
    assert_type(await nudge.receive(), int)
    async for number in nudge:
        assert_type(number, int)
        break
    assert_type(perdure.now(), datetime)
    assert_type(perdure.random(), Random)
    assert_type(perdure.uuid4(), UUID)
    assert_type(perdure.record(lambda: 3), int)
    assert_type(perdure.patched("p"), bool)
    assert_type(await ask_a_human("?"), int)
    perdure.publish(stage="done")
    return urls


@workflow(version=2, name="parent", check="strict")
async def parent(url: str) -> int:
    urls = await thumbnails.options(id="child", tags=["a"])(url, [60])
    assert_type(urls, list[str])
    await thumbnails.start(url, [])
    if perdure.info().journal_rows > 1_000:
        perdure.continue_as_new(url)
    return len(urls)


class Cart:
    """The class stays a class where `workflow` is called on it by hand: then updates and queries keep their types too."""

    total: int = 0

    async def run(self, owner: str) -> int:
        assert_type(await self.add(1), Any)
        return self.total

    @update
    def add(self, amount: int, *, note: str = "") -> int:
        self.total += amount
        return self.total

    @add.validator
    def check(self, amount: int, *, note: str = "") -> None: ...

    @update
    async def empty(self) -> str:
        return "done"

    @query
    def sum(self, factor: float = 1.0) -> float:
        return self.total * factor


cart = workflow(Cart)


@workflow(version=1)
class Timer:
    async def run(self, hours: float) -> datetime:
        await asyncio.sleep(hours * 3600)
        return perdure.now()


async def use(engine: Engine, url: str) -> None:
    assert_type(await engine.run(thumbnails, url, [60]), list[str])
    assert_type(await engine.run(thumbnails, url=url, sizes=[60]), list[str])
    # Where any object will do, the result is still that of the workflow.
    print(await engine.run(thumbnails, url, [60]))  # noqa: T201
    run = await engine.start(thumbnails.options(id="img-42", tags=["vip"], on_ended="restart"), url, [60])
    assert_type(run, Run[list[str]])
    assert_type(await run.result(), list[str])
    assert_type(await run.status(), Status)
    assert_type(await run.why(), list[AnyReason])
    assert_type(await run.cancel(), bool)
    await run.send(approval, Decision(ok=True), id="once")
    await run.send(nudge, 3)
    await run.send(anything, {"free": "form"})
    await run.send("approval", {"ok": True})
    assert_type(run.journal(), AsyncIterator[Entry])
    async for entry in run.watch():
        assert_type(entry, Entry)

    basket = await engine.start(cart, "ann")
    assert_type(await basket.result(), int)
    assert_type(await basket.update(Cart.add, 2, note="x"), int)
    assert_type(await basket.update(Cart.add, 2, update_id="once"), int)
    assert_type(await basket.update(Cart.empty), str)
    assert_type(await basket.update("empty"), Any)
    assert_type(await basket.query(Cart.sum, 2.0), float)
    assert_type(await engine.run(Timer, 1.5), datetime)

    assert_type(engine.get("img-42"), Run[Any])
    assert_type(engine.get("img-42", thumbnails), Run[list[str]])
    assert_type(await engine.run("thumbnails", url, [60]), Any)
    assert_type(await engine.list(status="stalled", tag="vip", definition="thumbnails"), list[RunRow])
    await engine.complete("key", 3)
    await engine.fail("key", ValueError("no"))


def use_without_await(engine: blocking.Engine, url: str) -> None:
    assert_type(engine.run(thumbnails, url, [60]), list[str])
    run = engine.start(thumbnails, url, [60])
    assert_type(run.result(timeout="1m"), list[str])
    assert_type(run.status(), Status)
    run.send(approval, Decision(ok=True))
    assert_type(engine.start(cart, "ann").update(Cart.add, 2), int)
    assert_type(engine.get("img-42", thumbnails), blocking.Run[list[str]])
    for entry in run.watch():
        assert_type(entry, Entry)


async def main() -> None:
    async with Engine("sqlite:///app.db", limits=Limits(payload_inline_max=10)) as engine:
        await use(engine, "http://example.org")
    # Outside a workflow a call is a call: unit tests need nothing of Perdure.
    assert_type(await download("u"), bytes)
    assert_type(await thumbnails("u", [1]), list[str])
