"""Decides which arrivals take effect. Protects from stimuli that come twice, late, or too many (G4, G5, G8)."""

import asyncio
from collections.abc import Hashable, Sequence
from hashlib import sha256
from typing import Any, assert_never

from perdure.engine.runs.live import Arrival, LiveRun, answer_update
from perdure.model import errors
from perdure.model.failure import exception_of
from perdure.model.limits import Limits
from perdure.model.stimulus import Begun, CancelAsked, Failed, Fired, Signalled, Stimulus, Succeeded, Updated


class Intake:
    """Counts what it drops in ``dropped``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.dropped = 0

    def sift(self, run: LiveRun, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """Give the arrivals that take effect in one transition; whoever waits for one of the others has been told why."""
        if len(arrivals) == 1:
            return [arrivals[0]] if self.accepts(run, arrivals[0]) else []
        accepted: list[Arrival] = []
        first: dict[Hashable, Arrival] = {}
        for arrival in arrivals:
            if not self.accepts(run, arrival):
                continue
            # The ledger does not know yet of what came a moment ago, in the same transition.
            twin = first.setdefault(_identity(arrival), arrival)
            if twin is arrival:
                accepted.append(arrival)
            else:
                self._drop_twin(run, twin, arrival)
        return accepted

    def _drop_twin(self, run: LiveRun, twin: Arrival, arrival: Arrival) -> None:
        """The second of two is told what became of the first, and not before it is durable."""
        now, before = arrival.stimulus, twin.stimulus
        if isinstance(now, Signalled) and isinstance(before, Signalled) and signal_digest(now) != signal_digest(before):
            arrival.refuse(errors.SignalConflict(id=now.id, run=run.id))
            return
        self.dropped += 1
        if twin.done is None:
            twin.done = asyncio.get_running_loop().create_future()
        twin.done.add_done_callback(lambda first: self._follow(run, arrival, first))

    def _follow(self, run: LiveRun, arrival: Arrival, first: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if first.cancelled() else first.exception()
        if error is not None:
            arrival.refuse(error)
        elif isinstance(arrival.stimulus, Succeeded | Failed):
            self._drop_outcome(run, arrival, arrival.stimulus.call)
        else:
            arrival.settle()

    def accepts(self, run: LiveRun, arrival: Arrival) -> bool:
        """Tell whether the arrival takes effect; if not, whoever waits for it has been told why."""
        match arrival.stimulus:
            case Succeeded() | Failed() as outcome:
                return run.ledger.is_waiting_for(outcome.call) or self._drop_outcome(run, arrival, outcome.call)
            case Fired() as fired:
                return fired.call in run.ledger.timers or self._drop(arrival)
            case Signalled() as signal:
                return self._accepts_signal(run, arrival, signal)
            case Updated() as update:
                return self._accepts_update(run, arrival, update)
            case CancelAsked():
                return not run.ledger.is_cancelling or self._drop(arrival)
            case Begun():
                return not run.ledger.has_begun or self._drop(arrival)
            case None:
                return True
            case _:
                assert_never(arrival.stimulus)

    def _drop(self, arrival: Arrival) -> bool:
        self.dropped += 1
        arrival.settle()
        return False

    def _drop_outcome(self, run: LiveRun, arrival: Arrival, call: str) -> bool:
        self.dropped += 1
        arrival.refuse(errors.CallClosed(key=f"{run.id}#{run.row.base}#{call}", found="it has an outcome or was cancelled"))
        return False

    def _accepts_signal(self, run: LiveRun, arrival: Arrival, signal: Signalled) -> bool:
        known = run.ledger.named_signals.get(signal.id)
        if known is not None:
            if known != signal_digest(signal):
                arrival.refuse(errors.SignalConflict(id=signal.id, run=run.id))
                return False
            return self._drop(arrival)
        unread = run.ledger.unread_count(signal.channel)
        if unread >= self._limits.signals_buffered_max:
            self.dropped += 1
            arrival.refuse(errors.TooManySignals(size=unread, channel=signal.channel, run=run.id, limit=self._limits.signals_buffered_max))
            return False
        return True

    def _accepts_update(self, run: LiveRun, arrival: Arrival, update: Updated) -> bool:
        if differs(update, _known_digest(run, update.id)):
            arrival.refuse(errors.UpdateConflict(id=update.id, run=run.id, method=update.method))
            return False
        answered = run.answers.get(update.id)
        if answered is not None:
            answer_update(arrival, answered)
            return False
        if update.id in run.ledger.updates or update.id in run.update_waiters:
            run.update_waiters.setdefault(update.id, []).append(arrival)
            return False
        refusal = run.decider.refusal(update) if run.decider is not None else None
        if refusal is not None:
            arrival.refuse(exception_of(refusal))
            return False
        run.update_waiters.setdefault(update.id, []).append(arrival)
        return True


def signal_digest(signal: Signalled) -> str:
    """Give the hash by which a signal that is sent again is compared."""
    return signal.digest or sha256(signal.content.data).hexdigest()


def differs(update: Updated, known: str) -> bool:
    """Tell whether an update is another than the one of its id that is ``known``; where either has no digest, nobody can tell."""
    return bool(known and update.digest) and known != update.digest


def _known_digest(run: LiveRun, update: str) -> str:
    """The ledger does not know yet of an update that came a moment ago, in the same transition; whoever waits for it does."""
    for waiter in run.update_waiters.get(update, ()):
        if isinstance(waiter.stimulus, Updated):
            return waiter.stimulus.digest
    return run.ledger.named_updates.get(update, "")


def _identity(arrival: Arrival) -> Hashable:
    """What two deliveries of the same thing have in common; no two arrivals share it otherwise."""
    stimulus: Stimulus | None = arrival.stimulus
    match stimulus:
        case Succeeded() | Failed() | Fired():
            return stimulus.call
        case Signalled():
            return Signalled, stimulus.id
        case CancelAsked() | Begun():
            return type(stimulus)
        case _:
            return id(arrival)
