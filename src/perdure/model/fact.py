"""Facts: what a journal says, past tense. A journal row is a JSON list of them, so any JSON tool can read it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from perdure.model.errors import CorruptJournal
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Payload


class Fact(Struct, frozen=True, omit_defaults=True, gc=False, tag_field="fact", tag=True):
    """A fact of one run. ``line`` fields name the user's source line as ``file:line``."""


class RunStarted(Fact, frozen=True, gc=False):
    """The run (or its next incarnation) began. ``carried``: signals not yet read by the incarnation before. ``seen``: digests of
    the signals that were sent with an id, by id. ``end_us``: when the run must have ended. ``answered``: updates
    that were sent with an id and have their answer. ``asked``: digests of these, by id.
    """

    definition: str
    args: tuple[Payload, ...] = ()
    kwargs: dict[str, Payload] = {}
    version: int = 1
    seed: int = 0
    carried: tuple["SignalReceived", ...] = ()
    seen: dict[str, str] = {}
    end_us: int | None = None
    answered: tuple["UpdateCompleted | UpdateFailed", ...] = ()
    asked: dict[str, str] = {}


class ActionScheduled(Fact, frozen=True, gc=False):
    call: CallName
    action: str
    args: tuple[Payload, ...] = ()
    kwargs: dict[str, Payload] = {}
    line: str = ""


class ActionCompleted(Fact, frozen=True, gc=False):
    call: CallName
    value: Payload
    attempt: int = 1
    took_us: int = 0


class ActionFailed(Fact, frozen=True, gc=False):
    call: CallName
    error: Failure
    attempt: int = 1
    took_us: int = 0


class AttemptFailed(Fact, frozen=True, gc=False):
    """An attempt failed and another follows at ``retry_us``. ``details``: the last heartbeat."""

    call: CallName
    attempt: int
    error: Failure
    retry_us: int
    details: Payload | None = None
    took_us: int = 0


class AttemptLost(Fact, frozen=True, gc=False):
    """The node that ran this attempt ended without a word; the next attempt follows at once."""

    call: CallName
    attempt: int


class ActionPending(Fact, frozen=True, gc=False):
    """The action returned without an outcome; ``Engine.complete`` or ``Engine.fail`` will give it."""

    call: CallName
    attempt: int = 1


class CallRetried(Fact, frozen=True, gc=False):
    """Someone asked for a new sequence of attempts of a call whose failure the code has taken. The code is not told of it again."""

    call: CallName
    action: str
    args: tuple[Payload, ...] = ()
    kwargs: dict[str, Payload] = {}
    sequence: int = 2
    line: str = ""


class RetrySucceeded(Fact, frozen=True, gc=False):
    """The later status of a call that was retried after the code had taken its failure."""

    call: CallName
    value: Payload
    attempt: int = 1
    took_us: int = 0


class RetryFailed(Fact, frozen=True, gc=False):
    call: CallName
    error: Failure
    attempt: int = 1
    took_us: int = 0


class CallCancelled(Fact, frozen=True, gc=False):
    """The code stopped waiting for this call: an action, a child, a signal."""

    call: CallName


class TimerStarted(Fact, frozen=True, gc=False):
    call: CallName
    due_us: int
    line: str = ""


class TimerFired(Fact, frozen=True, gc=False):
    call: CallName


class TimerCancelled(Fact, frozen=True, gc=False):
    call: CallName


class SignalReceived(Fact, frozen=True, gc=False):
    """A signal arrived. ``id`` is the sender's; ``is_named`` tells that the sender chose it, so that a resend must be recognised:
    ``digest`` is then the hash of the value before any codec.
    """

    id: str
    channel: str
    value: Payload
    is_named: bool = False
    digest: str = ""


class SignalAwaited(Fact, frozen=True, gc=False):
    call: CallName
    channel: str
    line: str = ""


class SignalTaken(Fact, frozen=True, gc=False):
    """A waiting call was given the signal ``id``."""

    call: CallName
    id: str
    channel: str = ""


class SignalDiscarded(Fact, frozen=True, gc=False):
    """Nobody waited and the channel discards early signals."""

    id: str
    channel: str


class ChildStarted(Fact, frozen=True, gc=False):
    call: CallName
    run: RunId
    definition: str
    is_detached: bool = False
    line: str = ""


