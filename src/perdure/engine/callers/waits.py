"""Who waits for a run to end or to move. Protects them from waiting for a run that has ended already, or that is another node's now."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perdure.engine import news
from perdure.engine.runs.live import LiveRun, Phase
from perdure.model.command import Cancel, Complete, Fail
from perdure.model.errors import EngineClosed, RunElsewhere, RunNotFound
from perdure.model.ids import RunId
from perdure.model.run import RunRow

if TYPE_CHECKING:
    from perdure.engine.node import Node

Last = Complete | Fail | Cancel


class Waits:
    def __init__(self, node: "Node") -> None:
        self._node = node
        self._ends: dict[RunId, list[asyncio.Future[Last]]] = {}
        self._changes: dict[RunId, list[asyncio.Future[None]]] = {}
        node.pump.on_end = self._tell_end

    async def end_of(self, run: RunId) -> Last | None:
        """Wait for the run's end; ``None`` if it had ended before, and the journal has its last word.

        Raises `RunNotFound`, and `RunElsewhere` as soon as another node has the run.
        """
        if not self._node.is_open:
            raise EngineClosed(state="closed", asked=f"the result of {run!r}")
        future: asyncio.Future[Last] = asyncio.get_running_loop().create_future()
        waiting = self._ends.setdefault(run, [])
        waiting.append(future)
        try:
            if not self._is_known(run):
                row = await self._node.around.store.row(run)
                if row is None and not future.done() and not self._is_known(run):
                    raise RunNotFound(run=run)
                if row is not None and row.status.is_final and not future.done():
                    return None
                self._require_here(row)
            return await future
        finally:
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._ends.pop(run, None)

    async def change_of(self, run: RunId) -> None:
        """Wait until the run has a new journal row. Raises `RunElsewhere` as soon as another node has the run."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.setdefault(run, []).append(future)
        if not self._node.share.is_whole and not self._is_known(run):
            self._require_here(await self._node.around.store.row(run))
        await future

    def _is_known(self, run: RunId) -> bool:
        """Tell whether the run is in memory. One that is being loaded may turn out to have ended long ago: a late message asked for it."""
        live = self._node.roster.get(run)
        return live is not None and live.phase is not Phase.LOADING

    def _require_here(self, row: RunRow | None) -> None:
        if row is not None and row.partition not in self._node.share.held and not self._is_known(row.id):
            raise RunElsewhere(run=row.id)

    def let_go(self, runs: Sequence[LiveRun]) -> None:
        """These runs are another node's now: whoever waits for them is told. So is whoever waits for a run that is not in memory: it
        may be one of them.
        """
        for run in runs:
            for waiters in run.update_waiters.values():
                for arrival in waiters:
                    arrival.refuse(RunElsewhere(run=run.row.id))
        waiting: list[dict[RunId, list[asyncio.Future[Any]]]] = [self._ends, self._changes]
        for by_run in waiting:
            for id in [id for id in by_run if not self._is_known(id)]:
                for future in by_run.pop(id):
                    if not future.done():
                        future.set_exception(RunElsewhere(run=id))

    def _tell_end(self, run: LiveRun, last: Last) -> None:
        news.tell_end(run, last)
        self._node.herald.ended(run.row.id)
        for future in self._ends.pop(run.row.id, ()):
            if not future.done():
                future.set_result(last)

    def tell_change(self, run: RunId) -> None:
        """The run has a new row, durably."""
        for change in self._changes.pop(run, ()):
            if not change.done():
                change.set_result(None)

    def close(self, *, is_lost: bool) -> None:
        """Whoever still waits is told that the engine has closed, or, if the node was fenced, that others go on with the runs."""
        groups: list[tuple[RunId, list[asyncio.Future[Any]]]] = [*self._ends.items(), *self._changes.items()]
        for run, futures in groups:
            for future in futures:
                if not future.done():
                    future.set_exception(RunElsewhere(run=run) if is_lost else EngineClosed(state="closed", asked="the wait"))
