"""Actions that no function here performs: declared by their name, performed by whichever worker announces them."""

from collections.abc import Awaitable
from typing import Any, Literal

import msgspec

from perdure.deciders.code.loop import current_context
from perdure.deciders.code.places import frame_above, line_of
from perdure.model.call import ActionSpec, OnLost
from perdure.model.duration import Span, span_us
from perdure.model.errors import InvalidOption, Unsupported
from perdure.model.retry import NO_RETRY, Retry


class RemoteAction:
    """An action by name. Called in a workflow it is a durable step, as an `Action` is."""

    def __init__(self, spec: ActionSpec) -> None:
        self.spec: ActionSpec = spec

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        context = current_context()
        if context is None:
            raise Unsupported(what=f"{self.spec.name!r} outside a workflow", why="a worker performs it; engine.dispatch starts it alone")
        return context.run_action(self.spec, args, kwargs, line_of(frame_above(1)))

    def __repr__(self) -> str:
        return f"<remote action {self.spec.name}>"


def elsewhere(
    name: str,
    *,
    returns: Any = Any,
    queue: str | None = None,
    version: int | None = None,
    retry: Retry | None = None,
    timeout: Span | None = None,
    on_lost: Literal["retry", "fail"] = "retry",
    start_timeout: Span | None = None,
    unserved: Literal["wait", "fail"] = "wait",
    priority: int = 0,
) -> RemoteAction:
    """Declare an action that workers perform, in whatever language. ``returns``: the type of its value.

    ``queue`` and ``version``: those of which its workers are, any and the newest without them. ``start_timeout``: a call that no worker
    has begun by then fails with `ActionTimedOut`. ``unserved``: what becomes of a call while there is no worker: it waits, or fails.
    ``priority``: higher goes first where calls wait. The rest is as with `perdure.action`.
    """
    changes = waiting_options(start_timeout, unserved, priority)
    spec = ActionSpec(
        name=name,
        returns=returns,
        queue=queue,
        version=version or 0,
        retry=retry or NO_RETRY,
        timeout_us=None if timeout is None else span_us(timeout),
        on_lost=OnLost(on_lost),
        is_chosen=True,
    )
    return RemoteAction(msgspec.structs.replace(spec, **changes))


def waiting_options(start_timeout: Span | None, unserved: str | None, priority: int | None) -> dict[str, Any]:
    """Give the fields of a declaration that say how its calls wait; what is ``None`` is left out. Raises `InvalidOption`."""
    changes: dict[str, Any] = {}
    if start_timeout is not None:
        changes["start_us"] = span_us(start_timeout)
    if unserved is not None:
        if unserved not in ("wait", "fail"):
            raise InvalidOption(option="unserved", found=repr(unserved), expected="'wait' or 'fail'")
        changes["is_failing_unserved"] = unserved == "fail"
    if priority is not None:
        changes["priority"] = priority
    return changes
