"""Time that moves when a test says so, and chance that is the same in every test."""

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from random import Random

from perdure.model.duration import instant, instant_us
from perdure.ports.clock import Alarm

START = datetime(2030, 1, 1, tzinfo=UTC)


class VirtualAlarm:
    """A callback that waits for its instant."""

    __slots__ = ("callback", "is_over", "serial", "when_us")

    def __init__(self, when_us: int, serial: int, callback: Callable[[], object]) -> None:
        self.when_us = when_us
        self.serial = serial
        self.callback = callback
        self.is_over = False

    def __lt__(self, other: "VirtualAlarm") -> bool:
        return (self.when_us, self.serial) < (other.when_us, other.serial)

    def cancel(self) -> None:
        self.is_over = True

    def ring(self) -> None:
        """The callback is called, unless it was before or the alarm was cancelled."""
        if not self.is_over:
            self.is_over = True
            self.callback()


class VirtualClock:
    """A clock that stands still until `move_to`. Alarms of one instant ring in the order in which they were set."""

    def __init__(self, start: datetime = START) -> None:
        self._now_us = instant_us(start)
        self._alarms: list[VirtualAlarm] = []
        self._serial = count()

    def now_us(self) -> int:
        """Give the present instant in microseconds since 1970 UTC."""
        return self._now_us

    def now(self) -> datetime:
        """Give the present instant, aware UTC."""
        return instant(self._now_us)

    def call_at(self, when_us: int, callback: Callable[[], object]) -> Alarm:
        """``callback`` is called by the `move_to` that reaches that instant; with the loop's next turn if it has passed."""
        alarm = VirtualAlarm(when_us, next(self._serial), callback)
        if when_us <= self._now_us:
            asyncio.get_running_loop().call_soon(alarm.ring)
        else:
            heappush(self._alarms, alarm)
        return alarm

    def calibrate(self, now_us: int) -> None:
        """Nothing follows: the test alone says what time it is."""

    def next_us(self, ignoring: Collection[Alarm] = ()) -> int | None:
        """Give the instant of the earliest alarm that is set, leaving out those in ``ignoring``; ``None`` if there is none."""
        while self._alarms and self._alarms[0].is_over:
            heappop(self._alarms)
        left_out = {id(alarm) for alarm in ignoring}
        if self._alarms and id(self._alarms[0]) not in left_out:
            return self._alarms[0].when_us
        return min((alarm.when_us for alarm in self._alarms if not alarm.is_over and id(alarm) not in left_out), default=None)

    def move_to(self, when_us: int) -> int:
        """It is ``when_us`` now, or still later if it was; all alarms that are due have rung, in order. Gives their number."""
        self._now_us = max(self._now_us, when_us)
        rung = 0
        due: list[VirtualAlarm] = []
        while self._alarms and self._alarms[0].when_us <= self._now_us:
            due.append(heappop(self._alarms))
        for alarm in due:
            rung += not alarm.is_over
            alarm.ring()
        return rung

    def forget_all(self) -> None:
        """No alarm is set any more: whoever set them has died."""
        for alarm in self._alarms:
            alarm.is_over = True
        self._alarms.clear()


class VirtualEntropy:
    """Ids that count, and seeds from one seed: the same in every run of a test."""

    def __init__(self, seed: int = 0) -> None:
        self._counter = count(1)
        self._random = Random(seed)

    def token(self) -> str:
        """Give ``"v000001"`` and so on."""
        return f"v{next(self._counter):06d}"

    def seed(self) -> int:
        """Give a number below 2**63."""
        return self._random.getrandbits(63)
