"""A node: the one that advances the runs of its store. Protects from runs being forgotten by a crash, a restart or a missing definition."""

import logging
from collections.abc import Callable
from random import Random

from msgspec import Struct

from perdure.deciders.decider import Tools
from perdure.engine.committer import Committer
from perdure.engine.desk import Desk
from perdure.engine.dispatcher import Dispatcher
from perdure.engine.fetcher import Fetcher
from perdure.engine.intake import Intake
from perdure.engine.live import Phase
from perdure.engine.loader import Loader
from perdure.engine.patience import patiently
from perdure.engine.postroom import Postroom
from perdure.engine.pump import Pump
from perdure.engine.retrier import Retrier
from perdure.engine.roster import Roster
from perdure.engine.rounds import Rounds
from perdure.engine.starter import Starter
from perdure.engine.transition import Transitions
from perdure.engine.wakes import Wakes
from perdure.model.errors import EngineClosed
from perdure.model.run import HELD, Status
from perdure.ports.clock import Clock, Entropy, pause
from perdure.ports.definitions import Definitions
from perdure.ports.performer import Performer
from perdure.ports.store import RunQuery, Store

logger = logging.getLogger("perdure.engine")

LEASE_US = 10_000_000
POLL_US = 100_000
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
        self.starter: Starter = Starter(
            self.pump, clock=around.clock, entropy=around.entropy, definitions=around.definitions, tools=around.tools
        )
        self.fetcher: Fetcher = Fetcher(self)
        self.rounds: Rounds = Rounds(around.clock, name)
        self.postroom: Postroom = Postroom(self)
        self.desk: Desk = Desk(self)
        self.retrier: Retrier = Retrier(self)
        self._on_fenced = on_lost
        self._is_behind = False
        self._stop_listening: Callable[[], None] = lambda: None
        self._wire()

    def _wire(self) -> None:
        self.pump.committer = self.committer
        self.pump.dispatcher = self.dispatcher
        self.pump.roster = self.roster
        self.pump.wakes = self.wakes
        self.pump.starter = self.starter
        self.pump.on_post = self.postroom.take
        self.starter.on_parked = self.fetcher.note_parked
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
        self._stop_listening = self.around.definitions.listen(self.fetcher.try_parked)
        for run in await self.around.store.held():
            self.fetcher.ask_for(run)
        await self._ask_for_stalled()
        self.wakes.store_us = clock.now_us()
        await self.look_for_due()
        await self.around.store.has_news()
        await self.postroom.look()
        self.rounds.every("poll", POLL_US, self._poll)
        self.rounds.every("lease", LEASE_US // 3, self._renew)
        return True

    async def _ask_for_stalled(self) -> None:
        """A restart may have brought mended code: every stalled run is tried again."""
        before = None
        while page := await self.around.store.find(RunQuery(status=Status.STALLED, before=before)):
            for row in page:
                self.fetcher.ask_for(row.id)
            before = (page[-1].created_us, page[-1].id)

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
        await self.fetcher.finish()
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
        self.rounds.close()
        self.committer.is_dead = True
        self.roster.close()
        self.desk.close()
        self.fetcher.close()

    # Waking.

    def _on_ring(self) -> None:
        now_us = self.around.clock.now_us()
        for id in self.wakes.take_due(now_us):
            run = self.roster.get(id)
            if run is not None and run.phase is Phase.ACTIVE:
                self.pump.fire(run, now_us)
                self.pump.rest(run)
        if self.wakes.store_us is not None and self.wakes.store_us <= now_us:
            self.rounds.once("due", self.look_for_due)
            self.wakes.store_us = None
        self.wakes.rearm()

    async def look_for_due(self) -> int:
        """Ask for the runs that the store says are due, and learn when the next is; gives their number."""
        count, store = 0, self.around.store
        while self.is_open:
            due = await patiently(self.around.clock, lambda: store.due(self.around.clock.now_us(), DUE_MAX))
            fresh = [run for run in due if self.roster.get(run) is None and not self.fetcher.is_asked_for(run)]
            for run in fresh:
                self.fetcher.ask_for(run)
            count += len(fresh)
            if len(due) < DUE_MAX or not fresh:
                break
            await self.fetcher.loaded()
        self.wakes.store_us = None
        next_us = await patiently(self.around.clock, store.next_wake_us)
        if next_us is not None:
            # What is due already is on its way; the store says otherwise only until its commit. Asking again at once would spin.
            now_us = self.around.clock.now_us()
            self.wakes.note_store(next_us if next_us > now_us else now_us + POLL_US)
        return count
