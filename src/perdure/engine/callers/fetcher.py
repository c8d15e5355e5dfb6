"""Runs that somebody asks for, fetched into memory in groups.

Protects from one unreadable run keeping the others out (G6), and from a run waiting on after the code that it lacked has come (G9).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

from perdure.engine.patience import patiently
from perdure.engine.runs.live import LiveRun, Phase
from perdure.engine.runs.loader import Journal
from perdure.engine.runs.recovery import recover
from perdure.engine.runs.stalling import stall_run
from perdure.model.errors import DefinitionNotFound, EngineClosed, RunElsewhere, RunNotFound
from perdure.model.ids import CallName, RunId
from perdure.model.run import HELD, RunRow, Status
from perdure.ports.performer import Performance

if TYPE_CHECKING:
    from perdure.engine.node import Node

logger = logging.getLogger("perdure.engine")

LOAD_MAX = 200
NOWHERE = -1


class Fetcher:
    """Decides which runs are read, and what becomes of those that cannot go on; the `Loader` does the reading."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._to_load: OrderedDict[RunId, None] = OrderedDict()
        self._waiters: dict[RunId, list[asyncio.Future[LiveRun]]] = {}
        self._parked: set[RunId] = set()
        self._under_way: dict[RunId, dict[CallName, Performance | None]] = {}
        self._task: asyncio.Task[None] | None = None
        self.is_finished = False

    async def live(self, run: RunId) -> LiveRun:
        """Give the run, loaded. Raises `RunNotFound`, `RunElsewhere`."""
        if not self._node.is_open:
            raise EngineClosed(state="closed", asked=f"the request to run {run!r}")
        found = self._node.roster.get(run)
        if found is not None and found.phase is not Phase.LOADING:
            return found
        future: asyncio.Future[LiveRun] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(run, []).append(future)
        self.ask_for(run)
        return await future

    def ask_for(self, run: RunId) -> None:
        """The run will be loaded, with others, unless it is here."""
        found = self._node.roster.get(run)
        if found is None and not self.is_finished:
            self._to_load[run] = None
            if self._task is None and self._node.is_open:
                self._task = asyncio.get_running_loop().create_task(self._load_all())

    def is_asked_for(self, run: RunId) -> bool:
        """Tell whether the run is in the queue."""
        return run in self._to_load

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    async def loaded(self) -> None:
        """What was asked for has been loaded."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def finish(self) -> None:
        """The load under way has ended; what else was asked for, or will be, is left to the next node."""
        self.is_finished = True
        self._to_load.clear()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def close(self) -> None:
        """Nothing more is loaded, and whoever waits for a run is told so."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        error = EngineClosed(state="closed", asked="the request")
        for waiters in self._waiters.values():
            for future in waiters:
                if not future.done():
                    future.set_exception(error)

    async def _load_all(self) -> None:
        try:
            while self._to_load and self._node.is_open:
                await self._load_some([self._to_load.popitem(last=False)[0] for _ in range(min(LOAD_MAX, len(self._to_load)))])
        finally:
            self._task = None

    async def _load_some(self, runs: Sequence[RunId]) -> None:
        wanted = [run for run in runs if self._node.roster.get(run) is None]
        for run in wanted:
            # In no partition until its row is here: a hand-over meanwhile must not take it for one of those that go.
            live = LiveRun(RunRow(id=run, definition="", created_us=0, updated_us=0, partition=NOWHERE), Phase.LOADING)
            live.performances = self._under_way.pop(run, {})
            self._node.roster.add(live)
        await self._read(wanted)

    async def _read(self, wanted: Sequence[RunId]) -> None:
        """Together, or one by one if they cannot all be read: then only the one to blame is left out (G6)."""
        mine = self._node.share.mine
        try:
            journals, blobs = await patiently(self._node.around.clock, lambda: self._node.loader.read(wanted, mine))
        except Exception as error:
            if len(wanted) > 1:
                for run in wanted:
                    await self._read([run])
            else:
                logger.error("run %s cannot be read: %s", wanted[0], error, extra={"run": wanted[0]})
                self._tell_missing(wanted[0], error)
            return
        again = []
        for journal in journals:
            if journal.loaded.row.partition in self._node.share.mine & mine:
                self._restore(journal, blobs)
            elif journal.loaded.row.partition in self._node.share.mine:
                again.append(journal.loaded.row.id)  # It came to this node during the read, which has left its journal out.
            else:
                self._tell_missing(journal.loaded.row.id, RunElsewhere(run=journal.loaded.row.id))
        found = {journal.loaded.row.id for journal in journals}
        for run in wanted:
            if run not in found:
                self._tell_missing(run, RunNotFound(run=run))
        if again:
            await self._read(again)

    def _tell_missing(self, run: RunId, error: Exception) -> None:
        missing = self._node.roster.get(run)
        if missing is not None:
            self._node.roster.forget(missing)
            for arrival in missing.arrivals:
                arrival.refuse(error)
        for future in self._waiters.pop(run, ()):
            if not future.done():
                future.set_exception(error)

    def _restore(self, journal: Journal, blobs: dict[str, bytes]) -> None:
        run = self._node.roster.get(journal.loaded.row.id)
        if run is None or not self._node.is_open:
            return
        was_stalled = journal.loaded.row.status is Status.STALLED
        if journal.loaded.row.status.is_final:
            run.row, run.phase = journal.loaded.row, Phase.ENDED
            self._node.roster.forget(run)
        else:
            try:
                self._node.loader.restore(run, journal, blobs)
                run.phase = Phase.ACTIVE
            except DefinitionNotFound as error:
                self._park(run, str(error))
            except Exception as error:
                self._stall(run, error, is_again=was_stalled)
        waiting, run.arrivals = run.arrivals, []
        recover(self._node, run, journal, blobs, waiting=waiting, was_stalled=was_stalled)
        for future in self._waiters.pop(run.row.id, ()):
            if not future.done():
                future.set_result(run)

    def let_go(self, runs: Set[RunId]) -> None:
        """These runs are another node's now."""
        self._parked -= runs
        for run in runs:
            self._under_way.pop(run, None)
            self._to_load.pop(run, None)

    def note_parked(self, run: RunId) -> None:
        """The run waits in memory for its code."""
        self._parked.add(run)

    def _park(self, run: LiveRun, reason: str) -> None:
        """The run waits for its code; ``why()`` says so, and it goes on when the code is registered."""
        run.phase = Phase.STOPPED
        self._parked.add(run.row.id)
        if run.row.reason != reason:
            logger.warning("run %s waits: %s", run.row.id, reason, extra={"run": run.row.id})
            # A stalled run is found by its status; were it held too, its way back to running would go unwritten.
            is_stalled = run.row.status is Status.STALLED
            self._node.pump.change(run, Status.STALLED if is_stalled else Status.WAITING, None if is_stalled else HELD, reason=reason)

    def _stall(self, run: LiveRun, error: Exception, *, is_again: bool) -> None:
        run.phase = Phase.STOPPED
        if is_again:
            run.drop_mind()
            return
        run.last_us = max(run.last_us, self._node.around.clock.now_us())
        run.is_committing = True
        self._node.committer.pieces.append(stall_run(run, (), error, self._node.committer.batch, self._node.around.tools.limits))
        self._node.pump.schedule()

    def try_parked(self) -> None:
        """New definitions or actions: what was parked for want of them is tried again."""
        parked = set(self._parked)
        self._parked.clear()
        for id in parked:
            run = self._node.roster.get(id)
            if run is not None and run.phase is Phase.STOPPED and not run.is_committing:
                self._let_go(run)
                self.ask_for(id)
            elif run is not None:
                self._parked.add(id)
        for run in self._node.roster:
            if run.phase is Phase.ACTIVE:
                self._retry_unknown(run)

    def _retry_unknown(self, run: LiveRun) -> None:
        for call in run.unserved & run.specs.keys():
            known = self._node.around.definitions.action(run.specs[call].spec.name)
            if known is not None and run.specs[call].spec.function is None:
                run.adopt(call, known)
        if served := self._node.dispatcher.sift(run, run.unserved & run.ledger.calls.keys()):
            self._node.pump.change(run, Status.RUNNING, HELD, reason=run.missing_action(), dispatch=served)

    async def reload(self, run: LiveRun) -> LiveRun:
        """A stopped run is read and replayed anew."""
        await self._node.committer.idle()
        if self._node.roster.get(run.row.id) is run and run.phase is Phase.STOPPED:
            self._let_go(run)
        return await self.live(run.row.id)

    def _let_go(self, run: LiveRun) -> None:
        """A stopped run is about to be loaded anew: attempts under way go on, and messages that it left lying are taken again."""
        self._node.roster.forget(run)
        self._node.postroom.forget({run.row.id})
        if run.performances:
            self._under_way[run.row.id] = run.performances
