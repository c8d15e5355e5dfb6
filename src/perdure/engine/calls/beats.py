"""What attempts report while they run, on its way to the store.

Protects the store from chatty actions, and the newest word of one from being lost.
"""

from collections.abc import Callable
from functools import partial

from msgspec import Struct

from perdure.model.call import Attempt
from perdure.model.ids import CallKey
from perdure.model.payload import Content
from perdure.ports.clock import Alarm, Clock

BEAT_US = 500_000


class Pulse(Struct):
    """A call whose details were written a moment ago. ``content``: what came since."""

    alarm: Alarm
    attempt: Attempt
    content: Content | None = None


class Beats:
    """Each call's newest details are written at once, or half a second after those before; none of an attempt that has ended."""

    def __init__(self, clock: Clock, *, write: Callable[[Attempt, Content], None], is_under_way: Callable[[Attempt], bool]) -> None:
        self._clock = clock
        self._write = write
        self._is_under_way = is_under_way
        self._pulses: dict[CallKey, Pulse] = {}

    def keep(self, attempt: Attempt, content: Content) -> None:
        """The details are written, or will be if none newer come before."""
        pulse = self._pulses.get(attempt.key)
        if pulse is not None:
            pulse.attempt, pulse.content = attempt, content
            return
        self._write(attempt, content)
        alarm = self._clock.call_at(self._clock.now_us() + BEAT_US, partial(self._on_alarm, attempt.key))
        self._pulses[attempt.key] = Pulse(alarm, attempt)

    def _on_alarm(self, key: CallKey) -> None:
        pulse = self._pulses.pop(key)
        if pulse.content is not None and self._is_under_way(pulse.attempt):
            self.keep(pulse.attempt, pulse.content)

    def flush(self) -> None:
        """What waits is written now."""
        for pulse in self._pulses.values():
            if pulse.content is not None and self._is_under_way(pulse.attempt):
                self._write(pulse.attempt, pulse.content)
                pulse.content = None

    def close(self) -> None:
        """Nothing more is written."""
        for pulse in self._pulses.values():
            pulse.alarm.cancel()
        self._pulses.clear()
