"""What workflow code asks of Perdure besides calls: time, chance, side effects, versions, state."""

import asyncio
import sys
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from msgspec import Struct

from perdure.deciders.code.authoring import Signal
from perdure.deciders.code.context import RunContext
from perdure.deciders.code.decider import ContinuedAsNew
from perdure.deciders.code.loop import current_context
from perdure.deciders.code.places import line_of
from perdure.deciders.code.task import BranchTask
from perdure.model import command as commands
from perdure.model.duration import instant
from perdure.model.errors import Unsupported
from perdure.model.ids import RunId

T = TypeVar("T")


class RunInfo(Struct, frozen=True):
    """What a workflow may know of itself. ``journal_rows``: rows of this incarnation so far; a good measure for continue-as-new."""

    id: RunId
    definition: str
    version: int
    started: datetime
    parent: RunId | None
    tags: tuple[str, ...]
    journal_rows: int
    is_replaying: bool


def _context(what: str) -> RunContext:
    context = current_context()
    if context is None:
        raise Unsupported(what=f"perdure.{what} outside a workflow", why="it belongs to a run; call it from workflow code")
    return context


def now() -> datetime:
    """The instant of the present transition, aware UTC; the same on every replay."""
    return instant(_context("now()").loop.now_us)


def random() -> Random:
    """A generator seeded by the run and the branch; gives the same numbers on every replay. Do not use it for secrets."""
    context = _context("random()")
    task = asyncio.current_task(context.loop)
    return task.random(context.seed) if isinstance(task, BranchTask) else Random(f"{context.seed}/{context.loop.next_call()}")


def uuid4() -> UUID:
    """A random UUID, the same on every replay."""
    return UUID(int=random().getrandbits(128), version=4)


def record(function: Callable[[], T]) -> T:
    """The value of a side effect that runs inline and is written down once; replays take it from the journal.

    A crash between the effect and the commit may run it twice. What takes time or may fail belongs in an action.
    """
    value: T = _context("record(…)").record(function)
    return value


def send(run: str, signal: Signal[T] | str, value: T | Any = None) -> None:
    """Inside a workflow: give a signal to another run, once. A run that does not exist or has ended drops it."""
    context = _context("send(…)")
    channel, wanted = (signal, Any) if isinstance(signal, str) else (signal.name, signal.type)
    content = context.tools.serializer.encode(value, "the signal", channel)
    context.tools.serializer.decode(content, wanted, "the signal", channel)
    context.commands.append(commands.SendSignal(context.open_call(), RunId(run), channel, content, line_of(sys._getframe(1))))


def patched(change: str) -> bool:
    """Tell whether this run takes the new path of a change: ``True`` if it reaches it now, ``False`` if it went by before."""
    return _context("patched(…)").patched(change)


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this incarnation and begin again with new arguments and an empty journal; the id and unread signals stay."""
    _context("continue_as_new(…)")
    raise ContinuedAsNew(args, kwargs, line_of(sys._getframe(1)))


def publish(**state: Any) -> None:
    """Make values readable for clients without running code; keys given before keep their values."""
    _context("publish(…)").publish(state)


def info() -> RunInfo:
    """What this run is."""
    context = _context("info()")
    identity = context.identity
    return RunInfo(
        id=identity.id,
        definition=identity.definition,
        version=identity.version,
        started=instant(identity.created_us),
        parent=identity.parent,
        tags=identity.tags,
        journal_rows=context.row_number - identity.base,
        is_replaying=context.is_replaying,
    )
