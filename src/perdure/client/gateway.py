"""The way to the node: in this process, or through the store."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from perdure.deciders.decider import BranchPlace
from perdure.engine.runs.reopening import Asked
from perdure.model.command import Cancel, Complete, Fail
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content
from perdure.model.run import RunRow, Status
from perdure.model.stimulus import Begun, Failed, Signalled, Succeeded, Updated
from perdure.ports.store import Store

Last = Complete | Fail | Cancel


class StartRequest(Struct, frozen=True):
    """A run to start. ``is_checked``: its id was chosen by the caller. ``on_ended``: what a run of that id which has ended means to it."""

    row: RunRow
    begun: Begun
    is_checked: bool = False
    on_ended: Literal["return", "refuse", "restart"] = "return"

    @property
    def replaces(self) -> bool:
        """Tell whether a run of that id which has ended is replaced."""
        return self.on_ended == "restart"


class Gateway(Protocol):
    """Every method returns after the commit that makes its effect durable (G2)."""

    store: Store

    async def start(self, request: StartRequest) -> RunRow | None:
        """The run is durable; gives the row that was there before if its id was taken."""
        ...

    async def signal(self, run: RunId, signal: Signalled) -> None:
        """The signal is durable. Raises `RunNotFound`, `RunEnded`, `SignalConflict`, `TooManySignals`."""
        ...

    async def update(self, run: RunId, update: Updated) -> Content:
        """Give the update's answer; raises what the update or its validator raised, and `UpdateConflict`."""
        ...

    async def query(self, run: RunId, method: str, args: Sequence[Content], kwargs: dict[str, Content]) -> Content:
        """Give the answer of a query."""
        ...

    async def cancel(self, run: RunId, reason: str) -> bool:
        """The run has been asked to end; ``False`` if it has ended already."""
        ...

    async def resume(self, run: RunId) -> Status | None:
        """A stalled run was tried again; gives its status after that, ``None`` where only a node knows it later."""
        ...

    async def retry(self, run: RunId, asked: Asked) -> list[CallName]:
        """The failed calls that were asked for are made again; gives their names. Raises `NotRetryable`, `RunNotFound`."""
        ...

    async def give_outcome(self, run: RunId, base: int, outcome: Succeeded | Failed) -> None:
        """An open call has this outcome. Raises `CallNotFound`, `CallClosed`, `InvalidValue`."""
        ...

    async def end_of(self, run: RunId) -> Last | None:
        """Wait for the run's end; ``None``: it has ended, and the journal has its last word."""
        ...

    async def change_of(self, run: RunId) -> Any:
        """Wait until the run may have new journal rows."""
        ...

    async def places(self, run: RunId) -> list[BranchPlace]:
        """Tell where the branches stand; empty where no node in this process knows."""
        ...
