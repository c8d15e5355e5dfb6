"""Read-only questions about runs, answered from what the store has."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from perdure.deciders.ledger import Ledger
from perdure.model import fact as facts
from perdure.model.duration import instant
from perdure.model.errors import CorruptJournal, RunNotFound
from perdure.model.fact import AnyFact, as_json, decode_facts
from perdure.model.ids import CallName, RunId, call_key
from perdure.model.payload import Content, Payload, content_of
from perdure.model.run import RunRow, Status
from perdure.ports.store import Reader

PAGE = 500


class Entry(Struct, frozen=True):
    """One fact of a journal: ``number`` of its row (facts of one transition share it), the instant of the transition, the fact."""

    number: int
    at: datetime
    fact: AnyFact
    data: bytes | None = None

    @property
    def name(self) -> str:
        """What happened, such as ``ActionCompleted``."""
        return type(self.fact).__name__

    def as_json(self) -> dict[str, Any]:
        """Give the entry as plain JSON values."""
        return {"number": self.number, "at": self.at.isoformat(), **as_json(self.fact)}


async def entries(reader: Reader, run: RunId, after: int = 0) -> AsyncIterator[Entry]:
    """Give the journal's facts, oldest first, from the row after ``after`` on. Raises `CorruptJournal` at a row that cannot be read."""
    while page := await reader.transitions(run, after, PAGE):
        for row in page:
            for fact in decode_facts(row.facts):
                yield Entry(row.number, instant(row.at_us), fact, row.data)
        after = page[-1].number


class Reason(Struct, frozen=True, tag_field="waits_for", tag=True):
    """Why a run is not done. ``line``: where the code stands, as ``file:line``."""


class ActionReason(Reason, frozen=True, tag="action"):
    """An attempt is due or under way; ``next_attempt``: when it is made, if not now; ``error``: why the one before failed."""

    call: CallName
    action: str
    attempt: int
    next_attempt: datetime | None = None
    error: str | None = None
    line: str = ""


class OutsideReason(Reason, frozen=True, tag="outside"):
    """The action left its call open; ``engine.complete(key, …)`` ends it."""

    call: CallName
    action: str
    key: str
    line: str = ""


class TimerReason(Reason, frozen=True, tag="timer"):
    call: CallName
    due: datetime
    line: str = ""


class SignalReason(Reason, frozen=True, tag="signal"):
    call: CallName
    channel: str
    line: str = ""


class ChildReason(Reason, frozen=True, tag="child"):
    call: CallName
    run: RunId
    definition: str
    line: str = ""


class CodeReason(Reason, frozen=True, tag="code"):
    """The code of the run, or an action it calls, is not registered on the node that holds it."""

    problem: str


class StalledReason(Reason, frozen=True, tag="repair"):
    """The run is stalled; it goes on when the cause is mended and it is resumed."""

    problem: str


class NodeReason(Reason, frozen=True, tag="node"):
    """Nothing of the run is open: a node has to take it up."""

    problem: str = "no node has taken it up yet; is one running on this store?"


class BranchReason(Reason, frozen=True, tag="branch"):
    """A branch of the code stands here, waiting for another branch (a lock, an event, a queue)."""

    branch: str
    line: str
    function: str


AnyReason = ActionReason | OutsideReason | TimerReason | SignalReason | ChildReason | CodeReason | StalledReason | NodeReason | BranchReason


async def row_of(reader: Reader, run: RunId) -> RunRow:
    """Give the run's row; raises `RunNotFound`."""
    row = await reader.row(run)
    if row is None:
        raise RunNotFound(run=run)
    return row


async def why(reader: Reader, run: RunId) -> list[AnyReason]:
    """Tell what an open run waits for; empty for one that has ended (G9)."""
    row = await row_of(reader, run)
    if row.status.is_final:
        return []
    if row.status is Status.STALLED:
        return [StalledReason(row.reason or "")]
    reasons: list[AnyReason] = [CodeReason(row.reason)] if row.reason else []
    try:
        ledger = await _ledger(reader, row)
    except CorruptJournal as error:
        return [*reasons, StalledReason(str(error))]
    reasons += _open_reasons(row, ledger)
    return reasons or [NodeReason()]


async def _ledger(reader: Reader, row: RunRow) -> Ledger:
    ledger = Ledger()
    async for entry in entries(reader, row.id, row.base - 1):
        ledger.apply(entry.fact, 0, entry.data)
    return ledger


def _open_reasons(row: RunRow, ledger: Ledger) -> list[AnyReason]:
    reasons: list[AnyReason] = []
    for call, entry in ledger.calls.items():
        action, line = entry.fact.action, entry.fact.line
        if entry.is_pending:
            reasons.append(OutsideReason(call, action, call_key(row.id, row.base, call), line))
            continue
        later = instant(entry.retry_us) if entry.retry_us else None
        error = None if entry.error is None else f"{entry.error.type.rpartition(':')[2]}: {entry.error.message}"
        reasons.append(ActionReason(call, action, entry.attempt, later, error, line))
    reasons += [TimerReason(call, instant(timer.due_us), timer.line) for call, timer in ledger.timers.items()]
    reasons += [SignalReason(call, awaited.channel, awaited.line) for call, awaited in ledger.awaited.items()]
    reasons += [ChildReason(call, child.run, child.definition, child.line) for call, child in ledger.children.items()]
    return reasons


async def last_word(reader: Reader, run: RunId) -> tuple[facts.RunCompleted | facts.RunFailed | facts.RunCancelled, bytes | None]:
    """Give the fact that ended a run, and what lies beside its row. Raises `CorruptJournal` if an ended run's journal has none."""
    row = await row_of(reader, run)
    found = None
    async for entry in entries(reader, run, row.base - 1):
        if isinstance(entry.fact, facts.RunCompleted | facts.RunFailed | facts.RunCancelled):
            found = (entry.fact, entry.data)
    if found is None:
        raise CorruptJournal(what=f"run {run!r} is {row.status}, but its journal does not say how it ended")
    return found


async def content(reader: Reader, payload: Payload, data: bytes | None) -> Content:
    """Give a payload's content, fetching its blob if it has one."""
    blobs = await reader.blobs([payload.blob]) if payload.blob else {}
    return content_of(payload, data, blobs)
