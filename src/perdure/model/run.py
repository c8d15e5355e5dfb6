"""A run as the store keeps it: one row, derived from the journal and changed only when the run starts, sleeps or ends."""

from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType

from perdure.model.durability import Durability
from perdure.model.ids import CallName, RunId


class Status(StrEnum):
    """Where a run stands. ``failed`` has ended by an error; ``stalled`` was stopped by an error and can be resumed."""

    RUNNING = "running"
    WAITING = "waiting"
    STALLED = "stalled"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Tell whether the run has ended, whichever way."""
        return self in _FINAL


_FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

HELD = 0
"""The ``wake_us`` of a run that a node holds live: after a crash such a run is taken up again at once."""


class RunRow(Struct, kw_only=True, omit_defaults=True):
    """The row of a run.

    ``wake_us``: `HELD` while a node holds it live, an instant in microseconds when it is due, ``None`` when only an outside stimulus can
    move it. ``base``: number of the first journal row of the present incarnation (continue-as-new moves it). ``reason``: why it is stalled
    or parked. ``state``: what the code published, as a JSON object, or
    as ``[codec, base64]`` where codecs apply. ``partition``: the slice of the runs that it lies in, chosen at its start.
    ``durability``: the class that it got, ``None`` for the store's own.
    """

    id: RunId
    definition: str
    version: int = 1
    status: Status = Status.RUNNING
    input_hash: str = ""
    parent: RunId | None = None
    parent_call: CallName | None = None
    tags: tuple[str, ...] = ()
    created_us: int
    updated_us: int
    wake_us: int | None = HELD
    base: int = 1
    reason: str | None = None
    state: bytes | None = None
    partition: int = 0
    durability: Durability | None = None


class RunChange(Struct, kw_only=True, frozen=True):
    """The new values of a run's row; fields left ``UNSET`` keep theirs."""

    id: RunId
    status: Status
    updated_us: int
    wake_us: int | None
    base: int | UnsetType = UNSET
    reason: str | None | UnsetType = UNSET
    state: bytes | UnsetType = UNSET
    version: int | UnsetType = UNSET


class Transition(Struct, frozen=True, gc=False):
    """One journal row: the facts of one transition, as JSON, and the bytes beside them."""

    run: RunId
    number: int
    at_us: int
    facts: bytes
    data: bytes | None = None
