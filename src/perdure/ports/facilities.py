"""What an action may use of the engine that performs it, beside its input: for ready-made actions that keep things between calls."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol

from msgspec import Struct

from perdure.model.errors import Unsupported
from perdure.model.ids import CallKey, RunId
from perdure.ports.records import Records


class Facilities(Protocol):
    """What is at hand while an attempt runs."""

    @property
    def run(self) -> RunId:
        """The run that made the call."""
        ...

    @property
    def key(self) -> CallKey:
        """The idempotency key: the same for every attempt of the call."""
        ...

    @property
    def records(self) -> Records | None:
        """The store's records; ``None`` where the worker has no store."""
        ...

    def now_us(self) -> int:
        """Give the instant, of the engine's clock."""
        ...


class Together(Struct, frozen=True, eq=False):
    """What is at hand in a batch: the facilities of each of its calls, and of none above the others."""

    each: Mapping[CallKey, Facilities]


_current: ContextVar[Facilities | Together | None] = ContextVar("perdure_facilities", default=None)


def provide(facilities: Facilities | Together) -> None:
    """These are the facilities of the attempt, or of the attempts, that run in this context."""
    _current.set(facilities)


def facilities_if_any() -> Facilities | None:
    """Give the facilities of the attempt that runs, ``None`` outside of one and in a batch."""
    found = _current.get()
    return None if isinstance(found, Together) else found


def together_if_any() -> Together | None:
    """Give the facilities of the batch that runs, ``None`` outside of one."""
    found = _current.get()
    return found if isinstance(found, Together) else None


def facilities(what: str) -> Facilities:
    """Give the facilities of the attempt that runs; raises `Unsupported`, which names ``what`` needs them, outside of one."""
    found = _current.get()
    if isinstance(found, Together):
        why = "it works for one call, and a batch performs many at once; declare the action that needs it without batch="
        raise Unsupported(what=f"{what} in a batch", why=why)
    if found is None:
        raise Unsupported(what=f"{what} outside an action", why="it works only in a call that the engine performs")
    return found


def records_of(what: str) -> Records:
    """Give the store's records; raises `Unsupported`, which names ``what`` needs them, where the worker has no store."""
    found = facilities(what).records
    if found is None:
        why = "this worker is connected to a broker alone; connect it to the store, or let a node perform the action"
        raise Unsupported(what=what, why=why)
    return found
