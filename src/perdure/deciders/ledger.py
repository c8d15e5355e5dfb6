"""What is open in a run: the fold of its journal, the same for every decider, for the engine and for ``why()``."""

from collections import Counter
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from perdure.model import fact as facts
from perdure.model.fact import AnyFact
from perdure.model.failure import Failure
from perdure.model.ids import CallName
from perdure.model.payload import Payload, digest_of


class OpenCall(Struct, gc=False):
    """A call of an action without an outcome. ``attempt``: the number of the present or next try. ``retry_us``: when it is made, 0 for now.

    ``failed``: the last try that failed, whose ``details`` are known: a stored heartbeat of it, or of one before, is older.
    ``is_pending``: the action returned without an outcome; it comes from outside. ``data`` is what lies beside the row of ``fact``.
    ``sequence``: 1, and one more for each retry by hand; ``moved_us``: how much later the present sequence began than the first.
    ``is_taken``: the code has taken the call's failure, and is not told how this sequence ends.
    """

    fact: facts.ActionScheduled
    scheduled_us: int
    data: bytes | None = None
    attempt: int = 1
    retry_us: int = 0
    tried: int = 0
    lost: int = 0
    is_pending: bool = False
    error: Failure | None = None
    failed: int = 0
    details: Payload | None = None
    details_data: bytes | None = None
    sequence: int = 1
    moved_us: int = 0
    is_taken: bool = False

    def begin_again(self, sequence: int, at_us: int) -> None:
        """The call has a new sequence of attempts; what its retry policy counts, it counts anew."""
        self.sequence, self.moved_us = sequence, at_us - self.scheduled_us
        self.attempt, self.retry_us, self.tried, self.lost = 1, 0, 0, 0
        self.is_pending, self.error = False, None


class Ledger:
    """Open calls, timers, awaited signals, children, unread signals, and the ids that must take effect once."""

    __slots__ = (
        "_dues",
        "awaited",
        "calls",
        "children",
        "end_us",
        "ends_known",
        "facts_count",
        "failed",
        "has_begun",
        "is_cancelling",
        "named_signals",
        "named_updates",
        "timers",
        "unread",
        "unread_counts",
        "updates",
    )

    def __init__(self) -> None:
        self.facts_count = 0
        self.has_begun = False
        self._dues: list[tuple[int, CallName]] = []
        self.calls: dict[CallName, OpenCall] = {}
        self.timers: dict[CallName, facts.TimerStarted] = {}
        self.awaited: dict[CallName, facts.SignalAwaited] = {}
        self.children: dict[CallName, facts.ChildStarted] = {}
        self.ends_known: dict[CallName, int] = {}
        self.failed: dict[CallName, int] = {}
        self.unread: dict[str, tuple[facts.SignalReceived, bytes | None]] = {}
        self.unread_counts: Counter[str] = Counter()
        self.named_signals: dict[str, str] = {}
        self.named_updates: dict[str, str] = {}
        self.is_cancelling = False
        self.end_us: int | None = None
        self.updates: dict[str, facts.UpdateCompleted | facts.UpdateFailed | None] = {}

    def apply_all(self, entries: Iterable[AnyFact], at_us: int, data: bytes | None) -> None:
        for fact in entries:
            self.apply(fact, at_us, data)

    def apply(self, fact: AnyFact, at_us: int, data: bytes | None = None) -> None:
        """Take one fact in. ``data``: the bytes beside its row."""
        self.facts_count += 1
        handler = _HANDLERS.get(type(fact))
        if handler is not None:
            handler(self, fact, at_us, data)

    def is_waiting_for(self, call: CallName) -> bool:
        """Tell whether an outcome of this call is still wanted."""
        return call in self.calls or call in self.children

    def is_old_end(self, call: CallName, number: int) -> bool:
        """Tell whether row ``number`` of a child ended it before this run was reopened."""
        return number <= self.ends_known.get(call, -1)

    def next_us(self) -> int | None:
        """Give the earliest instant at which a timer or a retry is due; ``None`` if none is set."""
        while self._dues:
            due_us, call = self._dues[0]
            if self._is_due_at(call, due_us):
                return due_us
            heappop(self._dues)
        return None

    def take_due(self, now_us: int) -> list[CallName]:
        """Take the timers and retries that are due, earliest first."""
        due: list[CallName] = []
        while (next_us := self.next_us()) is not None and next_us <= now_us:
            due.append(heappop(self._dues)[1])
        return due

    def remind(self, call: CallName, due_us: int) -> None:
        heappush(self._dues, (due_us, call))

    def _is_due_at(self, call: CallName, due_us: int) -> bool:
        timer = self.timers.get(call)
        if timer is not None:
            return timer.due_us == due_us
        retried = self.calls.get(call)
        return retried is not None and retried.retry_us == due_us

    def unread_count(self, channel: str) -> int:
        return self.unread_counts[channel]


