"""Calls of many tasks that go out together. Protects a store from a round trip, and a sync of its disk, for each of them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from perdure.model.errors import Unavailable

T = TypeVar("T")
Told = Callable[[Exception | None], None]
"""Is told how it ended."""
_Entry = tuple[Sequence[T], int, Told]


class Gathering(Generic[T]):
    """``do`` is called with what came while its last call was under way; never twice at a time, and with about ``weight_max`` at most."""

    def __init__(self, do: Callable[[list[T]], Awaitable[None]], *, weight_max: int) -> None:
        self._do = do
        self._weight_max = weight_max
        self._waiting: deque[_Entry[T]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, items: Sequence[T], weight: int) -> "asyncio.Future[None]":
        """The future ends when the items were done, with what ``do`` raised for them. They are done too if nobody waits for it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.put(items, weight, partial(_end, done))
        return done

    def put(self, items: Sequence[T], weight: int, told: Told) -> None:
        """As `add`, for many: ``told`` is called where the future would have ended."""
        self._waiting.append((items, weight, told))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            entries = self._next()
            try:
                await self._do([item for items, _, _ in entries for item in items])
            except Exception as error:
                await self._fail(entries, error)
            else:
                _settle(entries, None)

    def _next(self) -> list[_Entry[T]]:
        entries, weight = [self._waiting.popleft()], 0
        weight = entries[0][1]
        while self._waiting and weight + self._waiting[0][1] <= self._weight_max:
            entries.append(self._waiting.popleft())
            weight += entries[-1][1]
        return entries

    async def _fail(self, entries: list[_Entry[T]], error: Exception) -> None:
        if len(entries) == 1 or isinstance(error, Unavailable):
            _settle(entries, error)
            return
        # Something in it cannot be done: that is for whoever asked for it, and for nobody else.
        for entry in entries:
            try:
                await self._do(list(entry[0]))
            except Exception as own:
                _settle([entry], own)
            else:
                _settle([entry], None)

    async def close(self) -> None:
        """What was added is done, or has failed."""
        if self._task is not None:
            await asyncio.wait([self._task])


def _settle(entries: "list[_Entry[T]]", error: Exception | None) -> None:
    for _, _, told in entries:
        told(error)


def _end(done: "asyncio.Future[None]", error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
