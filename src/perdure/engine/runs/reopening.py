"""What it takes to reopen a run that has ended. Protects real work from being rewound: only the row that ended the run is taken back."""

from collections.abc import Sequence
from typing import NoReturn

from msgspec import Struct, field
from msgspec.structs import replace

from perdure.engine.runs.live import Arrival
from perdure.engine.runs.loader import Journal
from perdure.engine.runs.record import ENGINE_FACTS, ContentOf, Told, blobs_of, placed_again, stimulus_of_fact
from perdure.model import fact as facts
from perdure.model.errors import CorruptJournal, NotRetryable
from perdure.model.fact import AnyFact, decode_facts, supersedes
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Attachments, Content
from perdure.model.run import RunRow, Status, Transition
from perdure.ports.store import Loaded

RESTART = "Start it again with on_ended='restart'."

_FORGOTTEN = (facts.RunStalled, facts.RunResumed, facts.RunReopened)


class Asked(Struct, frozen=True, kw_only=True):
    """What to retry: of the failed calls those of this name and action. ``args``: new arguments of the only call, ``None`` to keep them."""

    call: str | None = None
    action: str | None = None
    args: tuple[Content, ...] | None = None
    kwargs: dict[str, Content] = {}

    @property
    def is_all(self) -> bool:
        """Tell whether nothing was left out."""
        return self.call is None and self.action is None

    def means(self, call: str, action: str) -> bool:
        """Tell whether a call of an action is one of those asked for."""
        return self.call in (None, call) and self.action in (None, action)


class Reopening(Struct):
    """A run that can go on. ``journal``: without the row that ended it, which is ``last`` with ``entries``. ``failed``: the calls to retry.

    ``children``: those that it waits for again, by call. ``ends_known``: for each, the last row that is known of it.
    """

    row: RunRow
    journal: Journal
    last: Transition
    entries: list[AnyFact]
    failed: list[CallName]
    children: dict[CallName, RunId]
    blobs: set[str]
    ends_known: dict[CallName, int] = field(default_factory=dict)

    def calls(self) -> dict[CallName, int]:
        """Give the calls of actions that are made again: the failed ones, and those that were under way. Each with its new sequence."""
        told = {fact.call for fact in self.entries if isinstance(fact, _OF_CALLS)} - set(self.failed)
        again = {}
        for call, entry in self.journal.ledger.calls.items():
            waits = entry.is_pending or entry.retry_us > self.last.at_us
            if call in self.failed or not (call in told or waits):
                again[call] = entry.sequence + 1
        return again

    def state(self) -> bytes | None:
        """Give the published state that holds again; ``None`` if the last row published none."""
        if not any(isinstance(fact, facts.StatePublished) for fact in self.entries):
            return None
        before = [fact for _, entries in self.journal.rows for fact in entries if isinstance(fact, facts.StatePublished)]
        return bytes(before[-1].state) if before else b"{}"

    def retaken(self, content: ContentOf) -> list[Arrival]:
        """Give what the last row took in, but for the failures that are retried and the cancel that ended it."""
        is_cancelled = self.row.status is Status.CANCELLED
        arrivals = []
        for fact in self.entries:
            if isinstance(fact, _FORGOTTEN) or (isinstance(fact, facts.CancelRequested) and is_cancelled) or self._is_retried(fact):
                continue
            stimulus = stimulus_of_fact(fact, content)
            if stimulus is not None:
                told = Told(getattr(fact, "attempt", 1), getattr(fact, "took_us", 0), isinstance(fact, facts.ChildCompleted))
                arrivals.append(Arrival(stimulus, told=told, is_retaken=True))
            elif isinstance(fact, ENGINE_FACTS):
                arrivals.append(_engine_arrival(fact, content))
        return arrivals

    def _is_retried(self, fact: AnyFact) -> bool:
        return isinstance(fact, facts.ActionFailed | facts.ChildFailed) and (fact.call in self.failed or fact.call in self.children)

    def first(self, asked: Asked) -> Arrival:
        """Give the arrival that reopens the run."""

        def make(attachments: Attachments) -> facts.RunReopened:
            if asked.args is None:
                return facts.RunReopened(self.calls(), self.ends_known)
            args = tuple(attachments.place(content) for content in asked.args)
            kwargs = {name: attachments.place(content) for name, content in asked.kwargs.items()}
            return facts.RunReopened(self.calls(), self.ends_known, args, kwargs, has_input=True)

        return Arrival(make=make, is_retaken=True)


