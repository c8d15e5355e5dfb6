"""The way to the node that has the run: this process's if it is that one, else through the store."""

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import TypeVar

import msgspec

from perdure.client.gateway import Gateway, Last, StartRequest
from perdure.client.local import LocalGateway
from perdure.client.remote import RemoteGateway
from perdure.deciders.decider import BranchPlace
from perdure.engine.runs.reopening import Asked
from perdure.model.errors import RunElsewhere
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content
from perdure.model.run import RunRow, Status
from perdure.model.stimulus import Failed, Signalled, Succeeded, Updated

T = TypeVar("T")


class RoutedGateway:
    """Where several nodes share a store, a run moves between them; nothing here has to know where it is."""

    def __init__(self, local: LocalGateway, remote: RemoteGateway) -> None:
        self.store = local.store
        self._local = local
        self._remote = remote

    async def _first(self, ask: Callable[[Gateway], Awaitable[T]]) -> T:
        try:
            return await ask(self._local)
        except RunElsewhere:
            return await ask(self._remote)

    async def start(self, request: StartRequest) -> RunRow | None:
        asked = copy(request.row)  # A node makes the row its own, and would leave in it what became of a start that was never written.
        try:
            return await self._local.start(request)
        except RunElsewhere:
            # The node may have been fenced after the start was written: the run of that id is this one then.
            return await self._remote.start(msgspec.structs.replace(request, row=asked, is_checked=True))

    async def signal(self, run: RunId, signal: Signalled) -> None:
        await self._first(lambda gateway: gateway.signal(run, signal))

    async def update(self, run: RunId, update: Updated) -> Content:
        return await self._first(lambda gateway: gateway.update(run, update))

    async def query(self, run: RunId, method: str, args: Sequence[Content], kwargs: dict[str, Content]) -> Content:
        return await self._first(lambda gateway: gateway.query(run, method, args, kwargs))

    async def cancel(self, run: RunId, reason: str) -> bool:
        return await self._first(lambda gateway: gateway.cancel(run, reason))

    async def resume(self, run: RunId) -> Status | None:
        return await self._first(lambda gateway: gateway.resume(run))

    async def retry(self, run: RunId, asked: Asked) -> list[CallName]:
        return await self._first(lambda gateway: gateway.retry(run, asked))

    async def give_outcome(self, run: RunId, base: int, outcome: Succeeded | Failed) -> None:
        await self._first(lambda gateway: gateway.give_outcome(run, base, outcome))

    async def end_of(self, run: RunId) -> Last | None:
        return await self._first(lambda gateway: gateway.end_of(run))

    async def change_of(self, run: RunId) -> None:
        await self._first(lambda gateway: gateway.change_of(run))

    async def places(self, run: RunId) -> list[BranchPlace]:
        return await self._first(lambda gateway: gateway.places(run))
