"""A branch: an asyncio task that knows its place in the tree of tasks."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from random import Random
from typing import Any

from perdure.model.ids import CallName


class BranchTask(asyncio.Task[Any]):
    """Names the durable operations of its branch: ``path`` and ordinal, never a global counter.

    The hash comes from the run's id and the order of creation, not from an address: sets of tasks then iterate alike in every process, so
    that a loop over ``done, pending = await asyncio.wait(…)`` replays exactly.
    """

    __slots__ = ("_branches", "_calls", "_random", "_serial", "path")

    def __init__(
        self, coro: Coroutine[Any, Any, Any], *, loop: asyncio.AbstractEventLoop, path: str, serial: int, context: Context | None
    ) -> None:
        # Set before the task registers itself in a set, which asks for its hash.
        self._serial = serial
        self.path = path
        self._calls = 0
        self._branches = 0
        self._random: Random | None = None
        super().__init__(coro, loop=loop, name=path or "root", context=context)

    def __hash__(self) -> int:
        return self._serial

    def next_call(self) -> CallName:
        """Name the branch's next durable operation: ``"3"`` in the root, ``"2.1/3"`` in the first branch of its second branch."""
        self._calls += 1
        return CallName(f"{self.path}/{self._calls}") if self.path else CallName(str(self._calls))

    def next_path(self) -> str:
        """Name the branch's next branch."""
        self._branches += 1
        return f"{self.path}.{self._branches}" if self.path else str(self._branches)

    def random(self, seed: int) -> Random:
        """Give the branch's own generator, so that a change in one branch leaves the chance of its siblings alone."""
        if self._random is None:
            self._random = Random(f"{seed}/{self.path}")
        return self._random
