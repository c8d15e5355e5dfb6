"""Regular expressions with an end. A pattern that tries too much is stopped after its time, and holds up nothing else while it tries.

`re` can be neither stopped nor run beside other code; `regex` can: docs/decisions/0009-libraries-under-the-actions.md
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import regex

from perdure.actions.configured import seconds
from perdure.model.errors import InvalidOption, PatternTooSlow
from perdure.model.retry import GiveUp

PATTERN_LENGTH_MAX: Final = 10_000


@lru_cache(maxsize=1_000)
def compiled(pattern: str, flags: int = 0) -> "regex.Pattern[str]":
    """Give the compiled pattern. Raises `regex.error`."""
    return regex.compile(pattern, flags)


def check_pattern(option: str, pattern: str, flags: int = 0) -> "regex.Pattern[str]":
    """Give the compiled pattern; raises `InvalidOption` if it does not compile."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise InvalidOption(option=option, found=f"{len(pattern)} characters", expected=f"at most {PATTERN_LENGTH_MAX}")
    try:
        return compiled(pattern, flags)
    except (regex.error, RecursionError, OverflowError) as error:
        raise InvalidOption(option=option, found=f"{pattern!r}, which does not compile: {error}", expected="a regular expression") from None


def matches(pattern: "regex.Pattern[str]", text: str, timeout: str) -> Iterator[Any]:
    """Give the matches, in order; raises `GiveUp` from `PatternTooSlow` when all together take longer than ``timeout``."""
    try:
        yield from pattern.finditer(text, timeout=seconds(timeout), concurrent=True)
    except TimeoutError:
        slow = PatternTooSlow(pattern=pattern.pattern, span=timeout, size=len(text))
        raise GiveUp(str(slow)) from slow
