"""Time and chance of this machine."""

import asyncio
import os
import time
from collections.abc import Callable
from itertools import count

from perdure.model.duration import MICROSECONDS
from perdure.ports.clock import Alarm


class SystemClock:
    """The machine's clock. Spans are measured by the event loop, so a jump of the clock neither fires nor loses an alarm that is set."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def call_at(self, when_us: int, callback: Callable[[], object]) -> Alarm:
        delay_us = when_us - self.now_us()
        loop = asyncio.get_running_loop()
        if delay_us <= 0:
            return loop.call_soon(callback)
        return loop.call_later(delay_us / MICROSECONDS, callback)


class SystemEntropy:
    """Ids that sort by time: milliseconds, then a counter, then randomness of this process."""

    def __init__(self) -> None:
        self._process = os.urandom(4).hex()
        self._counter = count()

    def token(self) -> str:
        return f"{time.time_ns() // 1_000_000:011x}{next(self._counter) & 0xFFFFFF:06x}{self._process}"

    def seed(self) -> int:
        return int.from_bytes(os.urandom(7), "big")
