"""Audits what every store promises of every run, whatever its code does. Gives one line for each thing that is wrong."""

from collections import Counter
from collections.abc import Iterable, Iterator

from perdure.deciders.ledger import Ledger
from perdure.model import fact as facts
from perdure.model.fact import AnyFact
from perdure.model.run import HELD
from tests.torture.books import Books, Row, RunEntry

_ENDS = {facts.RunCompleted: "completed", facts.RunFailed: "failed", facts.RunCancelled: "cancelled"}
_BEGINS = (facts.ActionScheduled, facts.TimerStarted, facts.SignalAwaited, facts.ChildStarted)
_OUTCOMES = (
    facts.ActionCompleted, facts.ActionFailed, facts.CallCancelled, facts.TimerFired, facts.TimerCancelled, facts.SignalTaken,
    facts.ChildCompleted, facts.ChildFailed,
)  # fmt: skip
LATE_US = 5_000_000
"""A node may be that late with a run that is due."""


def audit_journals(books: Books) -> Iterator[str]:
    """Give what is wrong with the runs and their journals."""
    for run in books.runs.values():
        rows = books.journals.get(run.id, [])
        entries = [fact for row in rows for fact in row.facts]
        for complaint in (*_gaps(run, rows), *_ends(run, entries), *_calls(entries), *_deliveries(entries), *_children(books, entries)):
            yield f"{run.id}: {complaint}"
        if (silence := _silence(run, rows, books.now_us)) is not None:
            yield f"{run.id}: {silence}"
    yield from (f"{run}: a journal without a run" for run in books.journals.keys() - books.runs.keys())


def _gaps(run: RunEntry, rows: list[Row]) -> Iterator[str]:
    numbers = [row.number for row in rows]
    if numbers != list(range(run.base, run.base + len(numbers))):
        yield f"its journal has the rows {numbers} and should begin with {run.base} and have no gap"
    if rows and not isinstance(rows[0].facts[0], facts.RunStarted):
        yield f"its journal begins with {type(rows[0].facts[0]).__name__}"


def _ends(run: RunEntry, entries: list[AnyFact]) -> Iterator[str]:
    ends = [position for position, fact in enumerate(entries) if type(fact) in _ENDS]
    if len(ends) > 1:
        yield f"it ended {len(ends)} times"
    if ends and ends[-1] != len(entries) - 1:
        yield f"its journal goes on after its end, with {type(entries[-1]).__name__}"
    told = _ENDS[type(entries[ends[0]])] if ends else None
    row = run.status if run.status in _ENDS.values() else None
    if told != row:
        yield f"its row says {run.status} and its journal {told or 'nothing of an end'}"


def _calls(entries: list[AnyFact]) -> Iterator[str]:
    """One beginning and at most one outcome for each call."""
    begun = Counter(fact.call for fact in entries if isinstance(fact, _BEGINS))
    ended = Counter(fact.call for fact in entries if isinstance(fact, _OUTCOMES))
    yield from (f"call {call} was scheduled {count} times" for call, count in begun.items() if count > 1)
    yield from (f"call {call} has {count} outcomes" for call, count in ended.items() if count > 1)
    # A signal that came early is taken without a wait.
    taken = {fact.call for fact in entries if isinstance(fact, facts.SignalTaken)}
    yield from (f"call {call} has an outcome and was never scheduled" for call in ended.keys() - begun.keys() - taken)


def _deliveries(entries: list[AnyFact]) -> Iterator[str]:
    """Each signal is received once and taken once, each update accepted once."""
    received = Counter(fact.id for fact in entries if isinstance(fact, facts.SignalReceived))
    taken = Counter(fact.id for fact in entries if isinstance(fact, facts.SignalTaken))
    updated = Counter(fact.id for fact in entries if isinstance(fact, facts.UpdateAccepted))
    for what, counts in (("signal {} was received", received), ("signal {} was taken", taken), ("update {} was accepted", updated)):
        yield from (f"{what.format(id)} {count} times" for id, count in counts.items() if count > 1)
    yield from (f"signal {id} was taken and never received" for id in taken.keys() - received.keys())


def _children(books: Books, entries: Iterable[AnyFact]) -> Iterator[str]:
    """A child that the journal tells of is there, and ended as it says."""
    told = {fact.call: type(fact) for fact in entries if isinstance(fact, facts.ChildCompleted | facts.ChildFailed)}
    for fact in entries:
        if not isinstance(fact, facts.ChildStarted):
            continue
        child = books.runs.get(fact.run)
        if child is None:
            yield f"its child {fact.run} is not there"
        elif told.get(fact.call) is facts.ChildCompleted and child.status != "completed":
            yield f"its child {fact.run} is said to have completed and is {child.status}"


def _silence(run: RunEntry, rows: list[Row], now_us: int) -> str | None:
    """An open run has something that will move it: a live holder, a due time, a message, or a wait for the outside (G9)."""
    if run.status in _ENDS.values() or run.has_mail:
        return None
    if run.wake_us == HELD:
        is_held = run.holder_until_us is not None and run.holder_until_us + LATE_US > now_us
        return None if is_held else "it is held, and by nobody who lives"
    if run.wake_us is not None:
        return None if run.wake_us + LATE_US > now_us else f"it was due {(now_us - run.wake_us) / 1e6:.1f} s ago and nobody came"
    if run.status == "stalled":
        return None
    ledger = Ledger()
    for row in rows:
        ledger.apply_all(row.facts, row.at_us, None)
    waits_outside = ledger.awaited or ledger.children or any(call.is_pending for call in ledger.calls.values())
    return None if waits_outside else "it is silent: no due time, no message, and no wait for the outside"
