"""The log of a process that goes on: a time and a sentence, on the standard error."""

import logging
from collections.abc import Mapping
from typing import Final

from rich.console import Console

_COLOURS: Final[Mapping[int, str]] = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m"}


def log_to_stderr(*, is_quiet: bool, name: str | None = None) -> None:
    """Perdure's own log goes to the standard error; what the user's files set up for theirs stays as it is. ``name`` begins each line."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines(name, is_coloured=Console(stderr=True).color_system is not None))
    ours = logging.getLogger("perdure")
    ours.addHandler(handler)
    ours.propagate = False
    ours.setLevel(logging.WARNING if is_quiet else logging.INFO)


class _Lines(logging.Formatter):
    """A time and a sentence."""

    def __init__(self, name: str | None, *, is_coloured: bool) -> None:
        own = "" if name is None else f"[{name}] ".replace("%", "%%")
        super().__init__(f"%(asctime)s {own}%(message)s", "%H:%M:%S")
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        colour = _COLOURS.get(record.levelno)
        return f"{colour}{text}\033[0m" if colour and self._is_coloured else text
