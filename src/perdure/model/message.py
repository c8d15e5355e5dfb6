"""Messages: what other runs, clients and other processes leave in a run's inbox, as JSON. A node turns each into a stimulus."""

import msgspec
from msgspec import Struct

from perdure.model.errors import CorruptJournal
from perdure.model.fact import AnyFact
from perdure.model.failure import Failure
from perdure.model.ids import CallName
from perdure.model.payload import Payload


class Message(Struct, frozen=True, omit_defaults=True, tag_field="message", tag=True):
    """A request to one run."""


class RecordFact(Message, frozen=True):
    """Take this fact in as if it had just happened: a start, or a stimulus that a stalled run could not take."""

    fact: AnyFact


class SendSignal(Message, frozen=True):
    """``id``: the signal's, where the message has another, as messages of clients have."""

    channel: str
    value: Payload
    is_named: bool = False
    digest: str = ""
    id: str = ""


class RequestUpdate(Message, frozen=True):
    """``id``: the update's, where the message has another, as messages of clients have."""

    method: str
    args: tuple[Payload, ...] = ()
    kwargs: dict[str, Payload] = {}
    is_named: bool = False
    digest: str = ""
    id: str = ""


class AskQuery(Message, frozen=True):
    method: str
    args: tuple[Payload, ...] = ()
    kwargs: dict[str, Payload] = {}


class RequestCancel(Message, frozen=True):
    reason: str = ""


class RequestResume(Message, frozen=True):
    pass


class GiveOutcome(Message, frozen=True):
    """Ends an open call from outside: with a value, or with an error."""

    base: int
    call: CallName
    value: Payload | None = None
    error: Failure | None = None


class EndAttempt(Message, frozen=True):
    """How an attempt elsewhere ended: with a value, an error, or (neither) left open for an outside outcome. ``worker``: who says so."""

    base: int
    call: CallName
    attempt: int
    sequence: int = 1
    value: Payload | None = None
    error: Failure | None = None
    took_us: int = 0
    retry_after_us: int | None = None
    error_types: tuple[str, ...] = ()
    worker: str = ""


class EndChild(Message, frozen=True):
    """Tells a parent how its child ended. ``number``: the child's row that says so."""

    base: int
    call: CallName
    value: Payload | None = None
    error: Failure | None = None
    number: int = 0


class RequestRetry(Message, frozen=True):
    """Asks for new attempts of failed calls. ``args`` and ``kwargs`` take the place of the call's if ``has_input``."""

    call: str | None = None
    action: str | None = None
    args: tuple[Payload, ...] = ()
    kwargs: dict[str, Payload] = {}
    has_input: bool = False


class ReopenChild(Message, frozen=True):
    """A parent that waits for this child again wants its end once more. ``number``: the last row of the child that the parent knew."""

    number: int


AnyMessage = (
    RecordFact
    | SendSignal
    | RequestUpdate
    | AskQuery
    | RequestCancel
    | RequestResume
    | GiveOutcome
    | EndAttempt
    | EndChild
    | RequestRetry
    | ReopenChild
)


class Answer(Struct, frozen=True, omit_defaults=True):
    """What a node replies to an update, a query or an outside outcome."""

    value: Payload | None = None
    error: Failure | None = None


_decoder = msgspec.json.Decoder(AnyMessage)
_answers = msgspec.json.Decoder(Answer)
encode_message = msgspec.json.Encoder().encode


def decode_message(body: bytes) -> AnyMessage:
    """Read a message; raises `CorruptJournal` if it is none."""
    try:
        message: AnyMessage = _decoder.decode(body)
        return message
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptJournal(what=f"{error} in the inbox message {body[:80]!r}") from error


def decode_answer(body: bytes) -> Answer:
    """Read an answer; raises `CorruptJournal` if it is none."""
    try:
        return _answers.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptJournal(what=f"{error} in the answer {body[:80]!r}") from error
