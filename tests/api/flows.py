"""What the tests of the API start."""

import asyncio

import perdure
from perdure import Registry, action, pending, query, signal, update, workflow

registry = Registry()
approval = signal("approval", bool)


@action(registry=registry)
async def double(value: int) -> int:
    return 2 * value


@action(registry=registry)
async def ask_outside(what: str) -> int:
    return pending()


@workflow(registry=registry)
async def doubled(value: int) -> int:
    return await double(value)


@workflow(registry=registry)
async def broken(text: str) -> None:
    raise ValueError(text)


@workflow(registry=registry)
async def outside(what: str) -> int:
    return await ask_outside(what)


@workflow(registry=registry)
async def sleeper() -> str:
    await asyncio.sleep(3600)
    return "awake"


@workflow(registry=registry)
async def approved() -> bool:
    return await approval.receive()


@workflow(registry=registry)
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = []

    async def run(self) -> list[str]:
        await approval.receive()
        return self.items

    @update
    async def add(self, item: str) -> int:
        if item == "car":
            raise KeyError("we do not sell cars")
        self.items.append(item)
        perdure.publish(items=self.items)
        return len(self.items)

    @query
    def count(self) -> int:
        return len(self.items)
