"""Hands calls to performers and takes their outcomes back. Protects from losing an attempt, and from trying again what must not be."""

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from random import Random
from typing import Any

from msgspec import Raw, json

from perdure.deciders.ledger import OpenCall
from perdure.engine.runs.live import Arrival, LiveRun, Phase
from perdure.engine.runs.record import Told
from perdure.model import fact as facts
from perdure.model.call import Attempt, OnLost, Outcome
from perdure.model.command import RunAction
from perdure.model.fact import AnyFact
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.limits import Limits
from perdure.model.message import EndAttempt
from perdure.model.payload import Attachments, Content, content_of
from perdure.model.retry import Retry
from perdure.model.stimulus import Failed, Succeeded
from perdure.ports.clock import Clock
from perdure.ports.performer import Performer

Tell = Callable[[LiveRun, Arrival], None]


class Dispatcher:
    """``tell`` takes an arrival to its run; ``find`` gives the live run of an id. ``is_draining``: nothing new is begun; nor in a partition
    that is ``leaving``.
    """

    def __init__(
        self, performer: Performer, clock: Clock, *, tell: Tell, find: Callable[[RunId], LiveRun | None], limits: Limits, random: Random
    ) -> None:
        self._performer = performer
        self._clock = clock
        self._tell = tell
        self._find = find
        self._limits = limits
        self._random = random
        self._queue: deque[tuple[RunId, CallName]] = deque()
        self.running = 0
        self.late = 0
        self.is_draining = False
        self.leaving: AbstractSet[int] = frozenset()
        self.on_quiet: Callable[[LiveRun], None] = lambda run: None
        self.on_kept: Callable[[Any], None] = lambda item: None
        self.on_beat: Callable[[Attempt, Content], None] = lambda attempt, content: None

    def dispatch(self, run: LiveRun, call: CallName) -> None:
        """The call's next attempt begins, now or when there is room for it."""
        if self.is_draining or (self.leaving and run.row.partition in self.leaving):
            return
        if self.running >= self._limits.attempts_running_max and not self._is_elsewhere(run, call):
            self._queue.append((run.row.id, call))
            return
        self._begin(run, call)

    def sift(self, run: LiveRun, calls: Iterable[CallName]) -> list[CallName]:
        """Give those of these open calls whose action somebody performs; the others are noted as unserved."""
        wanted = [call for call in calls if call in run.specs]
        served = [call for call in wanted if self._performer.takes(run.specs[call].spec)]
        run.unserved = (run.unserved | set(wanted)) - set(served)
        return served

    def outliving(self, run: LiveRun, calls: Iterable[CallName]) -> list[CallName]:
        """Give those of these calls whose attempts go on when a node ends."""
        return [call for call in calls if self._is_elsewhere(run, call)]

    def _is_elsewhere(self, run: LiveRun, call: CallName) -> bool:
        asked = run.specs.get(call)
        return asked is not None and self._performer.is_elsewhere(asked.spec)

    def _begin(self, run: LiveRun, call: CallName) -> None:
        open_call, asked = run.ledger.calls.get(call), run.specs.get(call)
        if open_call is None or asked is None or call in run.performances or _has_ended(run, open_call):
            return
        spec, performer, is_elsewhere = asked.spec, self._performer.here, False
        if performer is None or spec.function is None or spec.queue is not None or spec.limit is not None:
            performer = self._performer
            if not performer.takes(spec):
                run.unserved.add(call)
                return
            is_elsewhere = performer.is_elsewhere(spec)
        attempt = _attempt_of(run, asked, open_call, is_elsewhere=is_elsewhere)
        if not attempt.is_elsewhere:
            self.running += 1
        run.performances[call] = None
        performance = performer.perform(attempt, self._on_outcome, self._on_beat)
        if call in run.performances:
            run.performances[call] = performance

    def cancel(self, run: LiveRun, call: CallName) -> None:
        """The attempt under way is asked to stop; whatever it says later is dropped."""
        run.specs.pop(call, None)
        performance = run.performances.get(call)
        if performance is not None:
            performance.cancel()

    def _on_outcome(self, attempt: Attempt, outcome: Outcome) -> None:
        if not attempt.is_elsewhere:
            self.running -= 1
        run = self._find(attempt.run)
        if run is None or run.row.base != attempt.base or run.phase is Phase.ENDED:
            self._drop(outcome)
        else:
            open_call = run.ledger.calls.get(attempt.call)
            is_old = open_call is not None and open_call.sequence != attempt.sequence
            if not is_old:
                run.performances.pop(attempt.call, None)
            if open_call is None or is_old or open_call.attempt != attempt.number or _has_ended(run, open_call):
                self._drop(outcome)
                self.on_quiet(run)
            elif outcome.kept is not None:
                self.on_kept(outcome.kept)
            else:
                self._tell(run, self._arrival(run, open_call, attempt, outcome))
        self._begin_queued()

    def _drop(self, outcome: Outcome) -> None:
        self.late += 1
        if outcome.done is not None and not outcome.done.done():
            outcome.done.set_result(None)

    def end(self, run: LiveRun, ended: EndAttempt, outcome: Outcome) -> Arrival | None:
        """Give what becomes of an attempt that ended elsewhere; ``None`` if nobody wants to know any more: late outcomes are dropped."""
        open_call, asked = run.ledger.calls.get(ended.call), run.specs.get(ended.call)
        is_meant = open_call is not None and (open_call.sequence, open_call.attempt) == (ended.sequence, ended.attempt)
        if open_call is None or asked is None or not is_meant or _has_ended(run, open_call):
            self.late += 1
            return None
        performance = run.performances.pop(ended.call, None)
        if performance is not None:
            performance.let_go()
        attempt = _attempt_of(run, asked, open_call, is_elsewhere=True)
        return self._arrival(run, open_call, attempt, self._performer.prove(attempt, outcome, ended.worker))

    def _begin_queued(self) -> None:
        while self._queue and self.running < self._limits.attempts_running_max and not self.is_draining:
            id, call = self._queue.popleft()
            run = self._find(id)
            if run is not None:
                self._begin(run, call)

    def _arrival(self, run: LiveRun, open_call: OpenCall, attempt: Attempt, outcome: Outcome) -> Arrival:
        run.ending[attempt.call] = (attempt.sequence, attempt.number)
        arrival = self._fitting(run, open_call, attempt, outcome)
        arrival.done = outcome.done
        return arrival

    def _fitting(self, run: LiveRun, open_call: OpenCall, attempt: Attempt, outcome: Outcome) -> Arrival:
        if outcome.content is not None:
            run.specs.pop(attempt.call, None)
            return _ended(run, open_call, Succeeded(attempt.call, outcome.content), Told(attempt.number, outcome.took_us))
        if outcome.is_lost:
            return self._lost(run, open_call, run.specs[attempt.call])
        if outcome.failure is None:
            return Arrival(make=lambda _: facts.ActionPending(attempt.call, attempt.number))
        retry_us = self._retry_us(open_call, attempt, outcome)
        if retry_us is None:
            run.specs.pop(attempt.call, None)
            run.failed_specs[attempt.call] = attempt.spec
            return _ended(run, open_call, Failed(attempt.call, outcome.failure), Told(attempt.number, outcome.took_us))
        return self._failed_attempt(run, attempt, outcome, retry_us)

    def _failed_attempt(self, run: LiveRun, attempt: Attempt, outcome: Outcome, retry_us: int) -> Arrival:
        details = run.beats.pop(attempt.call, None)
        if details is not None:
            run.details[attempt.call] = details
        failure = outcome.failure
        assert failure is not None

        def make(attachments: Attachments) -> facts.AttemptFailed:
            placed = None if details is None else attachments.place(details)
            return facts.AttemptFailed(attempt.call, attempt.number, failure, retry_us, placed, outcome.took_us)

        return Arrival(make=make)

    def _retry_us(self, open_call: OpenCall, attempt: Attempt, outcome: Outcome) -> int | None:
        """Give the instant of the next attempt, ``None`` if there is none (I17)."""
        failure, declared = outcome.failure, attempt.spec.retry
        if failure is None or failure.is_final:
            return None
        policy = declared.policy_for(outcome.error_types)
        tried = open_call.tried + 1
        if policy is None or (policy.attempts is not None and tried >= policy.attempts):
            return None
        delay_us = policy.delay_us(tried, self._random) if outcome.retry_after_us is None else outcome.retry_after_us
        retry_us = self._clock.now_us() + max(1, delay_us)
        ends = [end for end in (attempt.end_us, _end_us(policy, open_call)) if end is not None]
        return None if ends and retry_us >= min(ends) else retry_us

    def _on_beat(self, attempt: Attempt, content: Content) -> None:
        run = self._find(attempt.run)
        if run is not None and attempt.call in run.performances:
            run.beats[attempt.call] = content
            self.on_beat(attempt, content)

    def is_under_way(self, attempt: Attempt) -> bool:
        """Tell whether that attempt is the one that runs now for its call."""
        run = self._find(attempt.run)
        if run is None or run.row.base != attempt.base or attempt.call not in run.performances:
            return False
        open_call = run.ledger.calls.get(attempt.call)
        return open_call is not None and open_call.attempt == attempt.number

    def lost_arrivals(self, run: LiveRun, begun: frozenset[CallName]) -> list[Arrival]:
        """Give what becomes of the ``begun`` attempts, which a dead node may have had under way."""
        arrivals: list[Arrival] = []
        for call in sorted(begun):
            asked = run.specs.get(call)
            if asked is not None and asked.spec.function is not None and not self._performer.is_elsewhere(asked.spec):
                arrivals.append(self._lost(run, run.ledger.calls[call], asked))
        return arrivals

    def _lost(self, run: LiveRun, open_call: OpenCall, asked: RunAction) -> Arrival:
        call, number, why = asked.call, open_call.attempt, None
        whose = "worker" if self._performer.is_elsewhere(asked.spec) else "node"
        if asked.spec.on_lost is OnLost.FAIL:
            why = f"its {whose} ended and on_lost='fail' asks not to try again"
        elif open_call.lost >= self._limits.attempts_lost_max:
            why = f"its {whose} died {open_call.lost} times in a row while it ran"
        if why is not None:
            run.specs.pop(call, None)
            run.failed_specs[call] = asked.spec
            return _ended(run, open_call, Failed(call, _lost_failure(asked, why)), Told())
        return Arrival(make=lambda _: facts.AttemptLost(call, number))


