"""Shows how far the benchmark is, on standard error: a bar on a terminal, a line for each part otherwise."""

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TextIO


class Lines(AbstractContextManager["Lines"]):
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def begin(self, what: str) -> None:
        """This part is under way now."""
        print(f"[{self._done + 1}/{self._total}] {what}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """The part is done."""
        self._done += 1

    def write(self, line: str, output: TextIO) -> None:
        """The line is written, and not across a bar."""
        print(line, file=output, flush=True)


class Bar(Lines):
    """The same on a terminal, with rich."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        # Rich would take standard output for itself: what is piped into a file must arrive there.
        console = Console(stderr=True)
        self._progress: Any = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def begin(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def end(self) -> None:
        self._progress.advance(self._task)

    def write(self, line: str, output: TextIO) -> None:
        self._progress.stop()
        super().write(line, output)
        self._progress.start()


def open_progress(total: int) -> Lines:
    """Give what fits the terminal."""
    if sys.stderr.isatty():
        try:
            return Bar(total)
        except ModuleNotFoundError:
            pass  # rich is an extra; lines will do.
    return Lines(total)