def _scheduled(ledger: Ledger, fact: facts.ActionScheduled, at_us: int, data: bytes | None) -> None:
    ledger.calls[fact.call] = OpenCall(fact, at_us, data)


def _ended(ledger: Ledger, fact: Any, at_us: int, data: bytes | None) -> None:
    ledger.calls.pop(fact.call, None)


def _failed(ledger: Ledger, fact: facts.ActionFailed | facts.RetryFailed, at_us: int, data: bytes | None) -> None:
    call = ledger.calls.pop(fact.call, None)
    ledger.failed[fact.call] = max(ledger.failed.get(fact.call, 1), 1 if call is None else call.sequence)


def _retried(ledger: Ledger, fact: facts.CallRetried, at_us: int, data: bytes | None) -> None:
    scheduled = facts.ActionScheduled(fact.call, fact.action, fact.args, fact.kwargs, fact.line)
    ledger.calls[fact.call] = OpenCall(scheduled, at_us, data, sequence=fact.sequence, is_taken=True)
    ledger.failed[fact.call] = fact.sequence


def _retry_succeeded(ledger: Ledger, fact: facts.RetrySucceeded, at_us: int, data: bytes | None) -> None:
    ledger.calls.pop(fact.call, None)
    ledger.failed.pop(fact.call, None)


def _reopened(ledger: Ledger, fact: facts.RunReopened, at_us: int, data: bytes | None) -> None:
    ledger.ends_known.update(fact.children)
    for call, sequence in fact.calls.items():
        entry = ledger.calls.get(call)
        if entry is not None:
            entry.begin_again(sequence, at_us)
            if fact.has_input:
                entry.fact, entry.data = replace(entry.fact, args=fact.args, kwargs=fact.kwargs), data


def _child_ended(ledger: Ledger, fact: Any, at_us: int, data: bytes | None) -> None:
    ledger.children.pop(fact.call, None)


def _cancelled(ledger: Ledger, fact: facts.CallCancelled, at_us: int, data: bytes | None) -> None:
    ledger.calls.pop(fact.call, None)
    ledger.children.pop(fact.call, None)
    ledger.awaited.pop(fact.call, None)


def _attempt_failed(ledger: Ledger, fact: facts.AttemptFailed, at_us: int, data: bytes | None) -> None:
    call = ledger.calls.get(fact.call)
    if call is not None:
        call.attempt = fact.attempt + 1
        call.tried += 1
        call.lost = 0
        call.retry_us = fact.retry_us
        call.error = fact.error
        call.failed, call.details, call.details_data = fact.attempt, fact.details, data
        ledger.remind(fact.call, fact.retry_us)


def _attempt_lost(ledger: Ledger, fact: facts.AttemptLost, at_us: int, data: bytes | None) -> None:
    call = ledger.calls.get(fact.call)
    if call is not None:
        call.attempt = fact.attempt + 1
        call.lost += 1
        call.retry_us = 0


def _pending(ledger: Ledger, fact: facts.ActionPending, at_us: int, data: bytes | None) -> None:
    call = ledger.calls.get(fact.call)
    if call is not None:
        call.is_pending = True
        call.lost = 0


