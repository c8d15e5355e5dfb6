"""What a transition leaves in the batch: journal row, changed run row, messages to other runs."""

from collections.abc import Callable, Sequence

from msgspec import UNSET, Struct

from perdure.engine.runs.live import Arrival, LiveRun
from perdure.model.command import Command
from perdure.model.durability import strongest
from perdure.model.fact import AnyFact, encode_facts
from perdure.model.ids import CallName, RunId
from perdure.model.message import AnyMessage, encode_message
from perdure.model.payload import Attachments
from perdure.model.run import RunChange, Status, Transition
from perdure.ports.store import Batch, InboxItem


class Piece(Struct, gc=False):
    """What follows from one transition once it is durable. ``stopped``: calls whose attempts are no longer wanted."""

    run: LiveRun
    commands: Sequence[Command] = ()
    settled: Sequence[Arrival] = ()
    stopped: Sequence[CallName] = ()
    posts: list[InboxItem] = []
    facts: Sequence[AnyFact] = ()
    dispatch: Sequence[CallName] = ()
    has_ended: bool = False
    has_stalled: bool = False


def append_row(run: LiveRun, entries: Sequence[AnyFact], attachments: Attachments, batch: Batch, now_us: int) -> None:
    """The facts are the run's next journal row, in the batch and in the ledger."""
    run.number += 1
    if (durability := run.row.durability) is not batch.durability:
        batch.durability = strongest(durability, batch.durability)
    data = None if attachments.data is None else bytes(attachments.data)
    batch.rows.append(Transition(run.row.id, run.number, now_us, encode_facts(entries), data))
    if attachments.blobs is not None:
        batch.blobs.update(attachments.blobs)
    run.ledger.apply_all(entries, now_us, data)


def change_row(
    run: LiveRun, status: Status, wake_us: int | None, batch: Batch, *, reason: str | None = None, state: bytes | None = None
) -> None:
    """The run's row has these values, in the batch and in memory; without ``state`` the published state stays."""
    row = run.row
    row.status, row.wake_us, row.reason, row.updated_us = status, wake_us, reason, run.last_us
    if state is not None:
        row.state = state
    batch.changes.append(
        RunChange(
            id=row.id,
            status=status,
            updated_us=run.last_us,
            wake_us=wake_us,
            base=row.base,
            reason=reason,
            state=UNSET if state is None else state,
            version=row.version,
        )
    )


def post(batch: Batch, to: RunId, id: str, now_us: int, make: Callable[[Attachments], AnyMessage], *, inline_max: int) -> InboxItem:
    """A message for another run is in the batch; gives the item."""
    attachments = Attachments(inline_max)
    body = encode_message(make(attachments))
    if attachments.blobs is not None:
        batch.blobs.update(attachments.blobs)
    item = InboxItem(to, id, now_us, body, None if attachments.data is None else bytes(attachments.data))
    batch.posts.append(item)
    return item
