"""The lines under a step: which attempts failed, how, and where."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from perdure.cli.wording import error_text
from perdure.insight import State, Step, Try
from perdure.model.failure import Failure

LINES_MAX = 3
_PLACE = re.compile(r'File "([^"]+)", line (\d+)')


def notes_of(step: Step) -> list[tuple[str, str]]:
    """Give the lines with their styles: failed attempts that were followed by others, lost ones, and the last error."""
    notes = [(text, "bright_black") for text in _tried(step.tries[:-1] if step.tries else [])]
    if step.error is not None:
        notes.append((f"✗ {described(step.error)}", "red"))
    return notes


def _tried(tries: Sequence[Try]) -> Iterator[str]:
    told = [(tried.number, _what(tried)) for tried in tries if tried.state in (State.FAILED, State.CANCELLED)]
    for what, group in groupby(told, key=lambda entry: entry[1]):
        numbers = [number for number, _ in group]
        span = f"attempt {numbers[0]}" if len(numbers) == 1 else f"attempts {numbers[0]}–{numbers[-1]}"
        yield f"{span}: {what}"


def _what(tried: Try) -> str:
    return described(tried.error) if tried.error is not None else "its node died"


def described(failure: Failure) -> str:
    """Write an error with the place where it was raised."""
    places = _PLACE.findall(failure.traceback)
    text = error_text(failure)
    return f"{text} ({places[-1][0].rpartition('/')[2]}:{places[-1][1]})" if places else text


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into at most a few lines; the last one ends in ``…`` where there was more."""
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, max(10, width), break_on_hyphens=False)]
    if len(lines) > LINES_MAX:
        lines = [*lines[: LINES_MAX - 1], f"{lines[LINES_MAX - 1][: max(1, width - 1)]}…"]
    return lines
