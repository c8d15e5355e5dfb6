"""Decides which arrivals take effect. Protects from stimuli that come twice, late, or too many (G4, G5, G8)."""

from hashlib import sha256

from perdure.engine.live import Arrival, LiveRun
from perdure.model import errors
from perdure.model.failure import exception_of
from perdure.model.limits import Limits
from perdure.model.stimulus import CancelAsked, Failed, Fired, Signalled, Succeeded, Updated


class Intake:
    """Counts what it drops in ``dropped``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.dropped = 0

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
            case None:
                return True
            case _:
                return True

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
            if known != sha256(signal.content.data).hexdigest():
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
        if update.id in run.ledger.updates:
            run.update_waiters.setdefault(update.id, []).append(arrival)
            return False
        refusal = run.decider.refusal(update) if run.decider is not None else None
        if refusal is not None:
            arrival.refuse(exception_of(refusal))
            return False
        run.update_waiters.setdefault(update.id, []).append(arrival)
        return True
