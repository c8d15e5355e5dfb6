"""Says of attempts that take long that they are here. Protects from a delivery that is held open for the length of the work."""

from collections import deque
from collections.abc import Callable
from typing import Final

from perdure.model.duration import MICROSECONDS
from perdure.ports.clock import Alarm, Clock
from perdure.workers.holdings import Holding

RECEIPT_US: Final = MICROSECONDS


class Receipts:
    """``tell`` gets the attempts that have been under way for a second."""

    def __init__(self, clock: Clock, tell: Callable[[list[Holding]], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._begun: deque[tuple[int, Holding]] = deque()
        self._alarm: Alarm | None = None

    def expect(self, holding: Holding) -> None:
        """It has begun; if it has not ended in a second, it is told."""
        self._begun.append((self._clock.now_us() + RECEIPT_US, holding))
        if self._alarm is None:
            self._set()

    def _set(self) -> None:
        while self._begun and self._begun[0][1].is_over:
            self._begun.popleft()
        self._alarm = self._clock.call_at(self._begun[0][0], self._ring) if self._begun else None

    def _ring(self) -> None:
        now_us = self._clock.now_us()
        due: list[Holding] = []
        while self._begun and self._begun[0][0] <= now_us:
            holding = self._begun.popleft()[1]
            if not holding.is_over:
                due.append(holding)
        if due:
            self._tell(due)
        self._set()

    def close(self) -> None:
        """Nothing more is told."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._begun.clear()