class ChildCompleted(Fact, frozen=True, gc=False):
    call: CallName
    value: Payload


class ChildFailed(Fact, frozen=True, gc=False):
    call: CallName
    error: Failure


class SignalSent(Fact, frozen=True, gc=False):
    """The code sent a signal to another run."""

    call: CallName
    run: RunId
    channel: str
    line: str = ""


class Recorded(Fact, frozen=True, gc=False):
    """An inline side effect of ``perdure.record`` gave this value."""

    call: CallName
    value: Payload
    line: str = ""


class Patched(Fact, frozen=True, gc=False):
    """The code asked ``perdure.patched(id)`` for the first time, and this run takes the new path."""

    id: str


class StatePublished(Fact, frozen=True, gc=False):
    """The code published state; ``state`` is the whole JSON object after it, or ``[codec, base64]`` where codecs apply."""

    state: Raw


class UpdateAccepted(Fact, frozen=True, gc=False):
    """``is_named``: the sender chose ``id``; ``digest`` is then the hash of method and arguments before any codec, empty in rows that
    were written before there was one.
    """

    id: str
    method: str
    args: tuple[Payload, ...] = ()
    kwargs: dict[str, Payload] = {}
    is_named: bool = False
    digest: str = ""


class UpdateCompleted(Fact, frozen=True, gc=False):
    id: str
    value: Payload


class UpdateFailed(Fact, frozen=True, gc=False):
    id: str
    error: Failure


class CancelRequested(Fact, frozen=True, gc=False):
    reason: str = ""


class RunCompleted(Fact, frozen=True, gc=False):
    value: Payload


class RunFailed(Fact, frozen=True, gc=False):
    error: Failure


class RunCancelled(Fact, frozen=True, gc=False):
    reason: str = ""


class RunContinued(Fact, frozen=True, gc=False):
    """The run ended this incarnation and goes on as a new one, with an empty journal."""

    line: str = ""


class RunStalled(Fact, frozen=True, gc=False):
    """The run was stopped by an error that can be repaired; its open stimuli were kept."""

    reason: str


class RunResumed(Fact, frozen=True, gc=False):
    """Someone asked a stalled run to go on."""


class RunReopened(Fact, frozen=True, gc=False):
    """A run that had ended goes on; always the first fact of its row. The row before, which ended it, counts no more: its other stimuli
    follow here again. ``calls``: those whose attempts begin anew, with the number of their sequence. ``children``: those waited for again,
    with the number of the child's row up to which its ends are old. ``args`` and ``kwargs``: new arguments of the only call, if
    ``has_input``.
    """

    calls: dict[CallName, int] = {}
    children: dict[CallName, int] = {}
    args: tuple[Payload, ...] = ()
    kwargs: dict[str, Payload] = {}
    has_input: bool = False


AnyFact = (
    RunStarted
    | ActionScheduled
    | ActionCompleted
    | ActionFailed
    | AttemptFailed
    | AttemptLost
    | ActionPending
    | CallRetried
    | RetrySucceeded
    | RetryFailed
    | CallCancelled
    | TimerStarted
    | TimerFired
    | TimerCancelled
    | SignalReceived
    | SignalAwaited
    | SignalTaken
    | SignalDiscarded
    | ChildStarted
    | ChildCompleted
    | ChildFailed
    | SignalSent
    | Recorded
    | Patched
    | StatePublished
    | UpdateAccepted
    | UpdateCompleted
    | UpdateFailed
    | CancelRequested
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunContinued
    | RunStalled
    | RunResumed
    | RunReopened
)

_decoder = msgspec.json.Decoder(list[AnyFact])
encode_facts = msgspec.json.Encoder().encode
"""Write a list of facts as JSON bytes."""


def decode_facts(row: bytes) -> list[AnyFact]:
    """Read the facts of one journal row; raises `CorruptJournal` if it is not a list of known facts."""
    try:
        return _decoder.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptJournal(what=f"{error} in {row[:80]!r}") from error


def supersedes(entries: Sequence[AnyFact]) -> bool:
    """Tell whether a row of these facts takes the place of the row before it."""
    return bool(entries) and type(entries[0]) is RunReopened


def as_json(fact: Any) -> dict[str, Any]:
    """Give a fact as plain JSON values, for people and tools."""
    result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(fact))
    return result
