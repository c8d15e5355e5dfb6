"""What the viewer sees: a live board where the terminal can show one, lines of text elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from perdure.demo.progress import Progress, Stage

Row = tuple[str, str]
STAGES = (Stage.KEPT, Stage.AGAIN, Stage.DONE, Stage.RUNNING, Stage.CUT, Stage.CROPPED, Stage.WAITING)


class Screen(Protocol):
    """``is_dead`` of the board: no engine runs at the moment."""

    def say(self, text: str, mood: str = "") -> None:
        """Tell what has just happened. ``mood``: "", "good" or "bad"."""

    def show(self, board: Sequence[Progress], *, is_dead: bool = False) -> None:
        """The board is drawn as it is now."""

    def conclude(self, title: str, rows: Sequence[Row]) -> None:
        """The board has come to rest; the numbers stand below it."""

    def close(self) -> None:
        """The terminal is as it was before."""


class PlainScreen:
    """Lines for logs and pipes: one for each event, and one a second for the board."""

    def __init__(self, write: Callable[[str], object] = print, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._began = clock()
        self._next = 0.0

    def say(self, text: str, mood: str = "") -> None:
        mark = {"good": "ok  ", "bad": "!!  "}.get(mood, "    ")
        self._write(f"{self._clock() - self._began:6.1f} s  {mark}{text}")

    def show(self, board: Sequence[Progress], *, is_dead: bool = False) -> None:
        if board and self._clock() >= self._next:
            self._next = self._clock() + 1
            self.say(counted(board, is_dead=is_dead))

    def conclude(self, title: str, rows: Sequence[Row]) -> None:
        self._write(f"\n{title}")
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self._write(f"  {name:<{width}}  {value}")

    def close(self) -> None:
        pass


def counted(board: Sequence[Progress], *, is_dead: bool) -> str:
    """Give the number of branches in each stage, in words."""
    stages = Counter(stage for progress in board for stage in progress.stages(is_dead=is_dead))
    return ", ".join(f"{stages[stage]} {stage.value}" for stage in STAGES if stages[stage])


def open_screen(*, is_plain: bool) -> Screen:
    """Give the best screen there is."""
    if not is_plain:
        try:
            from perdure.demo.board import RichScreen
        except ModuleNotFoundError:
            return PlainScreen()
        screen = RichScreen()
        if screen.is_usable:
            return screen
    return PlainScreen()