def _timer_started(ledger: Ledger, fact: facts.TimerStarted, at_us: int, data: bytes | None) -> None:
    ledger.timers[fact.call] = fact
    ledger.remind(fact.call, fact.due_us)


def _timer_ended(ledger: Ledger, fact: Any, at_us: int, data: bytes | None) -> None:
    ledger.timers.pop(fact.call, None)


def _signal_received(ledger: Ledger, fact: facts.SignalReceived, at_us: int, data: bytes | None) -> None:
    ledger.unread[fact.id] = (fact, data)
    ledger.unread_counts[fact.channel] += 1
    if fact.is_named:
        ledger.named_signals[fact.id] = fact.digest or digest_of(fact.value, data)


def _signal_awaited(ledger: Ledger, fact: facts.SignalAwaited, at_us: int, data: bytes | None) -> None:
    ledger.awaited[fact.call] = fact


def _signal_taken(ledger: Ledger, fact: facts.SignalTaken, at_us: int, data: bytes | None) -> None:
    ledger.awaited.pop(fact.call, None)
    _read(ledger, fact.id)


def _signal_discarded(ledger: Ledger, fact: facts.SignalDiscarded, at_us: int, data: bytes | None) -> None:
    _read(ledger, fact.id)


def _read(ledger: Ledger, signal: str) -> None:
    found = ledger.unread.pop(signal, None)
    if found is not None:
        ledger.unread_counts[found[0].channel] -= 1


def _cancel_requested(ledger: Ledger, fact: facts.CancelRequested, at_us: int, data: bytes | None) -> None:
    ledger.is_cancelling = True


def _child_started(ledger: Ledger, fact: facts.ChildStarted, at_us: int, data: bytes | None) -> None:
    if not fact.is_detached:
        ledger.children[fact.call] = fact


def _update_accepted(ledger: Ledger, fact: facts.UpdateAccepted, at_us: int, data: bytes | None) -> None:
    ledger.updates[fact.id] = None
    if fact.is_named:
        ledger.named_updates[fact.id] = fact.digest


def _update_answered(ledger: Ledger, fact: Any, at_us: int, data: bytes | None) -> None:
    ledger.updates[fact.id] = fact


def _started(ledger: Ledger, fact: facts.RunStarted, at_us: int, data: bytes | None) -> None:
    ledger.has_begun = True
    ledger.named_signals.update(fact.seen)
    ledger.end_us = fact.end_us
    for answer in fact.answered:
        ledger.updates[answer.id] = answer
        ledger.named_updates[answer.id] = fact.asked.get(answer.id, "")
    for signal in fact.carried:
        _signal_received(ledger, signal, at_us, data)


_HANDLERS: dict[type, Any] = {
    facts.RunStarted: _started,
    facts.ActionScheduled: _scheduled,
    facts.ActionCompleted: _ended,
    facts.ActionFailed: _failed,
    facts.CallRetried: _retried,
    facts.RetrySucceeded: _retry_succeeded,
    facts.RetryFailed: _failed,
    facts.RunReopened: _reopened,
    facts.AttemptFailed: _attempt_failed,
    facts.AttemptLost: _attempt_lost,
    facts.ActionPending: _pending,
    facts.CallCancelled: _cancelled,
    facts.TimerStarted: _timer_started,
    facts.TimerFired: _timer_ended,
    facts.TimerCancelled: _timer_ended,
    facts.SignalReceived: _signal_received,
    facts.SignalAwaited: _signal_awaited,
    facts.SignalTaken: _signal_taken,
    facts.SignalDiscarded: _signal_discarded,
    facts.ChildStarted: _child_started,
    facts.CancelRequested: _cancel_requested,
    facts.ChildCompleted: _child_ended,
    facts.ChildFailed: _child_ended,
    facts.UpdateAccepted: _update_accepted,
    facts.UpdateCompleted: _update_answered,
    facts.UpdateFailed: _update_answered,
}
