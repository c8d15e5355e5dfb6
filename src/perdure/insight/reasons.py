"""Why a run is not done: a typed reason for everything that it waits for (G9)."""

from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import Struct

from perdure.deciders.ledger import Ledger
from perdure.insight.journal import entries, row_of, standing_entries
from perdure.insight.registry import attendance, unserved
from perdure.model.duration import instant
from perdure.model.errors import CorruptJournal
from perdure.model.fact import RunStalled
from perdure.model.ids import CallName, RunId, call_key
from perdure.model.registry import ACTION_RECORDS
from perdure.model.run import RunRow, Status
from perdure.ports.records import Records
from perdure.ports.store import Reader
from perdure.ports.system import SystemClock


class Reason(Struct, frozen=True, tag_field="waits_for", tag=True):
    """Why a run is not done. ``line``: where the code stands, as ``file:line``."""


class ActionReason(Reason, frozen=True, tag="action"):
    """An attempt is due or under way; ``next_attempt``: when it is made, if not now; ``error``: why the one before failed. ``problem``: why
    nobody performs it.
    """

    call: CallName
    action: str
    attempt: int
    next_attempt: datetime | None = None
    error: str | None = None
    line: str = ""
    problem: str | None = None


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


class Sources(Reader, Records, Protocol):
    """What the answer is read from: every store."""


async def why(reader: Sources, run: RunId) -> list[AnyReason]:
    """Tell what an open run waits for; empty for one that has ended (G9)."""
    row = await row_of(reader, run)
    if row.status.is_final:
        return []
    if row.status is Status.STALLED:
        return await _stall_reasons(reader, row)
    reasons: list[AnyReason] = [CodeReason(row.reason)] if row.reason else []
    try:
        ledger = await _ledger(reader, row)
    except CorruptJournal as error:
        return [*reasons, StalledReason(str(error))]
    reasons += [await _with_problem(reader, row, reason) for reason in _open_reasons(row, ledger)]
    return reasons or [NodeReason()]


async def _with_problem(records: Records, row: RunRow, reason: AnyReason) -> AnyReason:
    """Say of a call that waits for a worker that there is none. The registry is asked only where workers are meant."""
    if not isinstance(reason, ActionReason) or reason.next_attempt is not None:
        return reason
    is_parked = f"{reason.action!r} is not registered" in (row.reason or "")
    if not is_parked and not await records.scan(ACTION_RECORDS, prefix=f"{reason.action}/", limit=1):
        return reason
    problem = unserved(await attendance(records, SystemClock().now_us()), reason.action)
    return msgspec.structs.replace(reason, problem=problem)


async def _stall_reasons(reader: Reader, row: RunRow) -> list[AnyReason]:
    """A node without the run's code has written that over the row's reason; the journal still has why it stalled."""
    told = row.reason or ""
    try:
        found = [entry.fact.reason async for entry in entries(reader, row.id, row.base - 1) if isinstance(entry.fact, RunStalled)]
    except CorruptJournal:
        found = []
    if not found or found[-1] == told:
        return [StalledReason(told)]
    return [StalledReason(found[-1]), *([CodeReason(told)] if told else [])]


async def _ledger(reader: Reader, row: RunRow) -> Ledger:
    ledger = Ledger()
    async for entry in standing_entries(reader, row.id, row.base - 1):
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