_OF_CALLS = (
    facts.ActionCompleted,
    facts.ActionFailed,
    facts.AttemptFailed,
    facts.AttemptLost,
    facts.ActionPending,
    facts.RetrySucceeded,
    facts.RetryFailed,
)


def _engine_arrival(fact: AnyFact, content: ContentOf) -> Arrival:
    return Arrival(make=lambda attachments: placed_again(fact, content, attachments), is_retaken=True)


def reopening_of(loaded: Loaded) -> Reopening:
    """Tell how a failed run, or a child that was cancelled, can go on. Raises `NotRetryable`, `CorruptJournal`."""
    row, rows = loaded.row, loaded.transitions
    whole = Journal(loaded)
    if whole.error is not None:
        raise whole.error
    if not rows:
        raise CorruptJournal(what=f"run {row.id!r} is {row.status}, but it has no journal")
    last, entries = rows[-1], decode_facts(rows[-1].facts)
    if supersedes(entries):
        raise NotRetryable(run=row.id, found="it was reopened and ended at once, by what had come beside the failure", instead=RESTART)
    journal = Journal(replace(loaded, transitions=rows[:-1]))
    failed = [fact.call for fact in entries if isinstance(fact, facts.ActionFailed)]
    causes: list[AnyFact] = [fact for fact in entries if isinstance(fact, facts.ActionFailed | facts.ChildFailed)]
    if row.status is Status.CANCELLED:
        causes += [fact for fact in entries if isinstance(fact, facts.CancelRequested)]
    if not causes:
        _refuse(row, entries, journal)
    _refuse_sent(row, last, entries)
    completed = {fact.call for fact in entries if isinstance(fact, facts.ChildCompleted)}
    children = {call: child.run for call, child in journal.ledger.children.items() if call not in completed}
    return Reopening(row, journal, last, entries, failed, children, journal.blobs | blobs_of(entries) | _arguments(journal))


def _arguments(journal: Journal) -> set[str]:
    fed = [*(entry.fact for entry in journal.ledger.calls.values())]
    return {payload.blob for fact in fed for payload in (*fact.args, *fact.kwargs.values()) if payload.blob}


def _refuse(row: RunRow, entries: Sequence[AnyFact], journal: Journal) -> NoReturn:
    """Say why there is nothing in the last row to retry: the code went on after the failure, or no call failed."""
    ended = next((fact for fact in entries if isinstance(fact, facts.RunFailed)), None)
    if ended is None:
        raise NotRetryable(run=row.id, found=f"it is {row.status}, and its code had something to do after the cancel", instead=RESTART)
    for at in range(len(journal.rows) - 1, -1, -1):
        for fact in journal.rows[at][1]:
            if isinstance(fact, facts.ActionFailed | facts.ChildFailed) and _is_of(ended.error, fact.error):
                _refuse_rewinding(row, journal, at, fact)
    error = f"{ended.error.type.rpartition(':')[2]}: {ended.error.message}"
    found = f"no failed call ended it, but an exception of its own code: {error}"
    raise NotRetryable(run=row.id, found=found, instead=f"Mend the code. {RESTART}")


def _is_of(error: Failure | None, cause: Failure) -> bool:
    """Tell whether an error is, or was caused by, another."""
    while error is not None:
        if (error.type, error.message) == (cause.type, cause.message):
            return True
        error = error.cause
    return False


def _refuse_rewinding(row: RunRow, journal: Journal, at: int, fact: facts.ActionFailed | facts.ChildFailed) -> NoReturn:
    later = [entry for _, entries in [(None, journal.rows[at][1]), *journal.rows[at + 1 :]] for entry in entries]
    what = [f"{type(entry).__name__} {getattr(entry, 'action', '')}".strip() for entry in later[later.index(fact) + 1 :]]
    told = ", ".join(what[:3]) + (", …" if len(what) > 3 else "")
    found = f"its call {fact.call} failed in row {journal.rows[at][0].number}, and the code went on after it ({told or 'it waited'})"
    raise NotRetryable(run=row.id, found=found, instead=f"To take that back is not for the engine to do. {RESTART}")


def _refuse_sent(row: RunRow, last: Transition, entries: Sequence[AnyFact]) -> None:
    for fact in entries:
        if isinstance(fact, facts.SignalSent | facts.ChildStarted):
            what = f"sent a signal to {fact.run}" if isinstance(fact, facts.SignalSent) else f"started the run {fact.run}"
            found = f"in row {last.number}, after the failure, its code {what} (call {fact.call})"
            raise NotRetryable(run=row.id, found=found, instead=f"That cannot be taken back. {RESTART}")
