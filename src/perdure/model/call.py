"""What is asked of an action: its declaration, and one scheduled use of it."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from msgspec import Struct

from perdure.model.failure import Failure
from perdure.model.ids import CallKey, CallName, RunId, call_key
from perdure.model.payload import Content
from perdure.model.retry import NO_RETRY, Retry


class OnLost(StrEnum):
    """What follows when the node that ran an attempt died without a word."""

    RETRY = "retry"
    FAIL = "fail"


class ActionSpec(Struct, frozen=True):
    """An action as its author declared it, with the options of one call applied.

    ``function`` and ``signature`` are ``None`` when it is not known in this process. ``timeout_us``: how long one attempt may take,
    ``None`` for no limit. ``is_transactional``: it shares a transaction of the store's database with its outcome. ``is_chosen``: retry,
    timeout and ``on_lost`` were chosen for this call, whatever the action declares.
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


class Attempt(Struct, frozen=True, gc=False):
    """One try of a call, as it is handed to whoever performs it. ``details``: the last heartbeat of the attempt before.
    ``sequence``: 1, and one more for each retry by hand.
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

    @property
    def key(self) -> CallKey:
        """The idempotency key: the same for every attempt of the call."""
        return call_key(self.run, self.base, self.call)


class Outcome(Struct, frozen=True, gc=False):
    """How an attempt ended: with ``content``, with ``failure``, or (neither) left open for an outside outcome.

    ``retry_after_us``: the action's own wish for the next delay. ``kept``: the inbox item in which it is durable already.
    """

    content: Content | None = None
    failure: Failure | None = None
    took_us: int = 0
    retry_after_us: int | None = None
    error_types: tuple[str, ...] = ()
    kept: Any = None
