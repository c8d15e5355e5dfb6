"""When runs must be woken. Protects from a due timer being forgotten (G9), and from keeping an alarm per sleeper in memory."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from perdure.model.ids import RunId
from perdure.ports.clock import Alarm, Clock

_SLACK = 256


class Wakes:
    """One alarm for all live runs and one for the store: the earliest instant decides. ``ring`` is called when something is due."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._dues: dict[RunId, int] = {}
        self._heap: list[tuple[int, RunId]] = []
        self._alarm: Alarm | None = None
        self._alarm_us: int | None = None
        self.store_us: int | None = None

    def set(self, run: RunId, due_us: int | None) -> None:
        """The run is woken at that instant, and at no other; ``None`` for never."""
        if self._dues.get(run) == due_us:
            return
        if due_us is None:
            self._dues.pop(run, None)
        else:
            self._dues[run] = due_us
            heappush(self._heap, (due_us, run))
            if len(self._heap) > 2 * len(self._dues) + _SLACK:
                self._heap = [(due, entry) for entry, due in self._dues.items()]
                heapify(self._heap)
        self.rearm()

    def note_store(self, wake_us: int | None) -> None:
        """A run that is put down is due at that instant; the earliest such instant is kept."""
        if wake_us is not None and (self.store_us is None or wake_us < self.store_us):
            self.store_us = wake_us
            self.rearm()

    def take_due(self, now_us: int) -> list[RunId]:
        """Take the live runs that are due."""
        due: list[RunId] = []
        while (first := self._first()) is not None and first[0] <= now_us:
            heappop(self._heap)
            del self._dues[first[1]]
            due.append(first[1])
        return due

    def _first(self) -> tuple[int, RunId] | None:
        while self._heap:
            due_us, run = self._heap[0]
            if self._dues.get(run) == due_us:
                return due_us, run
            heappop(self._heap)
        return None

    def rearm(self) -> None:
        """The alarm stands at the earliest instant."""
        first = self._first()
        dues = [due for due in (first[0] if first else None, self.store_us) if due is not None]
        wanted = min(dues, default=None)
        if wanted == self._alarm_us and self._alarm is not None:
            return
        self.close()
        if wanted is not None:
            self._alarm_us = wanted
            self._alarm = self._clock.call_at(wanted, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = self._alarm_us = None
        self._ring()

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._alarm_us = None
