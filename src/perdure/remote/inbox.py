"""Outcomes of attempts elsewhere as messages to their runs. Protects them where the run is another node's, or asleep."""

import msgspec

from perdure.model import call as model
from perdure.model.errors import InvalidMessage
from perdure.model.ids import split_call_key
from perdure.model.message import EndAttempt, encode_message
from perdure.model.payload import Attachments
from perdure.ports.store import Batch, InboxItem
from perdure.wire.attempts import outcome_of, split_attempt_id
from perdure.wire.messages import Outcome


def end_of(message: Outcome) -> tuple[EndAttempt, model.Outcome]:
    """Give what an outcome says of which attempt; its value is in the second only. Raises `InvalidMessage`."""
    outcome, parts = outcome_of(message), split_attempt_id(message.id)
    names = None if parts is None else split_call_key(parts[0])
    if parts is None or names is None:
        raise InvalidMessage(problem=f"{message.id!r} is no id of an attempt")
    _, base, call = names
    ended = EndAttempt(
        base,
        call,
        parts[2],
        parts[1],
        error=outcome.failure,
        took_us=outcome.took_us,
        retry_after_us=outcome.retry_after_us,
        error_types=outcome.error_types,
        worker=message.worker,
    )
    return ended, outcome


def post_outcome(message: Outcome, batch: Batch, now_us: int, *, inline_max: int) -> InboxItem:
    """The outcome is in the batch, for the inbox of its run; the same message whenever it is asked for. Raises `InvalidMessage`."""
    ended, outcome = end_of(message)
    names = split_call_key(message.id.rpartition("~")[0])
    assert names is not None
    attachments = Attachments(inline_max)
    value = None if outcome.content is None else attachments.place(outcome.content)
    body = encode_message(msgspec.structs.replace(ended, value=value))
    data = None if attachments.data is None else bytes(attachments.data)
    item = InboxItem(names[0], f"{message.id}#outcome", now_us, body, data)
    batch.posts.append(item)
    batch.blobs.update(attachments.blobs or {})
    return item
