"""A node: the one that advances the runs of its store. Protects from runs being forgotten by a crash, a restart or a missing definition."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from msgspec import Struct

from perdure.deciders.decider import Tools
from perdure.engine.committer import Committer
from perdure.engine.desk import Desk
from perdure.engine.dispatcher import Dispatcher
from perdure.engine.intake import Intake
from perdure.engine.live import LiveRun, Phase
from perdure.engine.loader import Journal, Loader
from perdure.engine.patience import patiently
from perdure.engine.postroom import Postroom
from perdure.engine.pump import Pump
from perdure.engine.recovery import recover
from perdure.engine.roster import Roster
from perdure.engine.stalling import stall_run
from perdure.engine.transition import Transitions
from perdure.engine.wakes import Wakes
from perdure.model.errors import DefinitionNotFound, EngineClosed, RunNotFound
from perdure.model.ids import CallName, RunId
from perdure.model.run import HELD, RunRow, Status
from perdure.ports.clock import Alarm, Clock, Entropy, pause
from perdure.ports.definitions import Definitions
from perdure.ports.performer import Performance, Performer
from perdure.ports.store import RunQuery, Store

logger = logging.getLogger("perdure.engine")

LEASE_US = 10_000_000
POLL_US = 100_000
LOAD_MAX = 200
DUE_MAX = 1_000
DRAIN_LOOK_US = 10_000


class Surroundings(Struct, frozen=True):
    """What a node is given to work with."""

    store: Store
    clock: Clock
    entropy: Entropy
    definitions: Definitions
    performer: Performer
    tools: Tools


class Node:
    """Owns the runs of one store from `open` to `close`. ``on_lost``: it was fenced and has stopped."""

    def __init__(self, around: Surroundings, *, name: str, on_lost: Callable[[BaseException], None]) -> None:
        self.around: Surroundings = around
        self.name: str = name
        self.epoch = 0
        self.is_open = False
        limits = around.tools.limits
        self.intake: Intake = Intake(limits)
        self.pump: Pump = Pump(
            clock=around.clock,
            entropy=around.entropy,
            definitions=around.definitions,
            limits=limits,
            transitions=Transitions(around.tools, around.definitions, self.intake),
        )
        self.wakes: Wakes = Wakes(around.clock, self._on_ring)
        self.roster: Roster = Roster(self.wakes, limits.runs_idle_max)
        self.committer: Committer = Committer(around.store, around.clock, self.pump.settle, self._on_lost)
        self.dispatcher: Dispatcher = Dispatcher(
            around.performer,
            around.clock,
            tell=self.pump.tell,
            find=self.roster.get,
            limits=limits,
            random=Random(around.entropy.seed()),
        )
        self.loader: Loader = Loader(around.store, around.definitions, around.tools)
        self.postroom: Postroom = Postroom(self)
        self.desk: Desk = Desk(self)
        self._on_fenced = on_lost
        self._to_load: OrderedDict[RunId, None] = OrderedDict()
        self._load_waiters: dict[RunId, list[asyncio.Future[LiveRun]]] = {}
        self._parked: set[RunId] = set()
        self._under_way: dict[RunId, dict[CallName, Performance | None]] = {}
        self._is_behind = False
        self._load_task: asyncio.Task[None] | None = None
        self._rounds: dict[str, asyncio.Task[Any]] = {}
        self._alarms: dict[str, Alarm] = {}
        self._stop_listening: Callable[[], None] = lambda: None
        self._wire()

    def _wire(self) -> None:
        self.pump.committer = self.committer
        self.pump.dispatcher = self.dispatcher
        self.pump.roster = self.roster
        self.pump.wakes = self.wakes
        self.pump.on_post = self.postroom.take
        self.pump.on_parked = self._parked.add
        self.dispatcher.on_quiet = self.pump.rest
        self.dispatcher.on_beat = self.postroom.keep_beat

    # Life.

    async def open(self) -> bool:
        """Take the lease and all runs that were in flight; ``False`` if another node has it."""
        clock = self.around.clock
        epoch = await self.around.store.take_lease(self.name, clock.now_us(), LEASE_US)
        if epoch is None:
            return False
        self.epoch, self.is_open = epoch, True
        self.committer.open(epoch)
        self._stop_listening = self.around.definitions.listen(self._on_registered)
        for run in await self.around.store.held():
            self.ask_for(run)
        await self._ask_for_stalled()
        self.wakes.store_us = clock.now_us()
        await self.look_for_due()
        await self.around.store.has_news()
        await self.postroom.look()
        self._every("poll", POLL_US, self._poll)
        self._every("lease", LEASE_US // 3, self._renew)
        return True

    async def _ask_for_stalled(self) -> None:
        """A restart may have brought mended code: every stalled run is tried again."""
        before = None
        while page := await self.around.store.find(RunQuery(status=Status.STALLED, before=before)):
            for row in page:
                self.ask_for(row.id)
            before = (page[-1].created_us, page[-1].id)

    def _every(self, name: str, span_us: int, work: Callable[[], Any]) -> None:
        """``work`` is done again and again, one round after the other, each a task of its own."""

        async def one_round() -> None:
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.warning("%s of node %s: %s", name, self.name, error)
            again()

        def again() -> None:
            if self.is_open:
                self._alarms[name] = self.around.clock.call_at(self.around.clock.now_us() + span_us, begin)

        def begin() -> None:
            self._rounds[name] = asyncio.get_running_loop().create_task(one_round())

        again()

    async def _poll(self) -> None:
        self._is_behind |= await self.around.store.has_news()
        if self._is_behind:
            await self.postroom.look()
            self.wakes.store_us = self.around.clock.now_us()
            await self.look_for_due()
            self._is_behind = False

    async def _renew(self) -> None:
        if not await self.around.store.renew_lease(self.epoch, self.around.clock.now_us(), LEASE_US):
            self._on_lost(EngineClosed(state="fenced", asked="the renewal of the lease"))

    def _on_lost(self, error: BaseException) -> None:
        logger.error("node %s has stopped: %s", self.name, error)
        self._stop()
        self._on_fenced(error)

    async def drain(self) -> None:
        """Nothing new begins; returns when no attempt is under way and all outcomes are written."""
        self.dispatcher.is_draining = True
        while self.dispatcher.running and self.is_open:
            await pause(self.around.clock, DRAIN_LOOK_US)
        await self.committer.idle()

    async def close(self) -> None:
        """All is written, runs are released for the next node, the lease is free."""
        if not self.is_open:
            return
        self.dispatcher.is_draining = True
        await self._stop_loading()
        await self._settle_all()
        await self.around.performer.close()
        self._give_up()
        await self._settle_all()
        self._release()
        await self.committer.idle()
        self._stop()
        await self.committer.abort()
        await self.postroom.close()
        await self.around.store.release_lease(self.epoch)

    async def _settle_all(self) -> None:
        """Outcomes that have arrived are written before the runs are let go."""
        while self.pump.run_once():
            await self.committer.idle()
        await self.committer.idle()

    def _give_up(self) -> None:
        """Attempts that did not end in time are lost, and the journal says so: the next node need not guess which ones had begun."""
        for run in self.roster:
            begun = frozenset(run.performances.keys() & run.ledger.calls.keys())
            if run.phase is Phase.ACTIVE:
                run.performances.clear()
                for arrival in self.dispatcher.lost_arrivals(run, begun):
                    self.pump.tell(run, arrival)

    def _release(self) -> None:
        """Runs that were held but have nothing under way are merely due: the next node need not think them lost."""
        for run in self.roster:
            if run.phase is Phase.ACTIVE and run.row.wake_us == HELD and not run.performances and run.row.reason is None:
                self.pump.change(run, run.row.status, self.around.clock.now_us())
        self.committer.flush()

    async def crash(self) -> None:
        """Stop at once without writing anything, as a dead process would; for tests of recovery."""
        self._stop()
        await self.committer.abort()
        await self.around.performer.close()

    def _stop(self) -> None:
        self.is_open = False
        self._stop_listening()
        self.wakes.close()
        for alarm in self._alarms.values():
            alarm.cancel()
        for task in (*self._rounds.values(), self._load_task):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self.committer.is_dead = True
        self.roster.close()
        self.desk.close()
        error = EngineClosed(state="closed", asked="the request")
        for waiters in self._load_waiters.values():
            for future in waiters:
                if not future.done():
                    future.set_exception(error)

    async def _stop_loading(self) -> None:
        self._to_load.clear()
        if self._load_task is not None:
            await asyncio.gather(self._load_task, return_exceptions=True)

    # Loading.

    async def live(self, run: RunId) -> LiveRun:
        """Give the run, loaded. Raises `RunNotFound`."""
        if not self.is_open:
            raise EngineClosed(state="closed", asked=f"the request to run {run!r}")
        found = self.roster.get(run)
        if found is not None and found.phase is not Phase.LOADING:
            return found
        future: asyncio.Future[LiveRun] = asyncio.get_running_loop().create_future()
        self._load_waiters.setdefault(run, []).append(future)
        self.ask_for(run)
        return await future

    def ask_for(self, run: RunId) -> None:
        """The run will be loaded, with others, unless it is here."""
        found = self.roster.get(run)
        if found is None:
            self._to_load[run] = None
            if self._load_task is None and self.is_open:
                self._load_task = asyncio.get_running_loop().create_task(self._load_all())

    async def _load_all(self) -> None:
        try:
            while self._to_load and self.is_open:
                await self._load_some([self._to_load.popitem(last=False)[0] for _ in range(min(LOAD_MAX, len(self._to_load)))])
        finally:
            self._load_task = None

    async def _load_some(self, runs: Sequence[RunId]) -> None:
        wanted = [run for run in runs if self.roster.get(run) is None]
        for run in wanted:
            live = LiveRun(RunRow(id=run, definition="", created_us=0, updated_us=0), Phase.LOADING)
            live.performances = self._under_way.pop(run, {})
            self.roster.add(live)
        await self._read(wanted)

    async def _read(self, wanted: Sequence[RunId]) -> None:
        """Together, or one by one if they cannot all be read: then only the one to blame is left out (G6)."""
        try:
            journals, blobs = await patiently(self.around.clock, lambda: self.loader.read(wanted))
        except Exception as error:
            if len(wanted) > 1:
                for run in wanted:
                    await self._read([run])
            else:
                logger.error("run %s cannot be read: %s", wanted[0], error)
                self._tell_missing(wanted[0], error)
            return
        for journal in journals:
            self._restore(journal, blobs)
        found = {journal.loaded.row.id for journal in journals}
        for run in wanted:
            if run not in found:
                self._tell_missing(run, RunNotFound(run=run))

    def _tell_missing(self, run: RunId, error: Exception) -> None:
        missing = self.roster.get(run)
        if missing is not None:
            self.roster.forget(missing)
            for arrival in missing.arrivals:
                arrival.refuse(error)
        for future in self._load_waiters.pop(run, ()):
            if not future.done():
                future.set_exception(error)

    def _restore(self, journal: Journal, blobs: dict[str, bytes]) -> None:
        run = self.roster.get(journal.loaded.row.id)
        if run is None or not self.is_open:
            return
        was_stalled = journal.loaded.row.status is Status.STALLED
        if journal.loaded.row.status.is_final:
            run.row, run.phase = journal.loaded.row, Phase.ENDED
            self.roster.forget(run)
        else:
            try:
                self.loader.restore(run, journal, blobs)
                run.phase = Phase.ACTIVE
            except DefinitionNotFound as error:
                self._park(run, str(error))
            except Exception as error:
                self._stall(run, error, is_again=was_stalled)
        waiting, run.arrivals = run.arrivals, []
        recover(self, run, journal, blobs, waiting=waiting, was_stalled=was_stalled)
        for future in self._load_waiters.pop(run.row.id, ()):
            if not future.done():
                future.set_result(run)

    def _park(self, run: LiveRun, reason: str) -> None:
        """The run waits for its code; ``why()`` says so, and it goes on when the code is registered."""
        run.phase = Phase.STOPPED
        self._parked.add(run.row.id)
        if run.row.reason != reason:
            logger.warning("run %s waits: %s", run.row.id, reason)
            # A stalled run is found by its status; were it held too, its way back to running would go unwritten.
            is_stalled = run.row.status is Status.STALLED
            self.pump.change(run, Status.STALLED if is_stalled else Status.WAITING, None if is_stalled else HELD, reason=reason)

    def _stall(self, run: LiveRun, error: Exception, *, is_again: bool) -> None:
        run.phase = Phase.STOPPED
        if is_again:
            run.drop_mind()
            return
        run.last_us = max(run.last_us, self.around.clock.now_us())
        run.is_committing = True
        self.committer.pieces.append(stall_run(run, (), error, self.committer.batch, self.around.tools.limits))
        self.pump.schedule()

    def _on_registered(self) -> None:
        """New definitions or actions: what was parked for want of them is tried again."""
        parked = set(self._parked)
        self._parked.clear()
        for id in parked:
            run = self.roster.get(id)
            if run is not None and run.phase is Phase.STOPPED and not run.is_committing:
                self._let_go(run)
                self.ask_for(id)
            elif run is not None:
                self._parked.add(id)
        for run in self.roster:
            if run.phase is Phase.ACTIVE:
                self._retry_unknown(run)

    def _retry_unknown(self, run: LiveRun) -> None:
        known = []
        for call, asked in run.specs.items():
            spec = None if asked.spec.function is not None else self.around.definitions.action(asked.spec.name)
            if spec is not None:
                run.adopt(call, spec)
                known.append(call)
        if known:
            self.pump.change(run, Status.RUNNING, HELD, reason=run.missing_action(), dispatch=known)

    async def reload(self, run: LiveRun) -> LiveRun:
        """A stopped run is read and replayed anew."""
        await self.committer.idle()
        if self.roster.get(run.row.id) is run and run.phase is Phase.STOPPED:
            self._let_go(run)
        return await self.live(run.row.id)

    def _let_go(self, run: LiveRun) -> None:
        """A stopped run is about to be loaded anew: attempts under way go on, and messages that it left lying are taken again."""
        self.roster.forget(run)
        self.postroom.forget(run.row.id)
        if run.performances:
            self._under_way[run.row.id] = run.performances

    # Waking.

    def _on_ring(self) -> None:
        now_us = self.around.clock.now_us()
        for id in self.wakes.take_due(now_us):
            run = self.roster.get(id)
            if run is not None and run.phase is Phase.ACTIVE:
                self.pump.fire(run, now_us)
                self.pump.rest(run)
        if self.wakes.store_us is not None and self.wakes.store_us <= now_us:
            self._start_due()
        self.wakes.rearm()

    def _start_due(self) -> None:
        if "due" not in self._rounds or self._rounds["due"].done():
            self._rounds["due"] = asyncio.get_running_loop().create_task(self.look_for_due())
        self.wakes.store_us = None

    async def look_for_due(self) -> int:
        """Ask for the runs that the store says are due, and learn when the next is; gives their number."""
        count, store = 0, self.around.store
        while self.is_open:
            due = await patiently(self.around.clock, lambda: store.due(self.around.clock.now_us(), DUE_MAX))
            fresh = [run for run in due if self.roster.get(run) is None and run not in self._to_load]
            for run in fresh:
                self.ask_for(run)
            count += len(fresh)
            if len(due) < DUE_MAX or not fresh:
                break
            if self._load_task is not None:
                await asyncio.shield(self._load_task)
        self.wakes.store_us = None
        next_us = await patiently(self.around.clock, store.next_wake_us)
        if next_us is not None:
            # What is due already is on its way; the store says otherwise only until its commit. Asking again at once would spin.
            now_us = self.around.clock.now_us()
            self.wakes.note_store(next_us if next_us > now_us else now_us + POLL_US)
        return count
