"""Lets attempts of limited actions begin only when there is a permit; all others pass at no cost."""

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import Raw, json

from perdure.model.call import ActionSpec, Attempt, Limit, Outcome
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidOption
from perdure.model.failure import Failure, failure_of
from perdure.model.payload import Content
from perdure.permits.keys import key_of
from perdure.permits.turnstile import Place, Turnstile
from perdure.ports.clock import Alarm
from perdure.ports.performer import Performance, Performer, PlainPerformer
from perdure.ports.store import Batch

Deliver = Callable[[Attempt, Outcome], None]
Beat = Callable[[Attempt, Content], None]


class LimitedPerformance:
    """An attempt that waits for a permit, or was given one. ``inner``: once it has begun."""

    __slots__ = ("_is_elsewhere", "alarm", "inner", "on_cancel", "on_let_go")

    def __init__(self, *, is_elsewhere: bool) -> None:
        self.inner: Performance | None = None
        self._is_elsewhere = is_elsewhere
        self.alarm: Alarm | None = None
        self.on_cancel: Callable[[], None] = lambda: None
        self.on_let_go: Callable[[], None] = lambda: None

    @property
    def is_keeping(self) -> bool:
        return self.inner is not None and self.inner.is_keeping

    @property
    def is_elsewhere(self) -> bool:
        return self._is_elsewhere

    def cancel(self) -> None:
        if self.inner is not None:
            self.inner.cancel()
        else:
            self.on_cancel()

    def let_go(self) -> None:
        if self.inner is not None:
            self.inner.let_go()
        if self.inner is None or self._is_elsewhere:
            self.on_let_go()


class LimitedPerformer:
    """``announced``: gives the limit of an action that is not declared here."""

    def __init__(self, inner: Performer, place: Place, serializer: Serializer, announced: Callable[[ActionSpec], Limit | None]) -> None:
        self._inner = inner
        self._place = place
        self._serializer = serializer
        self._announced = announced
        self._turnstiles: dict[str, Turnstile] = {}
        self.here: PlainPerformer | None = inner.here

    def takes(self, spec: ActionSpec) -> bool:
        return self._inner.takes(spec)

    def is_elsewhere(self, spec: ActionSpec) -> bool:
        return self._inner.is_elsewhere(spec)

    def listen(self, heard: Callable[[], None]) -> None:
        self._inner.listen(heard)

    def prove(self, attempt: Attempt, outcome: Outcome, worker: str) -> Outcome:
        return self._inner.prove(attempt, outcome, worker)

    def keep_with(self, keep: Callable[[Attempt, Outcome], Batch]) -> None:
        self._inner.keep_with(keep)

    def perform(self, attempt: Attempt, deliver: Deliver, beat: Beat) -> Performance:
        spec = attempt.spec
        limit = spec.limit if spec.function is not None else self._announced(spec)
        if limit is None:
            return self._inner.perform(attempt, deliver, beat)
        return self._wait(attempt, limit, deliver, beat)

    def _wait(self, attempt: Attempt, limit: Limit, deliver: Deliver, beat: Beat) -> Performance:
        performance = LimitedPerformance(is_elsewhere=self._inner.is_elsewhere(attempt.spec))
        loop_soon = partial(_soon, deliver, attempt)
        try:
            key = key_of(limit.key, attempt, self._serializer)
        except InvalidOption as error:
            loop_soon(Outcome(failure=failure_of(error, is_final=True)))
            return performance
        turnstile, id = self._turnstile(attempt.spec.name, limit), f"{attempt.key}~{attempt.sequence}.{attempt.number}"

        def ended(attempt: Attempt, outcome: Outcome) -> None:
            turnstile.leave(id)
            deliver(attempt, outcome)

        def begin() -> None:
            _quiet(performance.alarm)
            # One elsewhere that is let go says nothing more here, and needs its permit no longer: whoever has the run gets another.
            performance.on_let_go = partial(turnstile.leave, id)
            performance.inner = self._inner.perform(attempt, ended, beat)

        def leave_line(outcome: Outcome | None) -> None:
            _quiet(performance.alarm)
            turnstile.give_up(id)
            performance.on_cancel = _nothing
            if outcome is not None:
                loop_soon(outcome)

        performance.on_cancel = partial(leave_line, Outcome(failure=_CANCELLED))
        performance.on_let_go = partial(leave_line, None)
        if attempt.end_us is not None:
            performance.alarm = self._place.clock.call_at(attempt.end_us, partial(leave_line, Outcome(failure=_overdue(attempt))))
        turnstile.enter(id, key, begin, priority=attempt.spec.priority)
        return performance

    def _turnstile(self, name: str, limit: Limit) -> Turnstile:
        known = self._turnstiles.get(name)
        if known is None:
            known = self._turnstiles[name] = Turnstile(self._place, name, limit)
        known.change(limit)
        return known

    async def close(self) -> None:
        for turnstile in self._turnstiles.values():
            turnstile.stop()
        await self._inner.close()
        for turnstile in self._turnstiles.values():
            await turnstile.close()


_CANCELLED = Failure("asyncio.exceptions:CancelledError", "the workflow stopped waiting", is_final=True)


def _soon(deliver: Deliver, attempt: Attempt, outcome: Outcome) -> None:
    """The port delivers from the loop, never from within a call."""
    asyncio.get_running_loop().call_soon(deliver, attempt, outcome)


def _nothing() -> None:
    """It has left the line already."""


def _quiet(alarm: Alarm | None) -> None:
    if alarm is not None:
        alarm.cancel()


def _overdue(attempt: Attempt) -> Failure:
    message = f"attempt {attempt.number} of {attempt.spec.name} got no permit of its limit within the total time of its retry policy"
    return Failure("perdure.model.errors:ActionTimedOut", message, Raw(json.encode((None, {"message": message}))), is_final=True)
