"""A run in memory: its mind, its open business, and what waits to be taken in."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import msgspec
from msgspec import Struct

from perdure.deciders.decider import Decider
from perdure.deciders.ledger import Ledger
from perdure.engine.runs.record import PLAIN, Told
from perdure.model.call import ActionSpec
from perdure.model.command import AnswerUpdate, RunAction
from perdure.model.fact import AnyFact
from perdure.model.failure import exception_of
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Attachments, Content
from perdure.model.run import RunRow
from perdure.model.stimulus import Begun, Stimulus, Updated
from perdure.ports.performer import Performance


class Phase(Enum):
    """``LOADING``: its journal is being read. ``ACTIVE``: it can react. ``STOPPED``: stalled or without code; stimuli are kept aside."""

    LOADING = auto()
    ACTIVE = auto()
    STOPPED = auto()
    ENDED = auto()


class Arrival(Struct, gc=False):
    """Something to take in with the next transition.

    ``stimulus`` goes to the decider and is written as a fact; ``make`` alone gives a fact that is only written. ``inbox_id``: consumed
    by the same commit. ``done`` is resolved after that commit; ``refused`` is told an error instead.
    ``is_retaken``: a reopened run takes it in once more.
    """

    stimulus: Stimulus | None = None
    make: Callable[[Attachments], AnyFact] | None = None
    told: Told = PLAIN
    inbox_id: str | None = None
    is_retaken: bool = False
    done: asyncio.Future[Any] | None = None

    def settle(self, value: Any = None) -> None:
        """It is durable. An update goes on waiting for its answer."""
        if self.done is not None and not self.done.done() and not isinstance(self.stimulus, Updated):
            self.done.set_result(value)

    def answer(self, value: Any) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(value)

    def refuse(self, error: BaseException) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)


def answer_update(arrival: Arrival, answer: AnswerUpdate) -> None:
    """Whoever asked for the update has its answer, or its error."""
    if answer.failure is not None:
        arrival.refuse(exception_of(answer.failure))
    else:
        arrival.answer(answer.content)


class LiveRun:
    """One run on this node. ``row`` is as the store will have it when the commit under way is done. ``is_refused``: its id was taken, and
    nothing of it was written. ``again``: calls that a node before this one may have handed over. ``ending``: of a call, the sequence and
    number of the last attempt whose end is on its way into the journal. ``unserved``: calls of actions that nobody performs.
    """

    __slots__ = (
        "again",
        "answers",
        "arrivals",
        "beats",
        "decider",
        "details",
        "ending",
        "failed_specs",
        "is_committing",
        "is_dirty",
        "is_refused",
        "is_warned",
        "journal_error",
        "last_us",
        "ledger",
        "number",
        "performances",
        "phase",
        "row",
        "specs",
        "unserved",
        "update_waiters",
    )

    def __init__(self, row: RunRow, phase: Phase) -> None:
        self.row = row
        self.phase = phase
        self.decider: Decider | None = None
        self.ledger = Ledger()
        self.number = row.base - 1
        self.arrivals: list[Arrival] = []
        self.is_committing = False
        self.is_dirty = False
        self.is_refused = False
        self.specs: dict[CallName, RunAction] = {}
        self.failed_specs: dict[CallName, ActionSpec] = {}
        self.again: set[CallName] = set()
        self.ending: dict[CallName, tuple[int, int]] = {}
        self.unserved: set[CallName] = set()
        self.performances: dict[CallName, Performance | None] = {}
        self.details: dict[CallName, Content] = {}
        self.beats: dict[CallName, Content] = {}
        self.update_waiters: dict[str, list[Arrival]] = {}
        self.answers: dict[str, AnswerUpdate] = {}
        self.last_us = 0
        self.is_warned = False
        self.journal_error: Exception | None = None

    @property
    def id(self) -> RunId:
        return self.row.id

    def is_idle(self) -> bool:
        """Tell whether the run only waits for time or for the outside, with nothing of it on the way."""
        return not (
            self.arrivals or self.is_committing or self.performances or self.is_dirty or self.update_waiters or self.phase is Phase.LOADING
        )

    def can_advance(self) -> bool:
        """Tell whether something waits that can be taken in: nothing is before the start, which may still be on its way from the inbox."""
        return (
            self.phase is Phase.ACTIVE
            and bool(self.arrivals)
            and (self.number >= self.row.base or type(self.arrivals[0].stimulus) is Begun)
        )

    def missing_action(self) -> str | None:
        """Say which action the run waits for that nobody performs; ``None`` if it waits for none."""
        missing = min((self.specs[call].spec.name for call in self.unserved if call in self.specs), default=None)
        return None if missing is None else f"the action {missing!r} is not registered on this node"

    def adopt(self, call: CallName, spec: ActionSpec) -> None:
        """A call whose action was unknown knows it now; what the call asked for stays."""
        asked = self.specs[call]
        returns = spec.returns if asked.spec.returns is Any else asked.spec.returns
        known = msgspec.structs.replace(spec, returns=returns)
        if asked.spec.is_chosen:
            kept = asked.spec
            known = msgspec.structs.replace(known, retry=kept.retry, timeout_us=kept.timeout_us, on_lost=kept.on_lost, is_chosen=True)
        self.specs[call] = msgspec.structs.replace(asked, spec=known)

    def drop_mind(self) -> None:
        """The code is let go without an effect."""
        if self.decider is not None:
            self.decider.close()
            self.decider = None
