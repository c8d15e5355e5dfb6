"""Messages become arrivals. Protects from a message being lost between its post and the transition that takes it (G5)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, assert_never

import msgspec
from msgspec import Struct

from perdure.engine.runs.live import Arrival
from perdure.engine.runs.record import Told, blobs_of, placed_again, stimulus_of_fact
from perdure.engine.runs.reopening import Asked
from perdure.model import message as messages
from perdure.model.call import Outcome
from perdure.model.errors import PerdureError
from perdure.model.fact import ChildCompleted, ChildFailed, RunStarted
from perdure.model.failure import Failure, failure_of
from perdure.model.message import Answer, AnyMessage, decode_message
from perdure.model.payload import Attachments, Content, Payload, content_of
from perdure.model.stimulus import CancelAsked, Failed, Signalled, Stimulus, Succeeded, Updated
from perdure.ports.store import InboxItem, Reply


class Letter(Struct):
    """An inbox item, read. ``error``: it could not be."""

    item: InboxItem
    message: AnyMessage | None = None
    error: PerdureError | None = None

    def content(self, blobs: dict[str, bytes]) -> Callable[[Payload], Content]:
        return lambda payload: content_of(payload, self.item.data, blobs)


def read(item: InboxItem) -> Letter:
    """Read an inbox item; never raises."""
    try:
        return Letter(item, decode_message(item.body))
    except PerdureError as error:
        return Letter(item, error=error)


def payloads_of(message: AnyMessage | None) -> Sequence[Payload]:
    """Give the payloads that a message carries."""
    match message:
        case messages.SendSignal():
            return (message.value,)
        case messages.RequestUpdate() | messages.AskQuery() | messages.RequestRetry():
            return (*message.args, *message.kwargs.values())
        case messages.GiveOutcome() | messages.EndChild() | messages.EndAttempt():
            return () if message.value is None else (message.value,)
        case _:
            return ()


def blobs_wanted(letters: Sequence[Letter]) -> set[str]:
    """Give the content hashes that reading these letters needs."""
    wanted = {payload.blob for letter in letters for payload in payloads_of(letter.message) if payload.blob}
    for letter in letters:
        if isinstance(letter.message, messages.RecordFact):
            wanted |= blobs_of([letter.message.fact])
    return wanted


def stimulus_arrival(letter: Letter, blobs: dict[str, bytes]) -> Arrival | None:
    """Give the arrival of a message that moves the decider; ``None`` for requests to the engine itself."""
    content, message = letter.content(blobs), letter.message
    match message:
        case messages.RecordFact():
            return _recorded(message, content)
        case messages.SendSignal():
            id = message.id or letter.item.id
            return Arrival(Signalled(id, message.channel, content(message.value), message.is_named, message.digest))
        case messages.RequestUpdate():
            args = tuple(content(payload) for payload in message.args)
            kwargs = {name: content(payload) for name, payload in message.kwargs.items()}
            return Arrival(Updated(message.id or letter.item.id, message.method, args, kwargs, message.is_named, message.digest))
        case messages.RequestCancel():
            return Arrival(CancelAsked(message.reason))
        case messages.EndChild():
            return Arrival(outcome(message, content), told=Told(is_child=True))
        case messages.AskQuery() | messages.RequestResume() | messages.GiveOutcome() | messages.EndAttempt() | None:
            return None
        case messages.RequestRetry() | messages.ReopenChild():
            return None
        case _:
            assert_never(message)


def _recorded(message: messages.RecordFact, content: Callable[[Payload], Content]) -> Arrival:
    fact = message.fact
    stimulus = stimulus_of_fact(fact, content)
    if stimulus is None:
        return Arrival(make=lambda attachments: placed_again(fact, content, attachments))
    told = Told(
        attempt=getattr(fact, "attempt", 1),
        took_us=getattr(fact, "took_us", 0),
        is_child=isinstance(fact, ChildCompleted | ChildFailed),
        definition=fact.definition if isinstance(fact, RunStarted) else "",
        version=fact.version if isinstance(fact, RunStarted) else 1,
    )
    return Arrival(stimulus, told=told)


def asked(message: messages.RequestRetry, content: Callable[[Payload], Content]) -> Asked:
    """Give what a message asks to retry."""
    if not message.has_input:
        return Asked(call=message.call, action=message.action)
    args = tuple(content(payload) for payload in message.args)
    kwargs = {name: content(payload) for name, payload in message.kwargs.items()}
    return Asked(call=message.call, action=message.action, args=args, kwargs=kwargs)


def attempt_outcome(message: messages.EndAttempt, content: Callable[[Payload], Content]) -> Outcome:
    """Give how an attempt elsewhere ended."""
    return Outcome(
        None if message.value is None else content(message.value),
        message.error,
        took_us=message.took_us,
        retry_after_us=message.retry_after_us,
        error_types=message.error_types,
    )


def outcome(message: messages.GiveOutcome | messages.EndChild, content: Callable[[Payload], Content]) -> Stimulus:
    """Give the stimulus of an outcome that came from outside."""
    if message.value is not None:
        return Succeeded(message.call, content(message.value))
    return Failed(message.call, message.error or Failure("builtins:Exception"))


def reply_of(id: str, now_us: int, inline_max: int, future: "asyncio.Future[Any]") -> tuple[Reply, dict[str, bytes]]:
    """Give the reply that tells how ``future`` ended, and its blobs."""
    attachments = Attachments(inline_max)
    error = future.exception()
    if error is not None:
        answer = Answer(error=failure_of(error))
    else:
        value = future.result()
        answer = Answer(value=attachments.place(value) if isinstance(value, Content) else None)
    data = None if attachments.data is None else bytes(attachments.data)
    return Reply(id, now_us, msgspec.json.encode(answer), data), attachments.blobs or {}
