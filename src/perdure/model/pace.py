"""How many things came lately: what decides how far ahead others may be asked for."""


class Pace:
    """Counts by spans of ``span_us``; any clock will do, even one that jumps."""

    __slots__ = ("_before", "_now", "_number", "_span_us")

    def __init__(self, span_us: int) -> None:
        self._span_us = span_us
        self._number = 0
        self._now = self._before = 0

    def note(self, now_us: int) -> None:
        """One came."""
        self._turn(now_us)
        self._now += 1

    def lately(self, now_us: int) -> int:
        """Give how many came in the last whole span, or in the present one if those are more already."""
        self._turn(now_us)
        return max(self._before, self._now)

    def _turn(self, now_us: int) -> None:
        number = now_us // self._span_us
        if number != self._number:
            self._before = self._now if number == self._number + 1 else 0
            self._now, self._number = 0, number
