"""What a run that was just loaded has to catch up on. Protects attempts, timers and messages from being forgotten over a restart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perdure.engine.inbox import mail
from perdure.engine.runs.live import Arrival, LiveRun, Phase
from perdure.engine.runs.loader import Journal, heartbeat_contents
from perdure.model import fact as facts
from perdure.model.ids import CallName
from perdure.model.message import RecordFact
from perdure.model.run import HELD, Status

if TYPE_CHECKING:
    from perdure.engine.node import Node

_ATTEMPT_ENDS = (
    facts.ActionCompleted,
    facts.ActionFailed,
    facts.AttemptFailed,
    facts.ActionPending,
    facts.RetrySucceeded,
    facts.RetryFailed,
)


def recover(
    node: "Node", run: LiveRun, journal: Journal, blobs: dict[str, bytes], *, waiting: Sequence[Arrival], was_stalled: bool
) -> None:
    """What happened before the load, and what arrived during it, is on its way into the run."""
    if run.phase is Phase.ACTIVE:
        _resume(node, run, journal, was_stalled=was_stalled)
    node.postroom.take([*journal.loaded.inbox])
    for arrival in waiting:
        node.pump.tell(run, arrival)
    if run.phase is Phase.ACTIVE:
        node.pump.rest(run)


def _resume(node: "Node", run: LiveRun, journal: Journal, *, was_stalled: bool) -> None:
    was_held = journal.loaded.row.wake_us == HELD
    run.details |= heartbeat_contents(journal.loaded, run.ledger)
    if was_stalled:
        node.pump.tell(run, Arrival(make=lambda _: facts.RunResumed()))
    adopt_actions(node, run)
    outcomes = _kept_outcomes(journal)
    begun = _begun_calls(run, journal) - run.performances.keys() - outcomes
    lost = node.dispatcher.lost_arrivals(run, begun) if was_held or was_stalled else []
    for arrival in lost:
        node.pump.tell(run, arrival)
    waiting = [call for call, entry in run.ledger.calls.items() if not entry.is_pending and entry.retry_us == 0 and call not in outcomes]
    run.again = set(node.dispatcher.outliving(run, waiting))
    node.dispatcher.sift(run, waiting)
    # Where some were lost, what follows their loss hands them over again.
    if due := ([call for call in waiting if call in run.again] if lost else waiting):
        node.pump.change(run, Status.RUNNING, HELD, reason=run.missing_action(), dispatch=due)
    elif was_held and not waiting and not lost and not run.arrivals and run.number >= run.row.base:
        node.pump.change(run, Status.WAITING, run.ledger.next_us())


def adopt_actions(node: "Node", run: LiveRun) -> None:
    """Calls of a run that was just loaded know the actions that this node knows."""
    for call, asked in list(run.specs.items()):
        spec = node.around.definitions.action(asked.spec.name)
        if asked.spec.function is None and spec is not None:
            run.adopt(call, spec)


def _kept_outcomes(journal: Journal) -> set[CallName]:
    """Give the calls whose attempt ended while the run was stopped: what it said lies in the inbox, and is not asked for again."""
    messages = [mail.read(item).message for item in journal.loaded.inbox]
    kept = [message.fact for message in messages if isinstance(message, RecordFact)]
    return {fact.call for fact in kept if isinstance(fact, _ATTEMPT_ENDS)}


def _begun_calls(run: LiveRun, journal: Journal) -> frozenset[CallName]:
    """Give the calls that may have been under way: those whose retry, if they had one, was due when the row was last written."""
    updated_us = journal.loaded.row.updated_us
    parked = journal.loaded.row.reason or ""
    begun = set()
    for call, entry in run.ledger.calls.items():
        if entry.is_pending or entry.retry_us > updated_us or f"{entry.fact.action!r} is not registered" in parked:
            continue
        entry.retry_us = 0
        begun.add(call)
    return frozenset(begun)
