"""How often and when a failed attempt is tried again: what policies say, and what an action may say itself."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

from msgspec import Struct

from perdure.model.duration import Span, instant_us, span_us
from perdure.model.errors import InvalidOption


class Retry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A retry policy. The default of an action without one is a single attempt.

    ``attempts``: tries in all, ``None`` for no limit. ``total``: span from the first schedule after which nothing is tried again.
    ``deadline``: the same as an instant. Delays are ``first * factor**k``, never above ``cap``, spread by ``jitter`` (0.2 = up to
    20 % either way), or the explicit list ``delays`` (its last entry repeats). ``never`` lists exception classes (or their names) that
    are not tried again; ``overrides`` gives another policy for a class of exceptions. The most specific class wins.

    Source: the delay formula is exponential back-off with a cap that bounds a delay and never ends the retries.
    """

    attempts: int | None = None
    total: Span | None = None
    deadline: datetime | None = None
    first: Span = "1s"
    factor: float = 2.0
    cap: Span | None = "1m"
    jitter: float = 0.0
    delays: Sequence[Span] | None = None
    never: Sequence[type[BaseException] | str] = ()
    overrides: Mapping[type[BaseException] | str, "Retry"] | None = None

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise InvalidOption(option="Retry.attempts", found=repr(self.attempts), expected="1 or more, or None for no limit")
        if self.factor < 1:
            raise InvalidOption(option="Retry.factor", found=repr(self.factor), expected="1 or more")
        if not 0 <= self.jitter <= 1:
            raise InvalidOption(option="Retry.jitter", found=repr(self.jitter), expected="a share between 0 and 1")
        if self.delays is not None and not self.delays:
            raise InvalidOption(option="Retry.delays", found="an empty list", expected="at least one delay")
        for span in (self.first, self.cap, self.total, *(self.delays or ())):
            if span is not None:
                span_us(span)
        if self.deadline is not None:
            instant_us(self.deadline)

    def delay_us(self, attempt: int, random: Random) -> int:
        """Give the wait after the failed attempt number ``attempt`` (1 is the first), in microseconds."""
        if self.delays is not None:
            delay = span_us(self.delays[min(attempt, len(self.delays)) - 1])
        else:
            delay = self._exponential_us(attempt)
        if self.jitter:
            delay = round(delay * (1 + self.jitter * (2 * random.random() - 1)))
        return delay

    def _exponential_us(self, attempt: int) -> int:
        cap = None if self.cap is None else span_us(self.cap)
        try:
            delay = round(span_us(self.first) * float(self.factor) ** (attempt - 1))
        except OverflowError:
            delay = cap if cap is not None else 2**62
        return delay if cap is None else min(delay, cap)

    def end_us(self, scheduled_us: int) -> int | None:
        """Give the instant after which no attempt is made, for a call scheduled at ``scheduled_us``; ``None`` for never."""
        if self.total is None and self.deadline is None:
            return None
        ends = []
        if self.total is not None:
            ends.append(scheduled_us + span_us(self.total))
        if self.deadline is not None:
            ends.append(instant_us(self.deadline))
        return min(ends, default=None)

    def policy_for(self, error_types: Sequence[str]) -> "Retry | None":
        """Give the policy for an error, ``None`` if it must not be tried again.

        ``error_types`` are the names of the error's class and its bases, most specific first.
        """
        never = {type_name(entry) for entry in self.never}
        overrides: dict[str, Retry] = {type_name(k): v for k, v in (self.overrides or {}).items()}
        for name in error_types:
            for known in (name, name.rpartition(":")[2]):
                if known in overrides:
                    return overrides[known]
                if known in never:
                    return None
        return self


NO_RETRY = Retry(attempts=1)


class GiveUp(Exception):
    """Raised by an action: fail the call now, whatever its retry policy says. A cause given with ``from`` reaches the workflow."""


class RetryAfter(Exception):
    """Raised by an action: fail this attempt, and make the next one after ``delay`` instead of when the policy says. A cause given with
    ``from`` is what the attempt failed with, for the policy and for the workflow.
    """

    def __init__(self, delay: Span, message: str = "") -> None:
        super().__init__(message or f"to be tried again after {delay}")
        self.delay_us: int = span_us(delay)


def type_name(entry: type[Any] | str) -> str:
    """Name an exception class the way failures do: ``module:QualName``; text stays as it is."""
    return entry if isinstance(entry, str) else f"{entry.__module__}:{entry.__qualname__}"
