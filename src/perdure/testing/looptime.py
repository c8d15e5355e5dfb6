"""Virtual time inside actions: what an attempt waits for with ``asyncio.sleep`` or ``asyncio.timeout`` comes from the virtual clock.

asyncio's own loops take their timers through ``call_later`` and ``call_at``. While an environment is open, these two and ``time`` look
whether an attempt is running; only then is time virtual. The test, and everything else on the loop, keeps real time. A loop that is not
written in Python, such as uvloop's, cannot be taught so: actions that sleep there sleep in real time.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from perdure.model.duration import MICROSECONDS
from perdure.ports.clock import Alarm, Clock
from perdure.workers import attempt as attempts


def is_in_attempt() -> bool:
    """Tell whether this code was called by an action that an engine runs."""
    return attempts.is_in_action()


class VirtualTimer:
    """The handle of a timer that an action set."""

    def __init__(self, due_s: float) -> None:
        self.alarm: Alarm | None = None
        self._due_s = due_s
        self._is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True
        if self.alarm is not None:
            self.alarm.cancel()

    def cancelled(self) -> bool:
        return self._is_cancelled

    def when(self) -> float:
        return self._due_s


@contextmanager
def virtual_in_attempts(loop: asyncio.AbstractEventLoop, clock: Clock) -> Iterator[None]:
    """Inside, timers that attempts set on ``loop`` are the clock's."""
    if not isinstance(loop, asyncio.BaseEventLoop) or "call_at" in vars(loop):
        yield
        return
    changed: Any = loop
    changed.time, changed.call_at, changed.call_later = _methods(loop, clock)
    try:
        yield
    finally:
        del changed.time, changed.call_at, changed.call_later


def _methods(loop: asyncio.BaseEventLoop, clock: Clock) -> tuple[Callable[..., Any], ...]:
    real_time, real_call_at, real_call_later = loop.time, loop.call_at, loop.call_later

    def time() -> float:
        return clock.now_us() / MICROSECONDS if is_in_attempt() else real_time()

    def call_at(when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        if not is_in_attempt():
            return real_call_at(when, callback, *args, context=context)
        timer = VirtualTimer(when)
        timer.alarm = clock.call_at(
            round(when * MICROSECONDS), lambda: timer.cancelled() or loop.call_soon(callback, *args, context=context)
        )
        return timer

    def call_later(delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        if not is_in_attempt():
            return real_call_later(delay, callback, *args, context=context)
        return call_at(time() + delay, callback, *args, context=context)

    return time, call_at, call_later
