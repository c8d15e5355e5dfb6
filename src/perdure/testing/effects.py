"""Keeps the book of effects: which attempts began and how they ended, against what was durable at that moment (G2, G4).

It reads every commit and sees every attempt, and objects to

* an attempt that begins before its call, or before the failure of the attempt before it, is durable;
* an attempt of a call whose outcome is durable, or one that begins again without having been recorded as lost;
* an attempt that begins before its retry is due;
* an outcome that is recorded twice, or that no attempt gave.
"""

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from msgspec import Struct

from perdure.model import fact as facts
from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.duration import span_text
from perdure.model.fact import AnyFact, decode_facts
from perdure.model.ids import CallKey, CallName, RunId, call_key
from perdure.model.payload import content_of
from perdure.model.run import RunRow, Transition
from perdure.ports.clock import Clock
from perdure.ports.performer import Performance, Performer, PlainPerformer
from perdure.ports.store import Batch

TURNS_MAX = 12


class Call(Struct):
    """One call of an action as the book knows it. ``ended``: the recorded outcome as text; ``ended_in``: the row that has it."""

    action: str
    attempt: int = 1
    not_before_us: int = 0
    is_pending: bool = False
    ended: str | None = None
    ended_in: int = 0
    sequence: int = 1

    def begin_again(self, sequence: int) -> None:
        self.attempt, self.not_before_us, self.ended, self.sequence = 1, 0, None, sequence


class EffectsBook:
    """``objections`` are sentences, in the order in which they arose."""

    def __init__(self, clock: Clock) -> None:
        self.calls: dict[CallKey, Call] = {}
        self.objections: list[str] = []
        self.life = 0
        self._clock = clock
        self._incarnations: dict[RunId, list[int]] = {}
        self._begun: dict[tuple[CallKey, int, int], int] = {}
        self._delivered: set[tuple[CallKey, int]] = set()
        self._blobs: dict[str, bytes] = {}

    def outcomes(self) -> dict[str, tuple[str, str | None]]:
        """Give, by call, the action and the recorded outcome."""
        return {self.alias(key): (call.action, call.ended) for key, call in sorted(self.calls.items())}

    def alias(self, id: str) -> str:
        """Name a run or call by the count of its incarnation: the row where one begins depends on how many attempts were lost before."""
        for run, bases in self._incarnations.items():
            for number, base in enumerate(bases, 1):
                for mark in (f"{run}#{base}#", f"{run}~{base}/"):
                    if id.startswith(mark):
                        return f"{self.alias(run)}{mark[len(run)]}{number}{mark[-1]}{id[len(mark) :]}"
        return id

    def _object(self, sentence: str) -> None:
        if sentence not in self.objections:
            self.objections.append(sentence)

    # What became durable.

    def take_commit(self, batch: Batch, refused: Mapping[RunId, RunRow]) -> None:
        self._blobs |= batch.blobs
        for row in batch.rows:
            if row.run not in refused:
                for fact in decode_facts(row.facts):
                    self._take_fact(row, fact)

    def _take_fact(self, row: Transition, fact: AnyFact) -> None:
        if isinstance(fact, facts.RunStarted):
            self._incarnations.setdefault(row.run, []).append(row.number)
            return
        if isinstance(fact, facts.RunReopened):
            self._reopen(row, fact)
            return
        name: Any = getattr(fact, "call", None)
        key = call_key(row.run, self._incarnations[row.run][-1], CallName(name or ""))
        if isinstance(fact, facts.ActionScheduled):
            self.calls[key] = Call(fact.action)
        elif key in self.calls:
            self._take_call_fact(row, fact, key, self.calls[key])

    def _reopen(self, row: Transition, fact: facts.RunReopened) -> None:
        """What the row before said counts no more."""
        base = self._incarnations[row.run][-1]
        for key, call in self.calls.items():
            if key.startswith(f"{row.run}#{base}#") and call.ended_in == row.number - 1:
                call.ended = None
        for name, sequence in fact.calls.items():
            self.calls[call_key(row.run, base, name)].begin_again(sequence)

    def _take_call_fact(self, row: Transition, fact: AnyFact, key: CallKey, call: Call) -> None:
        match fact:
            case facts.AttemptFailed():
                call.attempt, call.not_before_us = fact.attempt + 1, fact.retry_us
            case facts.AttemptLost():
                call.attempt, call.not_before_us = fact.attempt + 1, 0
            case facts.ActionPending():
                call.is_pending = True
            case facts.ActionCompleted():
                content = content_of(fact.value, row.data, self._blobs)
                if not call.is_pending and (key, fact.attempt) not in self._delivered:
                    self._object(f"the call {key} of {call.action} has an outcome that its attempt {fact.attempt} never gave")
                self._end(row, key, call, f"{content.codec} {content.data[:200]!r}")
            case facts.RetrySucceeded():
                self._end(row, key, call, "succeeded later")
            case facts.ActionFailed() | facts.RetryFailed():
                self._end(row, key, call, f"{fact.error.type}: {fact.error.message}")
            case facts.CallCancelled():
                call.ended, call.ended_in = call.ended or "cancelled", row.number
            case facts.CallRetried():
                call.begin_again(fact.sequence)

    def _end(self, row: Transition, key: CallKey, call: Call, outcome: str) -> None:
        call.ended_in = row.number
        if call.ended is not None:
            self._object(f"the call {key} of {call.action} has a second outcome in the journal ({outcome}, after {call.ended})")
        call.ended = outcome

    # What was done.

    def begin(self, attempt: Attempt) -> None:
        key, name, number = attempt.key, attempt.spec.name, attempt.number
        what = f"attempt {number} of the call {key} of {name}"
        call = self.calls.get(key)
        if call is None:
            self._object(f"{what} began before the call was durable")
        elif call.ended is not None:
            self._object(f"{what} began although the outcome was durable: {call.ended}")
        elif (number, attempt.sequence) != (call.attempt, call.sequence):
            self._object(f"{what} began when the journal was at attempt {call.attempt} of sequence {call.sequence}")
        elif self._clock.now_us() < call.not_before_us:
            self._object(f"{what} began {span_text(call.not_before_us - self._clock.now_us())} too early")
        life = self._begun.get((key, attempt.sequence, number))
        if life is not None:
            where = "twice in one life of the node" if life == self.life else "again, and the journal has no lost attempt"
            self._object(f"{what} began {where}")
        self._begun[key, attempt.sequence, number] = self.life

    def deliver(self, attempt: Attempt, outcome: Outcome) -> None:
        if outcome.content is not None:
            self._delivered.add((attempt.key, attempt.number))


