"""How an incarnation ends: for good, or into the next one."""

from msgspec import Raw, json

from perdure.deciders.decider import Definition, RunIdentity, Tools
from perdure.deciders.ledger import Ledger
from perdure.engine.runs.live import Arrival, LiveRun, Phase
from perdure.engine.runs.record import Told
from perdure.engine.runs.writing import Piece, append_row, change_row, post
from perdure.model import command as commands
from perdure.model import fact as facts
from perdure.model.failure import Failure
from perdure.model.ids import CallName
from perdure.model.limits import Limits
from perdure.model.message import EndChild, RequestCancel
from perdure.model.payload import Attachments
from perdure.model.run import HELD, Status
from perdure.model.stimulus import Begun
from perdure.ports.definitions import Definitions
from perdure.ports.store import Batch

Last = commands.Complete | commands.Fail | commands.Cancel

_STATUS: dict[type, Status] = {
    commands.Complete: Status.COMPLETED,
    commands.Fail: Status.FAILED,
    commands.Cancel: Status.CANCELLED,
}


def end_run(piece: Piece, last: Last, state: bytes | None, batch: Batch, limits: Limits) -> None:
    """The run has its final status; its parent, if it has one, will hear of it."""
    run = piece.run
    change_row(run, _STATUS[type(last)], None, batch, state=state)
    run.phase = Phase.ENDED
    piece.has_ended = True
    piece.stopped = [*piece.stopped, *run.ledger.calls]
    tell_parent(piece, last, batch, limits)


def cancel_run(run: LiveRun, reason: str, batch: Batch, limits: Limits) -> Piece:
    """A run without a mind has ended as cancelled, and its children are asked to end."""
    piece = Piece(run, [commands.Cancel(reason)], facts=[facts.CancelRequested(reason), facts.RunCancelled(reason)], posts=[])
    request = RequestCancel(f"its parent {run.row.id} was cancelled")
    for call, child in run.ledger.children.items():
        id = f"{run.row.id}#{run.row.base}#{call}#cancel"
        piece.posts.append(post(batch, child.run, id, run.last_us, lambda _: request, inline_max=limits.payload_inline_max))
    append_row(run, piece.facts, Attachments(limits.payload_inline_max), batch, run.last_us)
    end_run(piece, commands.Cancel(reason), None, batch, limits)
    return piece


def tell_parent(piece: Piece, last: Last, batch: Batch, limits: Limits) -> None:
    """The end of a child is in its parent's inbox."""
    row = piece.run.row
    if row.parent is None or row.parent_call is None:
        return
    base, _, call = row.parent_call.partition("#")
    number = piece.run.number

    def message(attachments: Attachments) -> EndChild:
        if isinstance(last, commands.Complete):
            return EndChild(int(base), CallName(call), value=attachments.place(last.content), number=number)
        failure = last.failure if isinstance(last, commands.Fail) else cancelled_failure(row.id)
        return EndChild(int(base), CallName(call), error=failure, number=number)

    piece.posts.append(post(batch, row.parent, f"{row.id}#end~{number}", piece.run.last_us, message, inline_max=limits.payload_inline_max))


def cancelled_failure(run: str) -> Failure:
    """What a parent sees of a child that was cancelled."""
    return Failure(
        type="perdure.model.errors:RunCancelled",
        message=f"The run {run!r} was cancelled.",
        args=Raw(json.encode((None, {"run": run}))),
    )


def continue_run(
    piece: Piece, last: commands.ContinueAsNew, state: bytes | None, batch: Batch, tools: Tools, definitions: Definitions
) -> None:
    """The run has an empty ledger, a new mind of the newest version, and its start waiting to be taken in."""
    run = piece.run
    assert run.decider is not None
    piece.stopped = [*piece.stopped, *run.ledger.calls]
    answered = _answered(piece)
    begun = Begun(
        last.args,
        last.kwargs,
        run.last_us,
        tuple(run.decider.unread_signals()),
        dict(run.ledger.named_signals),
        run.ledger.end_us,
        answered,
        {answer.id: digest for answer in answered if (digest := run.ledger.named_updates[answer.id])},
    )
    definition: Definition = definitions.definition(run.row.definition)
    run.drop_mind()
    run.row.base, run.row.version = run.number + 1, definition.version
    run.ledger = Ledger()
    run.specs.clear()
    run.failed_specs.clear()
    run.ending.clear()  # The next incarnation's calls have the same names.
    run.again.clear()
    run.unserved.clear()
    run.decider = definition.decider(identity_of(run), tools)
    change_row(run, Status.RUNNING, HELD, batch, state=state)
    batch.truncated[run.row.id] = run.row.base
    run.arrivals.insert(0, Arrival(begun, told=Told(definition=definition.name, version=definition.version)))


def _answered(piece: Piece) -> tuple[commands.AnswerUpdate, ...]:
    """Give the answers of updates that may be sent again: those of which the sender chose the id."""
    run = piece.run
    answers = run.answers | {command.id: command for command in piece.commands if isinstance(command, commands.AnswerUpdate)}
    return tuple([answers[id] for id in sorted(run.ledger.named_updates) if id in answers])


def identity_of(run: LiveRun) -> RunIdentity:
    """Give what a decider knows of its run."""
    row = run.row
    return RunIdentity(row.id, row.base, row.definition, row.version, row.created_us, row.parent, row.tags)
