"""How long runs that have ended, and dead letters, are kept."""

from typing import Final, Self

from msgspec import Struct

from perdure.model.duration import Span, span_us
from perdure.model.errors import InvalidOption
from perdure.model.run import Status


class Outdated(Struct, frozen=True):
    """Runs that ended with this status before that instant."""

    status: Status
    before_us: int


class Retention(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Spans from the end of a run to its deletion, by how it ended; ``None`` keeps it for ever.

    ``replies``: how long answers to requests of other processes are kept, for those who ask again. ``letters``: from the death of a packet
    in the store's own queue to its deletion; brokers have options of theirs.
    """

    completed: Span | None = None
    failed: Span | None = None
    cancelled: Span | None = None
    replies: Span = "1d"
    letters: Span | None = "30d"

    def outdated(self, now_us: int) -> list[Outdated]:
        """Give what has been kept long enough. Raises `InvalidOption` for what is no span."""
        spans = ((Status.COMPLETED, self.completed), (Status.FAILED, self.failed), (Status.CANCELLED, self.cancelled))
        return [Outdated(status, now_us - span_us(span)) for status, span in spans if span is not None]

    def letters_before(self, now_us: int) -> int:
        """Give the instant before which dead letters have been kept long enough; 0 if none ever have. Raises `InvalidOption`."""
        return 0 if self.letters is None else max(now_us - span_us(self.letters), 0)

    def checked(self) -> Self:
        """Give itself, or raise `InvalidOption` for what is no span, and for answers that would be gone before they are read."""
        self.outdated(0)
        self.letters_before(0)
        if span_us(self.replies) < REPLIES_MIN_US:
            raise InvalidOption(option="Retention.replies", found=repr(self.replies), expected="at least 10m")
        return self


REPLIES_MIN_US: Final = 600_000_000
FOREVER: Final = Retention()
"""Nothing but old replies and old dead letters is ever deleted."""
