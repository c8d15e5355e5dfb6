"""Time and chance: the only way for either to reach the core (G7)."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol


class Alarm(Protocol):
    def cancel(self) -> None:
        """The callback will not be called any more; safe to call twice and after it was called."""
        ...


class Clock(Protocol):
    def now_us(self) -> int:
        """Give the present instant in microseconds since 1970 UTC. It may jump; nothing may assume that it only grows."""
        ...

    def call_at(self, when_us: int, callback: Callable[[], object]) -> Alarm:
        """``callback`` is called in the event loop, once, at that instant or a little later; at once if the instant has passed."""
        ...

    def calibrate(self, now_us: int) -> None:
        """It was this instant a moment ago, by the clock that all nodes go by; a clock may follow it."""
        ...


class Entropy(Protocol):
    def token(self) -> str:
        """Give a new id that no other call anywhere gives; later ones sort after earlier ones of the same process."""
        ...

    def seed(self) -> int:
        """Give a random number below 2**63."""
        ...


async def pause(clock: Clock, span_us: int) -> None:
    """That span of the clock's time has passed."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    alarm = clock.call_at(clock.now_us() + span_us, partial(_finish, over))
    try:
        await over
    finally:
        alarm.cancel()


def _finish(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)
