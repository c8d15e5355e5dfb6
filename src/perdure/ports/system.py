"""Time and chance of this machine."""

import asyncio
import os
import time
from collections.abc import Callable
from itertools import count

from perdure.model.duration import MICROSECONDS
from perdure.ports.clock import Alarm

SLACK_US = 20_000


class SystemClock:
    """The machine's clock, until a store with a clock of its own calibrates it: from then on it goes by that one.

    Spans are measured by a clock that does not jump, so a jump of the machine's time neither fires nor loses an alarm that is set, and a
    calibrated clock does not even see it.
    """

    def __init__(self) -> None:
        self._ahead_us: int | None = None

    def now_us(self) -> int:
        if self._ahead_us is None:
            return time.time_ns() // 1_000
        return time.monotonic_ns() // 1_000 + self._ahead_us

    def calibrate(self, now_us: int) -> None:
        # What took a few milliseconds to come is not better known than what is known here.
        mine_us = self.now_us()
        agreed_us = mine_us if abs(now_us - mine_us) < SLACK_US else now_us
        self._ahead_us = agreed_us - time.monotonic_ns() // 1_000

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
