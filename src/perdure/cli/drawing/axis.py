"""The time axis: instants to columns. A long quiet stretch, such as a night's wait, is cut so that the work stays visible."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct

from perdure.model.duration import span_text

GAPS_MAX = 3
GAP_FACTOR = 6
GAP_MIN_US = 10_000_000
GAP_SHARE = 0.16
GAP_COLUMNS = 9.0
LABEL_COLUMNS = 8


class Stretch(Struct, frozen=True):
    """A piece of time and the columns it takes. ``is_quiet``: nothing happened in it, and it is drawn shorter than it was."""

    from_us: int
    to_us: int
    left: float
    right: float
    is_quiet: bool


class Axis:
    """Maps microseconds to columns ``0..width``. ``instants_us``: everything that happened."""

    def __init__(self, instants_us: Iterable[int], width: int) -> None:
        instants = sorted(set(instants_us))
        self.width = width
        self.began_us = instants[0]
        self._stretches = _stretches(instants, width)

    def column(self, at_us: int) -> float:
        """Give the place of an instant, clipped to the axis."""
        for stretch in self._stretches:
            if at_us <= stretch.to_us:
                share = (at_us - stretch.from_us) / max(1, stretch.to_us - stretch.from_us)
                return stretch.left + max(0.0, share) * (stretch.right - stretch.left)
        return float(self.width)

    def labels(self) -> str:
        """Write the row of times since the beginning; a cut is marked by ``≈`` and how long it was."""
        row = [" "] * self.width
        # A cut that is not marked would mislead; a missing tick does not. So cuts are written first.
        for stretch in self._stretches:
            if stretch.is_quiet:
                self._label_cut(row, stretch)
        for stretch in self._stretches:
            if not stretch.is_quiet:
                self._label_stretch(row, stretch)
        return "".join(row).rstrip()

    def _label_cut(self, row: list[str], stretch: Stretch) -> None:
        text = f"≈{_coarse(stretch.to_us - stretch.from_us)}≈"
        middle = (stretch.left + stretch.right) / 2
        left = min(int(middle - len(text) / 2), self.width - len(text))
        if not _put(row, text, left):
            _put(row, "≈", int(middle))

    def _label_stretch(self, row: list[str], stretch: Stretch) -> None:
        count = max(1, int((stretch.right - stretch.left) / LABEL_COLUMNS))
        step_us = _round_up((stretch.to_us - stretch.from_us) / count)
        offset_us = stretch.from_us - self.began_us
        at_us = -(-offset_us // step_us) * step_us
        while at_us <= stretch.to_us - self.began_us:
            _put(row, f"╷{_tick(at_us)}", round(self.column(self.began_us + at_us)))
            at_us += step_us


def _put(row: list[str], text: str, left: int) -> bool:
    """Write where there is room, and leave out what would run into a neighbour; tells whether it was written."""
    right = left + len(text)
    is_free = left >= 0 and right <= len(row) and all(cell == " " for cell in row[max(0, left - 1) : right + 1])
    if is_free:
        row[left:right] = text
    return is_free


def _coarse(us: int) -> str:
    """Write the length of a cut, of which the first digits matter."""
    if us >= 60_000_000:
        return span_text(us)
    return f"{us / 1_000_000:.1f}s" if us >= 1_000_000 else f"{us / 1_000:.0f}ms"


def _tick(us: int) -> str:
    """Write a round instant without the zeros of a measurement."""
    for unit, name in ((60_000_000, ""), (1_000_000, "s"), (1_000, "ms")):
        if us >= unit and name:
            return f"{us / unit:g}{name}"
        if us >= unit and us % unit == 0:
            return span_text(us)
    return "0" if us == 0 else span_text(us)


_STEPS_S: Sequence[int] = (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400)


def _round_up(us: float) -> int:
    """Give a round step of at least this size."""
    if us > 30_000_000:
        for step in _STEPS_S:
            if us <= step * 1_000_000:
                return step * 1_000_000
        return -(-int(us) // 86_400_000_000) * 86_400_000_000
    power = 1
    while power * 10 <= us:
        power *= 10
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= us)


def _stretches(instants: Sequence[int], width: int) -> list[Stretch]:
    pieces = list(pairwise(instants)) or [(instants[0], instants[0] + 1)]
    quiet = _quiet(pieces)
    busy_us = sum(to - since for since, to in pieces if (since, to) not in quiet) or 1
    gap_columns = min(max(GAP_COLUMNS, width * GAP_SHARE), width / 2 / len(quiet)) if quiet else 0.0
    busy_columns = width - gap_columns * len(quiet)
    found: list[Stretch] = []
    left = 0.0
    for since, to in pieces:
        is_quiet = (since, to) in quiet
        right = left + (gap_columns if is_quiet else (to - since) / busy_us * busy_columns)
        if found and not is_quiet and not found[-1].is_quiet:
            last = found.pop()
            found.append(Stretch(last.from_us, to, last.left, right, False))
        else:
            found.append(Stretch(since, to, left, right, is_quiet))
        left = right
    return found


def _quiet(pieces: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Find the few pieces each of which is many times longer than all that remains without them."""
    longest = sorted(pieces, key=lambda piece: piece[0] - piece[1])
    for count in range(min(GAPS_MAX, len(pieces) - 1), 0, -1):
        rest_us = sum(to - since for since, to in longest[count:])
        since, to = longest[count - 1]
        if to - since > max(GAP_MIN_US, GAP_FACTOR * rest_us):
            return set(longest[:count])
    return set()
