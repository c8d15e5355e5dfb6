"""The way to a node in this process."""

from collections.abc import Sequence

from perdure.client.gateway import Last, StartRequest
from perdure.deciders.decider import BranchPlace
from perdure.engine.callers.desk import Desk
from perdure.engine.callers.retrier import Retrier
from perdure.engine.callers.waits import Waits
from perdure.engine.runs.reopening import Asked
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content
from perdure.model.run import RunRow, Status
from perdure.model.stimulus import Failed, Signalled, Succeeded, Updated
from perdure.ports.store import Store


class LocalGateway:
    def __init__(self, desk: Desk, retrier: Retrier, waits: Waits, store: Store) -> None:
        self.store = store
        self._desk = desk
        self._waits = waits
        self._retrier = retrier

    async def start(self, request: StartRequest) -> RunRow | None:
        return await self._desk.start(request.row, request.begun, is_checked=request.is_checked, replaces=request.replaces)

    async def signal(self, run: RunId, signal: Signalled) -> None:
        await self._desk.signal(run, signal)

    async def update(self, run: RunId, update: Updated) -> Content:
        return await self._desk.update(run, update)

    async def query(self, run: RunId, method: str, args: Sequence[Content], kwargs: dict[str, Content]) -> Content:
        return await self._desk.query(run, method, args, kwargs)

    async def cancel(self, run: RunId, reason: str) -> bool:
        return await self._desk.cancel(run, reason)

    async def resume(self, run: RunId) -> Status | None:
        return await self._desk.resume(run)

    async def retry(self, run: RunId, asked: Asked) -> list[CallName]:
        return await self._retrier.retry(run, asked)

    async def give_outcome(self, run: RunId, base: int, outcome: Succeeded | Failed) -> None:
        await self._desk.give_outcome(run, base, outcome)

    async def end_of(self, run: RunId) -> Last | None:
        return await self._waits.end_of(run)

    async def change_of(self, run: RunId) -> None:
        await self._waits.change_of(run)

    async def places(self, run: RunId) -> list[BranchPlace]:
        return await self._desk.places(run)
