"""What an action may use of the engine that performs it, beside its input: for ready-made actions that keep things between calls."""

from contextvars import ContextVar
from typing import Protocol

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


_current: ContextVar[Facilities | None] = ContextVar("perdure_facilities", default=None)


def provide(facilities: Facilities) -> None:
    """These are the facilities of the attempt that runs in this context."""
    _current.set(facilities)


def facilities_if_any() -> Facilities | None:
    """Give the facilities of the attempt that runs, ``None`` outside of one."""
    return _current.get()


def facilities(what: str) -> Facilities:
    """Give the facilities of the attempt that runs; raises `Unsupported`, which names ``what`` needs them, outside of one."""
    found = _current.get()
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
