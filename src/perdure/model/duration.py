"""Spans of time as users write them: a ``timedelta``, a number of seconds, or text such as ``"1h 30m"``."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from perdure.model.errors import InvalidOption

Span = timedelta | float | int | str

MICROSECONDS: Final = 1_000_000
_UNITS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": MICROSECONDS,
    "m": 60 * MICROSECONDS,
    "h": 3_600 * MICROSECONDS,
    "d": 86_400 * MICROSECONDS,
    "w": 7 * 86_400 * MICROSECONDS,
}
_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def span_us(span: Span) -> int:
    """Give a span in whole microseconds. Negative spans become 0; text that is no span raises `InvalidOption`."""
    if isinstance(span, timedelta):
        return max(0, span // timedelta(microseconds=1))
    if isinstance(span, str):
        return _text_us(span)
    if span != span or span in (float("inf"), float("-inf")):
        raise InvalidOption(option="span of time", found=repr(span), expected="a finite number of seconds")
    return max(0, round(span * MICROSECONDS))


def _text_us(text: str) -> int:
    total, at = 0.0, 0
    while match := _PART.match(text, at):
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    if at == 0 or text[at:].strip():
        raise InvalidOption(option="span of time", found=repr(text), expected='such as "200ms", "20s", "1h 30m", "7d"')
    return round(total)


def instant_us(instant: datetime) -> int:
    """Give an aware instant as microseconds since 1970 UTC; a naive one raises `InvalidOption`."""
    if instant.tzinfo is None:
        raise InvalidOption(option="instant", found=repr(instant), expected="a datetime with a time zone")
    return (instant - _EPOCH) // timedelta(microseconds=1)


def instant(at_us: int) -> datetime:
    """Give microseconds since 1970 as an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=at_us)


def span_text(us: int) -> str:
    """Write a span for people, in the largest unit that keeps it short: ``850us``, ``12.5ms``, ``3.20s``, ``2h 5m``."""
    if us < 1_000:
        return f"{us}us"
    if us < MICROSECONDS:
        return f"{us / 1_000:.1f}ms"
    if us < 60 * MICROSECONDS:
        return f"{us / MICROSECONDS:.2f}s"
    seconds = us // MICROSECONDS
    for unit, size, lower, lower_size in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // lower_size
            return f"{seconds // size}{unit} {rest}{lower}" if rest else f"{seconds // size}{unit}"
    return f"{seconds}s"