def _has_ended(run: LiveRun, open_call: OpenCall) -> bool:
    """Tell whether the end of the present attempt is on its way already: outcomes from elsewhere may come twice."""
    return run.ending.get(open_call.fact.call) == (open_call.sequence, open_call.attempt)


def _attempt_of(run: LiveRun, asked: RunAction, open_call: OpenCall, *, is_elsewhere: bool) -> Attempt:
    is_again = asked.call in run.again
    run.again.discard(asked.call)
    return Attempt(
        run=run.row.id,
        base=run.row.base,
        call=asked.call,
        number=open_call.attempt,
        spec=asked.spec,
        args=asked.args,
        kwargs=asked.kwargs,
        end_us=_end_us(asked.spec.retry, open_call),
        details=run.details.pop(asked.call, None),
        sequence=open_call.sequence,
        scheduled_us=open_call.scheduled_us + open_call.moved_us,
        is_again=is_again,
        is_elsewhere=is_elsewhere,
    )


def _end_us(policy: Retry, open_call: OpenCall) -> int | None:
    """Give the instant after which no attempt is made: a retry by hand has as long as the call had at first."""
    end_us = policy.end_us(open_call.scheduled_us)
    return None if end_us is None else end_us + open_call.moved_us


def _ended(run: LiveRun, open_call: OpenCall, outcome: Succeeded | Failed, told: Told) -> Arrival:
    if open_call.is_taken:
        return retried_outcome(run, outcome, told)
    return Arrival(outcome, told=told)


def retried_outcome(run: LiveRun, outcome: Succeeded | Failed, told: Told) -> Arrival:
    """Give the arrival that writes down how a retried call ended whose failure the code has taken. From now on the call has its outcome."""
    run.ledger.calls.pop(outcome.call, None)

    def make(attachments: Attachments) -> AnyFact:
        if isinstance(outcome, Succeeded):
            return facts.RetrySucceeded(outcome.call, attachments.place(outcome.content), told.attempt, told.took_us)
        return facts.RetryFailed(outcome.call, outcome.failure, told.attempt, told.took_us)

    return Arrival(make=make)


def _lost_failure(asked: RunAction, why: str) -> Failure:
    message = f"{asked.spec.name}: {why}"
    return Failure("perdure.model.errors:AttemptsLost", message, Raw(json.encode((None, {"message": message}))), is_final=True)


def arguments_of(call: OpenCall, blobs: dict[str, bytes]) -> tuple[tuple[Content, ...], dict[str, Content]]:
    """Give the arguments that the journal has for a call."""
    args = tuple(content_of(payload, call.data, blobs) for payload in call.fact.args)
    return args, {name: content_of(payload, call.data, blobs) for name, payload in call.fact.kwargs.items()}