class RecordedPerformer:
    """A performer whose every attempt is in the book. ``shuffle`` holds each outcome back for some turns of the event loop."""

    def __init__(self, performer: Performer, book: EffectsBook, shuffle: Random | None = None) -> None:
        self._performer = performer
        self._book = book
        self._shuffle = shuffle

    @property
    def here(self) -> PlainPerformer | None:
        """None: every attempt goes through the book."""
        return None

    def listen(self, heard: Callable[[], None]) -> None:
        """As the port says."""
        self._performer.listen(heard)

    def keep_with(self, keep: Callable[[Attempt, Outcome], Batch]) -> None:
        """As the port says."""
        self._performer.keep_with(keep)

    def prove(self, attempt: Attempt, outcome: Outcome, worker: str) -> Outcome:
        """As the port says."""
        return self._performer.prove(attempt, outcome, worker)

    def takes(self, spec: ActionSpec) -> bool:
        """As the port says."""
        return self._performer.takes(spec)

    def is_elsewhere(self, spec: ActionSpec) -> bool:
        """As the port says."""
        return self._performer.is_elsewhere(spec)

    def perform(self, attempt: Attempt, deliver: Any, beat: Any) -> Performance:
        self._book.begin(attempt)

        def delivered(attempt: Attempt, outcome: Outcome) -> None:
            self._book.deliver(attempt, outcome)
            turns = 0 if self._shuffle is None else self._shuffle.randrange(TURNS_MAX)
            _after(turns, lambda: deliver(attempt, outcome))

        return self._performer.perform(attempt, delivered, beat)

    async def close(self) -> None:
        await self._performer.close()


def _after(turns: int, callback: Callable[[], object]) -> None:
    if turns == 0:
        callback()
    else:
        asyncio.get_running_loop().call_soon(_after, turns - 1, callback)
