"""What must hold for each run by itself, as pure rules: the auditor's, and those of tests."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct

from perdure.deciders.ledger import Ledger
from perdure.model import fact as facts
from perdure.model.errors import CorruptJournal
from perdure.model.fact import AnyFact, decode_facts, supersedes
from perdure.model.ids import RunId
from perdure.model.message import decode_message
from perdure.model.payload import content_of, payloads_in
from perdure.model.run import HELD, Status
from perdure.ports.store import Loaded


class Rule(StrEnum):
    """What was broken. ``gap``: the numbers of a journal. ``unreadable``: a row or message. ``status``: the row disagrees with the journal.
    ``outcome``: more than one for a call, or one for a call that nobody made. ``silent``: nothing will ever move an open run. ``timer``:
    the row would wake it too late. ``blob``: a large value is gone. ``data``: a value lies outside its row.
    """

    GAP = "gap"
    UNREADABLE = "unreadable"
    STATUS = "status"
    OUTCOME = "outcome"
    SILENT = "silent"
    TIMER = "timer"
    BLOB = "blob"
    DATA = "data"


class Fault(Struct, frozen=True):
    """A run for which a rule does not hold, and what was found."""

    run: RunId
    rule: Rule
    text: str


_ENDS: Mapping[type, Status] = {facts.RunCompleted: Status.COMPLETED, facts.RunFailed: Status.FAILED, facts.RunCancelled: Status.CANCELLED}
_MADE = (facts.ActionScheduled, facts.TimerStarted, facts.ChildStarted)
_OUTCOMES = (facts.ActionCompleted, facts.ActionFailed, facts.ChildCompleted, facts.ChildFailed, facts.TimerFired)

_Row = tuple[int, Sequence[AnyFact]]


def faults_of(loaded: Loaded) -> list[Fault]:
    """Give what is wrong with a run, as far as it can be told without other runs and blobs."""
    run, texts = loaded.row.id, list(_gaps(loaded))
    faults = [Fault(run, Rule.GAP, text) for text in texts]
    try:
        rows = [(row.number, decode_facts(row.facts)) for row in loaded.transitions]
        for item in loaded.inbox:
            decode_message(item.body)
    except CorruptJournal as error:
        return [*faults, Fault(run, Rule.UNREADABLE, error.what)]
    faults += [Fault(run, Rule.DATA, text) for text in _misplaced(loaded, rows)]
    faults += [Fault(run, Rule.OUTCOME, text) for text in _outcomes(rows)]
    faults += [Fault(run, Rule.STATUS, text) for text in _statuses(loaded, rows)]
    if not texts:
        faults += _silences(loaded)
    return faults


def _gaps(loaded: Loaded) -> Iterator[str]:
    expected = loaded.row.base
    for row in loaded.transitions:
        if row.number != expected:
            yield f"row {row.number} is where row {expected} should be"
        expected = row.number + 1
    if not loaded.transitions and loaded.row.status.is_final:
        yield f"it is {loaded.row.status.value}, and has no journal"


def _misplaced(loaded: Loaded, rows: Sequence[_Row]) -> Iterator[str]:
    for row, (number, entries) in zip(loaded.transitions, rows, strict=True):
        for payload in payloads_in(entries):
            try:
                if not payload.blob:
                    content_of(payload, row.data, {})
            except CorruptJournal as error:
                yield f"row {number}: {error.what}"


def _outcomes(rows: Sequence[_Row]) -> Iterator[str]:
    made: set[str] = set()
    ended: dict[str, int] = {}
    for number, entries in rows:
        if supersedes(entries):
            # The row before, which ended the run, counts no more; nor do the outcomes of what begins anew.
            again = {call for fact in entries if isinstance(fact, facts.RunReopened) for call in (*fact.calls, *fact.children)}
            ended = {call: at for call, at in ended.items() if at != number - 1 and call not in again}
        for fact in entries:
            if isinstance(fact, _MADE):
                made.add(fact.call)
            elif isinstance(fact, _OUTCOMES):
                if fact.call in ended:
                    yield f"row {number}: call {fact.call} has a second outcome, after that in row {ended[fact.call]}"
                elif fact.call not in made:
                    yield f"row {number}: call {fact.call} has an outcome, and was never made"
                ended[fact.call] = number


def _statuses(loaded: Loaded, rows: Sequence[_Row]) -> Iterator[str]:
    status, last = loaded.row.status, rows[-1][1] if rows else ()
    ends = [_ENDS[type(fact)] for fact in last if type(fact) in _ENDS]
    if status.is_final and rows and status not in ends:
        yield f"its row says {status.value}; its journal says {ends[0].value if ends else 'that it has not ended'}"
    if not status.is_final and ends:
        yield f"its row says {status.value}; its journal says that it is {ends[0].value}"
    if status is Status.STALLED and not _has_stalled(rows):
        yield "its row says stalled; its journal does not say why"
    for (number, entries), (_, following) in pairwise(rows):
        if any(type(fact) in _ENDS for fact in entries) and not supersedes(following):
            yield f"its journal goes on after its end in row {number}"


def _has_stalled(rows: Sequence[_Row]) -> bool:
    has_stalled = False
    for _, entries in rows:
        for fact in entries:
            if isinstance(fact, facts.RunStalled | facts.RunResumed):
                has_stalled = isinstance(fact, facts.RunStalled)
    return has_stalled


def _silences(loaded: Loaded) -> Iterator[Fault]:
    row = loaded.row
    if row.status.is_final or row.status is Status.STALLED or row.wake_us == HELD:
        return
    ledger = _ledger(loaded)
    due_us = ledger.next_us()
    if due_us is not None and (row.wake_us is None or row.wake_us > due_us):
        yield Fault(row.id, Rule.TIMER, f"a timer or retry is due at {due_us}; its row would wake it {_instant(row.wake_us)}")
    if row.wake_us is not None or loaded.inbox:
        return
    idle = [call for call, entry in ledger.calls.items() if not entry.is_pending and entry.retry_us == 0]
    if idle:
        yield Fault(row.id, Rule.SILENT, f"call {idle[0]} is open; nobody holds the run, and nothing wakes it")
    elif not loaded.transitions:
        yield Fault(row.id, Rule.SILENT, "it has not begun; its start is not in its inbox, and nothing wakes it")
    elif row.status is Status.RUNNING:
        yield Fault(row.id, Rule.SILENT, "its row says running; nobody holds it, and nothing wakes it")


def _instant(wake_us: int | None) -> str:
    return "never" if wake_us is None else f"at {wake_us}"


def _ledger(loaded: Loaded) -> Ledger:
    ledger = Ledger()
    read = [(row, decode_facts(row.facts)) for row in loaded.transitions]
    for at, (row, entries) in enumerate(read):
        if at + 1 == len(read) or not supersedes(read[at + 1][1]):
            ledger.apply_all(entries, row.at_us, row.data)
    return ledger


def children_awaited(loaded: Loaded) -> list[RunId]:
    """Give the children that an open run waits for and of whose end it has no message."""
    if loaded.row.status.is_final or loaded.row.status is Status.STALLED:
        return []
    try:
        waited = _ledger(loaded).children.values()
        return [child.run for child in waited if not any(item.id.startswith(f"{child.run}#end") for item in loaded.inbox)]
    except CorruptJournal:
        return []
