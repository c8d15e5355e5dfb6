"""How many calls a worker is given beyond its slots. Protects short calls from waiting for a round trip each, and long ones from waiting at
a worker that is busy while another is idle.

It is as many as its slots get to in a tenth of a second: hundreds where calls take nothing, none where they take long.
"""

from typing import Final

SPAN_US: Final = 100_000
MOST: Final = 1_024
KNOWN: Final = 16
"""Before so many calls have ended nothing is known of how long they take."""
WEIGHT: Final = 1 / 64
"""Of each call in the mean."""
PATIENCE: Final = 3
"""After so many rounds of longer calls there is less room."""


class ReadingAhead:
    """``room`` grows as soon as calls are found short, in doublings, since each change makes the transport begin anew; it shrinks by and
    by, but at once where calls are under way and none has ended for a round.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._mean_us = 0.0
        self._count = 0
        self._ended = 0
        self._long_rounds = 0
        self.room = 0

    def note_end(self, took_us: int) -> bool:
        """A call has ended; tells whether there is more room now."""
        self._count += 1
        self._ended += 1
        self._mean_us += (max(1, took_us) - self._mean_us) * max(WEIGHT, 1 / self._count)
        if self._count < KNOWN or (wanted := self._wanted()) <= self.room:
            return False
        self.room, self._long_rounds = wanted, 0
        return True

    def end_round(self, *, under_way: int) -> None:
        """Some time has passed, and so many calls are under way now."""
        if self._ended:
            self._long_rounds = self._long_rounds + 1 if self._wanted() < self.room // 2 else 0
            if self._long_rounds >= PATIENCE:
                self.room, self._long_rounds = self._wanted(), 0
        elif under_way:
            self.room = self._count = 0
        self._ended = 0

    def _wanted(self) -> int:
        """The least power of two that is enough; none where it is less than a slot's worth."""
        soon = int(self._slots * SPAN_US / self._mean_us) if self._count else 0
        return 0 if soon < self._slots else min(MOST, 1 << (soon - 1).bit_length())
