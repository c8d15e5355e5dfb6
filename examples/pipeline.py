"""A data pipeline: the pages of a source are read in turn, their chunks are cleaned several at a time, and loaded in order.

The stream may be endless: a page is all that is in memory, and what is done is known by the cursor in the journal.
"""

import asyncio
from collections.abc import AsyncIterator

from perdure import Engine, Retry, action, workflow

ITEMS, PAGE, CHUNK = 1000, 200, 25


@action(retry=Retry(attempts=5, first="50ms", jitter=0.2))
async def read_page(cursor: int) -> list[int]:
    return list(range(cursor, min(cursor + PAGE, ITEMS)))


@action
def clean(items: list[int]) -> list[int]:
    return [item * 2 for item in items if item % 3]


@action
async def load(items: list[int]) -> int:
    return len(items)


async def chunks() -> AsyncIterator[list[int]]:
    cursor = 0
    while page := await read_page(cursor):
        for at in range(0, len(page), CHUNK):
            yield page[at : at + CHUNK]
        cursor += len(page)


@workflow
async def refresh() -> int:
    cleaned: asyncio.Queue[asyncio.Task[list[int]] | None] = asyncio.Queue(maxsize=4)

    async def load_all() -> int:
        loaded = 0
        while task := await cleaned.get():
            loaded += await load(await task)
        return loaded

    async with asyncio.TaskGroup() as group:
        loading = group.create_task(load_all())
        async for chunk in chunks():
            await cleaned.put(group.create_task(clean(chunk)))
        await cleaned.put(None)
    return loading.result()


async def main() -> None:
    async with Engine("memory://") as engine:
        print(f"{await engine.run(refresh)} of {ITEMS} items loaded")


asyncio.run(main())
