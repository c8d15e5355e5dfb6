"""A user's file, as the tests of the surfaces serve and start it: copied beside the store of each test."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import perdure
from perdure import Retry, action, pending, query, signal, update, workflow


@dataclass
class Decision:
    ok: bool


class OutOfStock(Exception):
    """What a user's own code raises."""


approval = signal("approval", Decision)


@action
async def double(value: int) -> int:
    return 2 * value


@action(retry=Retry(attempts=4, first="1ms"))
async def flaky(failures: int) -> int:
    if perdure.attempt().number <= failures:
        raise ConnectionError("refused")
    return perdure.attempt().number


@action
def gated(gate: str) -> str:
    """Say that the work is under way, and end it when something is written to the gate."""
    sys.stdout.write(f"at work, attempt {perdure.attempt().number}\n")
    sys.stdout.flush()
    return Path(gate).read_text()


@action
async def asked(question: str) -> int:
    return pending()


@action
def picture() -> bytes:
    return b"\xff\xd8 no text"


@action
async def sought(value: int) -> int:
    return perdure.EMPTY


@workflow
async def seeking(value: int) -> int:
    return await sought(value)


@workflow
async def doubled(value: int, times: int = 1) -> int:
    for _ in range(times):
        value = await double(value)
    return value


@workflow
async def parental(value: int) -> int:
    perdure.publish(stage="packed")
    return await doubled(value)


@workflow
async def branching(values: list[int]) -> list[int]:
    return await asyncio.gather(*(double(value) for value in values))


@workflow
async def stubborn(failures: int) -> int:
    return await flaky(failures)


@workflow
async def through_gate(gate: str) -> str:
    return await gated(gate)


@workflow
async def broken(text: str) -> None:
    raise OutOfStock(text)


@workflow
async def approved() -> bool:
    return (await approval.receive()).ok


@workflow
async def questioned() -> int:
    return await asked("how many?")


@workflow
async def pictured() -> bytes:
    return await picture()


@workflow
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = []

    async def run(self) -> list[str]:
        await approval.receive()
        return self.items

    @update
    async def add(self, item: str, count: int = 1) -> int:
        if not item:
            raise ValueError("an item has a name")
        self.items += [item] * count
        return len(self.items)

    @query
    def count(self, item: str | None = None) -> int:
        return len(self.items) if item is None else self.items.count(item)


@action
def crop(flag: str) -> str:
    """Fail until the file is there."""
    if not Path(flag).exists():
        raise ValueError("cannot crop")
    return "cropped"


@workflow
async def cropped(flag: str) -> str:
    return f"{await double(1)} {await crop(flag)} {await double(2)}"
