"""Which requests of callers in this process are let in. Protects from memory that fills up, and answers that never come, while the store
is slower than those who ask: whoever is one too many is told so at once, before anything is done.

What ends work is not refused: cancels and outcomes. Nor are messages from the inbox, which are durable and wait there.
"""

from datetime import timedelta

from perdure.engine.runs.ended import asked_of
from perdure.engine.runs.live import LiveRun
from perdure.model.duration import span_text
from perdure.model.errors import Overloaded
from perdure.model.limits import Limits
from perdure.model.stimulus import Signalled, Stimulus, Updated
from perdure.ports.clock import Clock

_AFTER_MIN_US = 100_000
_AFTER_MAX_US = 60_000_000


class Admission:
    """``waiting``: requests that were let in and have no answer yet. ``refused``: those that were not let in."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._waited_us = 0
        self._left_us = clock.now_us()
        self.waiting = 0
        self.refused = 0

    def enter(self, asked: str) -> int:
        """One more waits; gives the instant for `leave`. Raises `Overloaded`."""
        if self.waiting >= self._limits.requests_waiting_max:
            raise self._overloaded(asked, "requests_waiting_max", self.waiting, self._limits.requests_waiting_max)
        now_us = self._clock.now_us()
        if not self.waiting:
            self._left_us = now_us
        self.waiting += 1
        return now_us

    def leave(self, entered_us: int) -> None:
        """It has its answer."""
        self.waiting -= 1
        self._left_us = self._clock.now_us()
        self._waited_us = self._left_us - entered_us

    def check(self, run: LiveRun, stimulus: Stimulus) -> None:
        """There is room before the run for it; raises `Overloaded`."""
        if len(run.arrivals) >= self._limits.arrivals_waiting_max and isinstance(stimulus, Signalled | Updated):
            raise self._overloaded(asked_of(stimulus), "arrivals_waiting_max", len(run.arrivals), self._limits.arrivals_waiting_max)

    def _overloaded(self, asked: str, limit: str, found: int, allowed: int) -> Overloaded:
        self.refused += 1
        after_us = self._after_us()
        return Overloaded(
            asked=asked, limit=limit, found=found, allowed=allowed, retry_after=timedelta(microseconds=after_us), span=span_text(after_us)
        )

    def _after_us(self) -> int:
        """What waited last had such a queue before it, so those who wait now will take about as long; longer, if nothing moves at all."""
        return max(_AFTER_MIN_US, min(_AFTER_MAX_US, max(self._waited_us, self._clock.now_us() - self._left_us)))
