"""Nothing is lost or made twice if the node dies anywhere around a retry by hand (I20)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from perdure import Retry, Status, action, attempt, insight, publish, signal, workflow
from perdure.model import fact as facts
from perdure.model.ids import RunId
from perdure.testing import crash_everywhere
from perdure.testing.env import Environment
from perdure.testing.faults import FaultyStore
from tests.engine.stores import STORES


class Shop:
    def __init__(self) -> None:
        self.is_mended = False
        self.done: list[str] = []


shop = Shop()
go = signal("retries_go", int)


def fresh() -> None:
    shop.__init__()  # type: ignore[misc]


@action(name="retries_step")
async def step(name: str) -> str:
    shop.done.append(name)
    return name.upper()


@action(name="retries_crop", retry=Retry(attempts=2, first="1s"))
async def crop(name: bytes) -> bytes:
    shop.done.append(f"{name!r}, {attempt().sequence}")
    if not shop.is_mended:
        raise ValueError("cannot crop")
    return b"cropped " + name


@action(name="retries_slow")
async def slow() -> str:
    await asyncio.sleep(3600)
    return "slow"


@workflow(name="retries_line")
async def line() -> str:
    first = await step("first")
    publish(at=first)
    await asyncio.sleep(5)
    cropped, waited, _ = await asyncio.gather(crop(b"a"), slow(), asyncio.sleep(7200))
    return f"{first} {cropped.decode()} {waited} {await step('last')}"


@workflow(name="retries_child")
async def child(name: str) -> str:
    return (await crop(name.encode())).decode()


@workflow(name="retries_sleeper")
async def sleeper() -> str:
    await asyncio.sleep(3600)
    return await step("slept")


@workflow(name="retries_parent")
async def parent() -> list[str]:
    return list(await asyncio.gather(child("a"), sleeper(), child("b")))


@workflow(name="retries_taken")
async def taken() -> str:
    try:
        await crop(b"a")
    except ValueError:
        await go.receive()
    return "done"


async def mend(env: Environment) -> None:
    shop.is_mended = True
    await env.get("crashed").retry()


@pytest.mark.covers("I20")
@pytest.mark.parametrize("flow", [line, parent])
def test_a_reopened_run_survives_a_crash_at_every_commit_and_a_cold_replay_at_every_transition(flow: Any) -> None:
    assert crash_everywhere(flow, before=fresh, when_failed=mend)


@pytest.mark.covers("I20")
def test_a_retry_of_a_failure_that_the_code_has_taken_survives_a_crash_at_every_commit() -> None:
    async def later(env: Environment) -> None:
        names = [entry.name async for entry in env.get("crashed").journal()]
        if "RetrySucceeded" in names:
            await _in_background(env.get("crashed").send(go, 1, id="go"))
        else:
            shop.is_mended = True
            await _in_background(env.get("crashed").retry())

    assert crash_everywhere(taken, before=fresh, when_idle=later)


async def _in_background(work: Any) -> None:
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


class CrashingStore(FaultyStore):
    def break_lease(self) -> None:
        super().break_lease()
        self.inner.break_lease()  # type: ignore[attr-defined]


async def play(store: FaultyStore) -> str:
    """Drive the line to its failure, mend it, and drive it to its end, over whatever the store does; gives the result."""
    fresh()
    firsts = None
    # Rounds take as long as the disk does: how many there may be says nothing.
    async with asyncio.timeout(50), Environment(store) as env:
        while True:
            await asyncio.sleep(0)
            if store.is_down:
                await env.kill()
                await env.revive()
                continue
            row = await store.row(RunId("r"))
            if row is None:
                await _in_background(env.engine.start(line.options(id="r")))
            elif row.status is Status.COMPLETED:
                assert firsts is None or firsts == shop.done.count("first")
                await env.kill()  # Its last commit may be one that never returns.
                fact, _ = await insight.last_word(store, RunId("r"))
                assert isinstance(fact, facts.RunCompleted)
                return str(json.decode(fact.value.json))
            elif row.status is Status.FAILED:
                shop.is_mended, firsts = True, shop.done.count("first")
                await _in_background(env.get("r").retry())
            if not store.is_down:
                await env.advance_to_next()


@pytest.mark.covers("I20")
@pytest.mark.parametrize("kind", STORES)
async def test_on_every_store_the_result_is_that_of_a_run_which_never_failed(kind: str, tmp_path: Path) -> None:
    whole = CrashingStore(STORES[kind](tmp_path / "whole" if kind == "memory" else _folder(tmp_path / "whole")))
    assert await play(whole) == "FIRST cropped a slow LAST"
    for number in range(1, whole.commits + 1):
        for option in ("crash_before", "crash_after"):
            folder = _folder(tmp_path / f"{option}{number}")
            faults: dict[str, Any] = {option: {number}}
            assert await play(CrashingStore(STORES[kind](folder), **faults)) == "FIRST cropped a slow LAST"


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
