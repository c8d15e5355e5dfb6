"""The bar of one step: work as a solid line, waits dashed, every failed attempt with a mark at its end."""

from collections.abc import Mapping
from datetime import datetime

from rich.text import Text

from perdure.cli.drawing.axis import Axis
from perdure.insight import Kind, State, Step, Try
from perdure.model.duration import instant_us

WORK, WAIT, PAUSE, QUEUED = "━", "╌", "┈", "·"
ENDS: Mapping[State, str] = {State.FAILED: "✗", State.CANCELLED: "○", State.OPEN: "▶", State.OUTSIDE: "▶"}
STYLES: Mapping[State, str] = {
    State.DONE: "green",
    State.FAILED: "red",
    State.CANCELLED: "bright_black",
    State.OPEN: "yellow",
    State.OUTSIDE: "magenta",
}
WAITS = (Kind.TIMER, Kind.SIGNAL, Kind.CHILD, Kind.UPDATE)


def bar_of(step: Step, axis: Axis, until: datetime) -> Text:
    """Draw a step on the axis; what is still open reaches to ``until``."""
    row = _Cells(axis)
    if step.kind is Kind.RECORD:
        row.mark(step.began, "•", STYLES[State.DONE])
    elif step.kind in WAITS:
        row.line(step.began, step.ended or until, WAIT, _wait_style(step), end=step.state)
    else:
        _draw_tries(row, step, until)
    return row.text()


def _wait_style(step: Step) -> str:
    return "cyan" if step.state is State.DONE else STYLES[step.state]


def _draw_tries(row: "_Cells", step: Step, until: datetime) -> None:
    since, filler = step.began, QUEUED
    for tried in step.tries:
        if tried.began > since:
            row.line(since, min(tried.began, until), filler, "bright_black")
        if tried.began <= until:
            _draw_try(row, tried, until, WAIT if step.state is State.OUTSIDE else WORK)
        since, filler = tried.ended or until, PAUSE


def _draw_try(row: "_Cells", tried: Try, until: datetime, line: str) -> None:
    row.line(tried.began, tried.ended or until, line, STYLES[tried.state], end=tried.state)


class _Cells:
    """A row of styled cells. What is drawn later covers what was drawn before."""

    def __init__(self, axis: Axis) -> None:
        self._axis = axis
        self._cells: list[tuple[str, str]] = [(" ", "")] * axis.width

    def _at(self, at: datetime) -> int:
        return min(self._axis.width - 1, int(self._axis.column(instant_us(at))))

    def line(self, since: datetime, to: datetime, glyph: str, style: str, *, end: State = State.DONE) -> None:
        """From one instant to the other, at least one cell; the last one shows how it ended, unless it was done."""
        left = self._at(since)
        # The cell in which it ends is left to what begins there.
        right = max(left, min(self._axis.width, int(self._axis.column(instant_us(to)))) - 1)
        self._cells[left : right + 1] = [(glyph, style)] * (right - left + 1)
        if end in ENDS:
            self._cells[right] = (ENDS[end], STYLES[end])

    def mark(self, at: datetime, glyph: str, style: str) -> None:
        """One cell at an instant."""
        self._cells[self._at(at)] = (glyph, style)

    def text(self) -> Text:
        text = Text(no_wrap=True)
        for glyph, style in self._cells:
            text.append(glyph, style or None)
        return text
