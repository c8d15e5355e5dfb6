"""An event loop without real time: when nothing is ready, the virtual clock moves to whatever comes next."""

import asyncio
import selectors
from collections.abc import Coroutine
from contextvars import copy_context
from math import ceil
from typing import Any, TypeVar

from perdure.model.duration import MICROSECONDS
from perdure.testing.clock import VirtualClock

T = TypeVar("T")


class NothingComes(RuntimeError):
    """Every task waits and no alarm is set."""


class VirtualSelector(selectors.SelectSelector):
    """Waits by moving the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing has come from outside; the clock stands at its next alarm, or where the loop's next timer is due."""
        if timeout is not None and timeout <= 0:
            return []
        now_us, next_us = self._clock.now_us(), self._clock.next_us()
        ends = [next_us] if next_us is not None else []
        if timeout is not None:
            ends.append(now_us + max(1, ceil(timeout * MICROSECONDS)))
        if not ends:
            raise NothingComes("Every task of the simulation waits, and no alarm is set.")
        self._clock.move_to(min(ends))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is a virtual clock's. Whatever runs in it, does so in the same order every time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        self._start_us = clock.now_us()
        super().__init__(VirtualSelector(clock))

    def time(self) -> float:
        """Give the virtual seconds since the loop was made."""
        return (self._virtual.now_us() - self._start_us) / MICROSECONDS


def run_virtually(clock: VirtualClock, main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in no real time, on a loop of its own; what it left behind is cancelled."""
    loop = VirtualLoop(clock)
    try:
        return copy_context().run(loop.run_until_complete, main)
    finally:
        try:
            _cancel_all(loop)
        finally:
            loop.close()


def _cancel_all(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
