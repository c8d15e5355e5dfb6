"""The timeline of a run: every call with its attempts, waits and errors, folded from the journal's facts."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from perdure.insight.journal import Entry
from perdure.model import fact as facts
from perdure.model.duration import instant, instant_us
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Payload


class Kind(StrEnum):
    """What a step is."""

    ACTION = "action"
    TIMER = "timer"
    SIGNAL = "signal"
    CHILD = "child"
    RECORD = "record"
    UPDATE = "update"


class State(StrEnum):
    """How a step stands. ``outside``: its action left the call open for an outcome from outside."""

    OPEN = "open"
    OUTSIDE = "outside"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Try(Struct):
    """One attempt. ``state`` is ``cancelled`` for one whose node died; ``retry``: when the next one is due, if one follows.
    ``sequence``: 1, and one more for each retry by hand.
    """

    number: int
    began: datetime
    ended: datetime | None = None
    state: State = State.OPEN
    error: Failure | None = None
    retry: datetime | None = None
    sequence: int = 1


class Step(Struct):
    """One durable operation. ``branch`` is its path in the tree of tasks, empty for the root; ``name`` the action, channel or definition.

    ``due``: of a timer. ``run``: of a child. ``line``: where the code asked for it, as ``file:line``.
    """

    call: CallName
    branch: str
    kind: Kind
    name: str
    began: datetime
    line: str = ""
    ended: datetime | None = None
    state: State = State.OPEN
    tries: list[Try] = []
    error: Failure | None = None
    value: Payload | None = None
    due: datetime | None = None
    run: RunId | None = None
    is_detached: bool = False

    @property
    def attempts(self) -> int:
        """How many attempts were made or begun."""
        return max(1, len(self.tries))


class Mark(Struct, frozen=True):
    """Something that happened to the run as a whole: a signal came, someone asked it to end, it stalled, was resumed or reopened."""

    at: datetime
    what: str
    text: str = ""


class Timeline(Struct):
    """What happened in one incarnation of a run. ``steps`` are in order of their beginning; ``ended`` is ``None`` while the run is open."""

    began: datetime | None = None
    ended: datetime | None = None
    last: datetime | None = None
    steps: list[Step] = []
    marks: list[Mark] = []
    facts: int = 0
    rows: int = 0

    def open_steps(self) -> list[Step]:
        """Give the steps that have not ended."""
        return [step for step in self.steps if step.ended is None]


Taker = Callable[[Any, Any, datetime], object]


class TimelineFold:
    """Takes journal entries in order; ``timeline`` is true to what was taken so far."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self._steps: dict[str, Step] = {}
        self._updates: dict[str, Step] = {}
        self._row: dict[str, Step] = {}
        """The steps that the present row has touched, as they were before it."""
        self._steps_before = 0

    def take(self, entry: Entry) -> None:
        """The timeline has this fact too."""
        timeline = self.timeline
        timeline.facts += 1
        if entry.number != timeline.rows and type(entry.fact) is not facts.RunReopened:
            self._row, self._steps_before = {}, len(timeline.steps)
        timeline.rows = entry.number
        timeline.last = entry.at
        if timeline.began is None:
            timeline.began = entry.at
        step = self._steps.get(getattr(entry.fact, "call", ""))
        if step is not None:
            self._note(step)
        taker = self._TAKERS.get(type(entry.fact))
        if taker is not None:
            taker(self, entry.fact, entry.at)

    def _note(self, step: Step) -> None:
        self._row.setdefault(step.call, replace(step, tries=[replace(tried) for tried in step.tries]))

    def _add(self, call: CallName, kind: Kind, name: str, at: datetime, **more: Any) -> Step:
        step = Step(call, call.rpartition("/")[0], kind, name, at, **more)
        self._steps[call] = step
        self.timeline.steps.append(step)
        return step

    def _end(
        self, call: CallName, at: datetime, state: State, *, value: Payload | None = None, error: Failure | None = None
    ) -> Step | None:
        step = self._steps.get(call)
        if step is not None and step.ended is None:
            step.ended, step.state, step.value, step.error = at, state, value, error
        return step

    # Calls of actions.

    def _scheduled(self, fact: facts.ActionScheduled, at: datetime) -> None:
        self._add(fact.call, Kind.ACTION, fact.action, at, line=fact.line, tries=[Try(1, at)])

    def _action_completed(self, fact: facts.ActionCompleted | facts.RetrySucceeded, at: datetime) -> None:
        self._end_try(fact.call, at, fact.attempt, fact.took_us, State.DONE, None)
        self._end(fact.call, at, State.DONE, value=fact.value)

    def _action_failed(self, fact: facts.ActionFailed | facts.RetryFailed, at: datetime) -> None:
        self._end_try(fact.call, at, fact.attempt, fact.took_us, State.FAILED, fact.error)
        self._end(fact.call, at, State.FAILED, error=fact.error)

    def _attempt_failed(self, fact: facts.AttemptFailed, at: datetime) -> None:
        tried = self._end_try(fact.call, at, fact.attempt, fact.took_us, State.FAILED, fact.error)
        if tried is not None:
            tried.retry = instant(fact.retry_us)
            self._steps[fact.call].tries.append(Try(fact.attempt + 1, tried.retry, sequence=tried.sequence))

    def _attempt_lost(self, fact: facts.AttemptLost, at: datetime) -> None:
        tried = self._end_try(fact.call, at, fact.attempt, 0, State.CANCELLED, None)
        if tried is not None:
            self._steps[fact.call].tries.append(Try(fact.attempt + 1, at, sequence=tried.sequence))

    def _end_try(self, call: CallName, at: datetime, number: int, took_us: int, state: State, error: Failure | None) -> Try | None:
        """The attempt's own measure of its duration is better than the instants of the rows around it."""
        step = self._steps.get(call)
        tried = None if step is None else next((entry for entry in reversed(step.tries) if entry.number == number), None)
        if tried is None:
            return None
        if took_us:
            tried.began = max(tried.began, instant(instant_us(at) - took_us))
        tried.ended, tried.state, tried.error = max(at, tried.began), state, error
        return tried

    def _pending(self, fact: facts.ActionPending, at: datetime) -> None:
        step = self._steps.get(fact.call)
        if step is not None:
            step.state = State.OUTSIDE

    def _call_cancelled(self, fact: facts.CallCancelled, at: datetime) -> None:
        step = self._end(fact.call, at, State.CANCELLED)
        if step is not None and step.tries and step.tries[-1].ended is None:
            step.tries[-1].ended, step.tries[-1].state = max(at, step.tries[-1].began), State.CANCELLED

    # Retries by hand.

    def _begin_again(self, step: Step, at: datetime, sequence: int) -> None:
        step.ended, step.state, step.value, step.error = None, State.OPEN, None, None
        step.tries.append(Try(1, at, sequence=sequence))

    def _call_retried(self, fact: facts.CallRetried, at: datetime) -> None:
        step = self._steps.get(fact.call)
        if step is not None:
            self._begin_again(step, at, fact.sequence)

    def _reopened(self, fact: facts.RunReopened, at: datetime) -> None:
        """What the row before did to steps is undone, but for how the attempts ended that are made again."""
        self._mark(at, "reopened", ", ".join([*fact.calls, *fact.children]))
        self.timeline.ended = None
        for step in self.timeline.steps[self._steps_before :]:
            self._steps.pop(step.call, None)
        del self.timeline.steps[self._steps_before :]
        for call, before in self._row.items():
            now = self._steps.get(call)
            if now is not None:
                now.tries = now.tries if call in fact.calls else before.tries
                now.ended, now.state, now.value, now.error = before.ended, before.state, before.value, before.error
        for name, sequence in fact.calls.items():
            again = self._steps.get(name)
            if again is not None:
                self._begin_again(again, at, sequence)
        self._row, self._steps_before = {}, len(self.timeline.steps)

    # What is waited for.

    def _timer(self, fact: facts.TimerStarted, at: datetime) -> None:
        self._add(fact.call, Kind.TIMER, "", at, line=fact.line, due=instant(fact.due_us))

    def _awaited(self, fact: facts.SignalAwaited, at: datetime) -> None:
        self._add(fact.call, Kind.SIGNAL, fact.channel, at, line=fact.line)

    def _taken(self, fact: facts.SignalTaken, at: datetime) -> None:
        if fact.call not in self._steps:
            self._add(fact.call, Kind.SIGNAL, fact.channel, at)
        self._end(fact.call, at, State.DONE)

    def _child(self, fact: facts.ChildStarted, at: datetime) -> None:
        self._add(fact.call, Kind.CHILD, fact.definition, at, line=fact.line, run=fact.run, is_detached=fact.is_detached)
        if fact.is_detached:
            self._end(fact.call, at, State.DONE)

    def _recorded(self, fact: facts.Recorded, at: datetime) -> None:
        self._add(fact.call, Kind.RECORD, "record", at, line=fact.line)
        self._end(fact.call, at, State.DONE, value=fact.value)

    def _update(self, fact: facts.UpdateAccepted, at: datetime) -> None:
        path = f"u{len(self._updates) + 1}"
        self._updates[fact.id] = self._add(CallName(path), Kind.UPDATE, fact.method, at)

    def _update_ended(self, fact: facts.UpdateCompleted | facts.UpdateFailed, at: datetime) -> None:
        step = self._updates.get(fact.id)
        if step is None:
            return
        if isinstance(fact, facts.UpdateFailed):
            self._end(step.call, at, State.FAILED, error=fact.error)
        else:
            self._end(step.call, at, State.DONE, value=fact.value)

    # The run as a whole.

    def _mark(self, at: datetime, what: str, text: str = "") -> None:
        self.timeline.marks.append(Mark(at, what, text))

    def _run_ended(self, at: datetime) -> None:
        self.timeline.ended = at
        for step in self.timeline.open_steps():
            self._note(step)
            self._end(step.call, at, State.CANCELLED)
            for tried in step.tries:
                if tried.ended is None:
                    tried.ended, tried.state = max(at, tried.began), State.CANCELLED

    _TAKERS: ClassVar[Mapping[type, Taker]] = {
        facts.ActionScheduled: _scheduled,
        facts.ActionCompleted: _action_completed,
        facts.ActionFailed: _action_failed,
        facts.AttemptFailed: _attempt_failed,
        facts.AttemptLost: _attempt_lost,
        facts.ActionPending: _pending,
        facts.CallRetried: _call_retried,
        facts.RetrySucceeded: _action_completed,
        facts.RetryFailed: _action_failed,
        facts.RunReopened: _reopened,
        facts.CallCancelled: _call_cancelled,
        facts.TimerStarted: _timer,
        facts.TimerFired: lambda fold, fact, at: fold._end(fact.call, at, State.DONE),
        facts.TimerCancelled: lambda fold, fact, at: fold._end(fact.call, at, State.CANCELLED),
        facts.SignalAwaited: _awaited,
        facts.SignalTaken: _taken,
        facts.ChildStarted: _child,
        facts.ChildCompleted: lambda fold, fact, at: fold._end(fact.call, at, State.DONE, value=fact.value),
        facts.ChildFailed: lambda fold, fact, at: fold._end(fact.call, at, State.FAILED, error=fact.error),
        facts.Recorded: _recorded,
        facts.UpdateAccepted: _update,
        facts.UpdateCompleted: _update_ended,
        facts.UpdateFailed: _update_ended,
        facts.SignalReceived: lambda fold, fact, at: fold._mark(at, "signal", fact.channel),
        facts.CancelRequested: lambda fold, fact, at: fold._mark(at, "cancel", fact.reason),
        facts.RunStalled: lambda fold, fact, at: fold._mark(at, "stalled", fact.reason),
        facts.RunResumed: lambda fold, fact, at: fold._mark(at, "resumed"),
        facts.RunCompleted: lambda fold, fact, at: fold._run_ended(at),
        facts.RunFailed: lambda fold, fact, at: fold._run_ended(at),
        facts.RunCancelled: lambda fold, fact, at: fold._run_ended(at),
    }
