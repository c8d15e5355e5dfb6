"""A retry policy at rest: as plain values that JSON can hold, exception classes by name."""

from datetime import datetime, timedelta

from msgspec import Struct

from perdure.model.duration import Span, span_us
from perdure.model.retry import Retry, type_name


class PlainRetry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of `Retry`; spans are microseconds."""

    attempts: int | None = None
    total_us: int | None = None
    deadline: datetime | None = None
    first_us: int = 1_000_000
    factor: float = 2.0
    cap_us: int | None = None
    jitter: float = 0.0
    delays_us: tuple[int, ...] | None = None
    never: tuple[str, ...] = ()
    overrides: dict[str, "PlainRetry"] | None = None

    def policy(self) -> Retry:
        """Give the policy back."""
        return Retry(
            attempts=self.attempts,
            total=_span(self.total_us),
            deadline=self.deadline,
            first=timedelta(microseconds=self.first_us),
            factor=self.factor,
            cap=_span(self.cap_us),
            jitter=self.jitter,
            delays=None if self.delays_us is None else [timedelta(microseconds=delay) for delay in self.delays_us],
            never=self.never,
            overrides=None if self.overrides is None else {name: plain.policy() for name, plain in self.overrides.items()},
        )


def plain_of(retry: Retry) -> PlainRetry:
    """Give a policy as plain values."""
    return PlainRetry(
        attempts=retry.attempts,
        total_us=_us(retry.total),
        deadline=retry.deadline,
        first_us=span_us(retry.first),
        factor=retry.factor,
        cap_us=_us(retry.cap),
        jitter=retry.jitter,
        delays_us=None if retry.delays is None else tuple(span_us(delay) for delay in retry.delays),
        never=tuple(type_name(entry) for entry in retry.never),
        overrides=None if retry.overrides is None else {type_name(entry): plain_of(policy) for entry, policy in retry.overrides.items()},
    )


def _us(span: Span | None) -> int | None:
    return None if span is None else span_us(span)


def _span(us: int | None) -> timedelta | None:
    return None if us is None else timedelta(microseconds=us)
