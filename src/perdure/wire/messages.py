"""The messages between nodes and workers. docs/reference/wire.md tells strangers the same.

Each has a schema version ``v``. Unknown fields are ignored; a message of an unknown version or type is a dead letter, never a crash.
A value is plain JSON where it can be; else (bytes, a codec) it stands as base64 text, and ``encodings`` names its codec.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

VERSION: Final = 1

INSTANT_MS_MAX: Final = 253_402_300_799_000
SPAN_MS_MAX: Final = 315_576_000_000_000

Instant = Annotated[int, Meta(ge=0, le=INSTANT_MS_MAX)]
"""Milliseconds of Unix time, up to the end of the year 9999."""
Span = Annotated[int, Meta(ge=0, le=SPAN_MS_MAX)]
"""Milliseconds, up to ten thousand years."""
Number = Annotated[int, Meta(ge=1, le=2**31 - 1)]
"""Counts from 1."""
Text = Annotated[str, Meta(min_length=1)]
"""Text that is not empty."""


class WireMessage(Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag=str.lower):
    """What all messages have."""

    v: Literal[1]


class Call(WireMessage, frozen=True, omit_defaults=True, kw_only=True):
    """Perform this action. Sent by a node to `perdure.ports.transport.calls_address`.

    ``id`` names the attempt, ``key`` the call: the idempotency key, the same for every attempt. ``encodings``: by position (``"0"``) or
    name, the codec of a value that is not plain JSON; a name of nothing but digits, or one that begins with ``=``, has a ``=`` before
    it. ``deadline_ms``: the instant (Unix time) after which nobody wants it.
    ``timeout_ms``: how long the attempt may take. ``lease_ms``: the node gives the attempt up if it is in no beat for so long.
    ``details``: what the attempt before reported last, with its codec. ``trace``: the W3C traceparent. ``node``: who sent it, for people.
    """

    id: Text
    key: Text
    namespace: str = ""
    run: Text
    call: Text
    definition: str = ""
    attempt: Number
    sequence: Number = 1
    action: Text
    version: Number = 1
    args: list[Raw] = field(default_factory=list)
    kwargs: dict[str, Raw] = field(default_factory=dict)
    encodings: dict[str, str] = field(default_factory=dict)
    sent_ms: Instant
    deadline_ms: Instant | None = None
    timeout_ms: Span | None = None
    lease_ms: Span
    details: Raw | UnsetType = UNSET
    details_encoding: str = "json"
    trace: str = ""
    node: str = ""


class WireError(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why an attempt failed. ``type``: ``module:QualName`` for Python, any name elsewhere. ``is_final``: do not try again, whatever the
    policy says. ``types``: the names of its bases, for retry policies. ``failure``: all of it, as workers in Python write it.
    """

    type: str = "Error"
    message: str = ""
    is_final: bool = False
    traceback: str = ""
    types: list[str] = field(default_factory=list)
    failure: Raw | UnsetType = UNSET


class Outcome(WireMessage, frozen=True, omit_defaults=True, kw_only=True):
    """How an attempt ended. Sent by a worker to `perdure.ports.transport.NODES`.

    ``status``: ``data`` (with ``value``), ``empty`` (success with nothing to pass on), ``error`` (with ``error``), or ``pending``: the
    outcome comes later, by the call's key. ``encoding``: as in a call. ``retry_after_ms``: the worker's wish for the next attempt.
    """

    id: Text
    key: Text
    worker: Text
    status: Literal["data", "empty", "error", "pending"]
    value: Raw | UnsetType = UNSET
    encoding: str = "json"
    error: WireError | None = None
    took_ms: Annotated[float, Meta(ge=0, le=SPAN_MS_MAX)] = 0
    retry_after_ms: Span | None = None


class Held(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An attempt that a worker has under way. ``details``: what it reported last, as JSON, if anything new."""

    id: Text
    details: Raw | UnsetType = UNSET
    details_encoding: str = "json"


class Beat(WireMessage, frozen=True, omit_defaults=True, kw_only=True):
    """The worker lives, and these attempts make progress. Sent to `perdure.ports.transport.NODES` every ``interval_ms`` of its announcement
    with all attempts (``is_whole``), and at once with those just received.
    """

    worker: Text
    attempts: list[Held] = field(default_factory=list)
    is_whole: bool = False
    sent_ms: Instant


class Limit(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How much of an action may go on at once, over all workers. ``rate``: calls a second, with bursts up to ``burst``. ``key``: a path
    into the arguments (``order.user``, or ``0.user`` by position) whose values each have ``key_concurrency``.
    """

    concurrency: Number | None = None
    rate: Annotated[float, Meta(gt=0)] | None = None
    burst: Number | None = None
    key: str | None = None
    key_concurrency: Number | None = None


class AnnouncedAction(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An action that a worker performs. The schemas are JSON Schema: of an object with one member for each argument, and of the result."""

    name: Text
    version: Number = 1
    queue: Text = "default"
    description: str = ""
    input_schema: Raw | UnsetType = UNSET
    output_schema: Raw | UnsetType = UNSET
    limit: Limit | None = None
    cost: Annotated[float, Meta(ge=0)] | None = None
    service: str = ""


class Announce(WireMessage, frozen=True, omit_defaults=True, kw_only=True):
    """A worker is here. Sent to `perdure.ports.transport.NODES` when it starts, and again every minute. ``worker``: unique for each start
    of the process. ``push_url``: it does not ask for calls, it is sent them there.
    """

    worker: Text
    host: str = ""
    pid: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    language: str = ""
    started_ms: Instant
    interval_ms: Annotated[int, Meta(ge=1, le=86_400_000)]
    slots: Number = 1
    actions: list[AnnouncedAction]
    push_url: str = ""


class Leave(WireMessage, frozen=True, omit_defaults=True, kw_only=True):
    """The worker has ended as it was told to. What it has under way it has given up."""

    worker: Text


class Cancel(WireMessage, frozen=True, omit_defaults=True, kw_only=True):
    """Nobody waits for these attempts any more. Sent by a node to `perdure.ports.transport.worker_address`."""

    attempts: list[str]
    reason: str = ""


AnyWireMessage = Call | Outcome | Beat | Announce | Leave | Cancel
