"""What an action may know and say while it runs."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn, cast

from perdure.model import errors
from perdure.model.call import Attempt
from perdure.model.codec import Serializer
from perdure.model.duration import instant
from perdure.model.ids import CallKey, CallName, RunId
from perdure.model.payload import Content
from perdure.model.retry import GiveUp
from perdure.model.retry import RetryAfter as RetryAfter  # Journals name both by this module, too.
from perdure.ports.clock import Clock
from perdure.ports.facilities import Together, facilities_if_any, provide, together_if_any
from perdure.ports.records import Records


class CurrentAttempt:
    """The attempt that is running. Safe to use from the action's thread."""

    __slots__ = ("_attempt", "_beat", "_clock", "_serializer", "connection", "is_cancelled", "records")

    def __init__(
        self,
        attempt: Attempt,
        serializer: Serializer,
        beat: Callable[[Attempt, Content], None],
        *,
        clock: Clock,
        records: Records | None = None,
    ) -> None:
        self._attempt = attempt
        self._serializer = serializer
        self._beat = beat
        self._clock = clock
        self.records: Records | None = records
        """The store's records, for ready-made actions that keep things between calls; ``None`` where there is no store."""
        self.connection: Any = None
        """For a transactional action: the connection whose commit is the commit of its outcome; ``None`` for others."""
        self.is_cancelled: bool = False
        """Nobody waits for this attempt any more: it was cancelled or timed out. A threaded action should look, and return."""

    @property
    def number(self) -> int:
        """1 for the first try, and again for the first one after a retry by hand."""
        return self._attempt.number

    @property
    def sequence(self) -> int:
        """1, and one more each time that the call was retried by hand."""
        return self._attempt.sequence

    @property
    def key(self) -> CallKey:
        """The idempotency key: the same for every attempt and replay of this call, different for every other call."""
        return self._attempt.key

    @property
    def run(self) -> RunId:
        """The run that made the call."""
        return self._attempt.run

    @property
    def call(self) -> CallName:
        """Names the call within its run: branch path and ordinal."""
        return self._attempt.call

    @property
    def deadline(self) -> datetime | None:
        """When the retry policy ends, if it does."""
        return None if self._attempt.end_us is None else instant(self._attempt.end_us)

    @property
    def details(self) -> Any:
        """What the attempt before reported last, ``None`` if nothing."""
        return None if self._attempt.details is None else self._serializer.decode(self._attempt.details)

    def now_us(self) -> int:
        """Give the instant, of the engine's clock, in microseconds since 1970 UTC."""
        return self._clock.now_us()

    def heartbeat(self, details: Any = None) -> None:
        """Report progress; the next attempt is given the latest details, also after a crash (written at most twice a second)."""
        self._beat(self._attempt, self._serializer.encode(details, "the details of a heartbeat"))

    def report_through(self, beat: Callable[[Attempt, Content], None]) -> None:
        """Heartbeats take another way from now on."""
        self._beat = beat

    def raise_if_cancelled(self) -> None:
        """Leave the action if nobody waits for this attempt any more; for the loops of threaded actions."""
        if self.is_cancelled:
            self._stop()

    def _stop(self) -> NoReturn:
        raise GiveUp(f"attempt {self.number} of {self._attempt.spec.name} was cancelled")


def enter(current: CurrentAttempt) -> None:
    """The attempt is the current one of this context."""
    provide(current)


def enter_batch(each: Mapping[CallKey, CurrentAttempt]) -> None:
    """The attempts are those of this context."""
    provide(Together(each))


def attempt() -> CurrentAttempt:
    """Inside an action: the attempt that is running. Raises `Unsupported` elsewhere, and in a batch, which has `attempts`."""
    current = current_attempt()
    if current is None and together_if_any() is not None:
        why = "a batch performs many calls at once; perdure.attempts() has the attempt of each, by the key that its input has"
        raise errors.Unsupported(what="perdure.attempt() in a batch", why=why)
    if current is None:
        raise errors.Unsupported(
            what="perdure.attempt() outside an action", why="there is no attempt; call it from an action that the engine runs"
        )
    return current


def attempts() -> Mapping[CallKey, CurrentAttempt]:
    """Inside an action: the attempts that are running by the keys of their calls, those of its input in a batch, else one. Raises
    `Unsupported` elsewhere.
    """
    together = together_if_any()
    if together is not None:
        return cast(Mapping[CallKey, CurrentAttempt], together.each)
    current = attempt()
    return {current.key: current}


def is_in_action() -> bool:
    """Tell whether an attempt, or a batch of them, is running in this context."""
    return current_attempt() is not None or together_if_any() is not None


def current_attempt() -> CurrentAttempt | None:
    """Give the attempt that is running in this context, ``None`` outside an action and in a batch."""
    found = facilities_if_any()
    return found if isinstance(found, CurrentAttempt) else None
