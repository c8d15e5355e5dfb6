"""What is asked of an action: its declaration, and one scheduled use of it."""

from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import Any

from msgspec import Struct

from perdure.model.duration import Span
from perdure.model.failure import Failure
from perdure.model.ids import CallKey, CallName, RunId, call_key
from perdure.model.payload import Content
from perdure.model.retry import NO_RETRY, Retry


class OnLost(StrEnum):
    """What follows when the node that ran an attempt died without a word."""

    RETRY = "retry"
    FAIL = "fail"


class Batch(Struct, frozen=True, kw_only=True):
    """How calls of an action are put together. ``calls_max``: the most in one batch. ``wait``: how long the first of them waits for more.
    ``key``: of an input, whose values are never mixed in one batch.
    """

    calls_max: int = 100
    wait: Span = "50ms"
    key: Callable[[Any], Hashable] | None = None


class Limit(Struct, frozen=True, kw_only=True):
    """How much of an action may go on at once, over all that perform it.

    ``concurrency``: attempts at once. ``rate``: attempts a second, in bursts of up to ``burst``. ``key``: what of the arguments their
    values are counted by, as ``lambda order: order.user`` or the path ``"order.user"``; each has ``key_concurrency`` attempts at once.
    """

    concurrency: int | None = None
    rate: float | None = None
    burst: int | None = None
    key: str | Callable[[Any], Any] | Callable[[Any, Any], Any] | None = None
    key_concurrency: int | None = None


class ActionSpec(Struct, frozen=True):
    """An action as its author declared it, with the options of one call applied.

    ``function`` and ``signature`` are ``None`` when it is not known in this process. ``timeout_us``: how long one attempt may take,
    ``None`` for no limit. ``is_transactional``: it shares a transaction of the store's database with its outcome. ``is_chosen``: retry,
    timeout and ``on_lost`` were chosen for this call, whatever the action declares. ``queue``: performed by the workers of that queue,
    ``None`` for where the engine is. ``is_in_process``: performed in a process apart. ``limit``: its key is a path. ``start_us``: how long
    after it was scheduled a call may wait for a worker; ``is_failing_unserved``: it fails if there is none. ``priority``:
    higher goes first where calls wait; 0 is the usual.
    """

    name: str
    function: Callable[..., Any] | None = None
    is_async: bool = True
    signature: Any = None
    returns: Any = Any
    retry: Retry = NO_RETRY
    timeout_us: int | None = None
    on_lost: OnLost = OnLost.RETRY
    is_transactional: bool = False
    is_chosen: bool = False
    queue: str | None = None
    version: int = 1
    is_in_process: bool = False
    batch: Batch | None = None
    description: str = ""
    cost: float | None = None
    service: str = ""
    limit: Limit | None = None
    start_us: int | None = None
    is_failing_unserved: bool = False
    priority: int = 0

    @property
    def is_impatient(self) -> bool:
        """Tell whether something happens to a call that nobody serves."""
        return self.is_failing_unserved or self.start_us is not None


class Attempt(Struct, frozen=True, gc=False):
    """One try of a call, as it is handed to whoever performs it. ``details``: the last heartbeat of the attempt before.
    ``sequence``: 1, and one more for each retry by hand. ``scheduled_us``: when the call was scheduled. ``is_again``: a node had it before
    this one; it may be under way elsewhere.
    ``is_elsewhere``: it goes on when the node ends.
    """

    run: RunId
    base: int
    call: CallName
    number: int
    spec: ActionSpec
    args: tuple[Content, ...]
    kwargs: dict[str, Content]
    end_us: int | None = None
    details: Content | None = None
    sequence: int = 1
    scheduled_us: int = 0
    is_again: bool = False
    is_elsewhere: bool = False

    @property
    def key(self) -> CallKey:
        """The idempotency key: the same for every attempt of the call."""
        return call_key(self.run, self.base, self.call)


class Outcome(Struct, frozen=True, gc=False):
    """How an attempt ended: with ``content``, with ``failure``, or (neither) left open for an outside outcome.

    ``retry_after_us``: the action's own wish for the next delay. ``kept``: the inbox item in which it is durable already. ``is_lost``:
    nothing was heard of it; the next attempt is made, or not, as ``on_lost`` says. ``done``: a future that is told when the outcome is
    durable, or dropped.
    """

    content: Content | None = None
    failure: Failure | None = None
    took_us: int = 0
    retry_after_us: int | None = None
    error_types: tuple[str, ...] = ()
    kept: Any = None
    is_lost: bool = False
    done: Any = None
