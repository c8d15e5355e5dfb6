"""A node: it advances the runs of the partitions that it holds. Protects from runs being forgotten by a crash, a restart or a deploy."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from random import Random

from msgspec import Struct

from perdure.deciders.decider import Tools
from perdure.engine.callers.desk import Desk
from perdure.engine.callers.fetcher import Fetcher
from perdure.engine.callers.retrier import Retrier
from perdure.engine.callers.waits import Waits
from perdure.engine.calls.beats import Beats
from perdure.engine.calls.dispatcher import Dispatcher
from perdure.engine.committer import Committer
from perdure.engine.herald import Herald
from perdure.engine.inbox.intake import Intake
from perdure.engine.inbox.keeping import kept_outcome
from perdure.engine.inbox.postroom import Postroom
from perdure.engine.lookout import Lookout
from perdure.engine.policing import Policing
from perdure.engine.pruner import Pruner
from perdure.engine.pump import Pump
from perdure.engine.rounds import Rounds
from perdure.engine.runs.loader import Loader
from perdure.engine.runs.roster import Roster
from perdure.engine.runs.starter import Starter
from perdure.engine.runs.transition import Transitions
from perdure.engine.sharing.handover import Handover
from perdure.engine.sharing.share import Share
from perdure.engine.sharing.tenure import Tenure
from perdure.engine.wakes import Wakes
from perdure.model.call import Attempt, Outcome
from perdure.model.retention import FOREVER, Retention
from perdure.ports.clock import Clock, Entropy, pause
from perdure.ports.definitions import Definitions
from perdure.ports.nursery import Nursery
from perdure.ports.performer import Performer
from perdure.ports.store import Batch, Hint, InboxItem, Store

logger = logging.getLogger("perdure.engine")

DRAIN_LOOK_US = 10_000
DRAIN_MAX_US = 365 * 86_400_000_000
"""Whoever drains a node says how long; this only keeps the sum finite."""


class Surroundings(Struct, frozen=True):
    """What a node is given to work with."""

    store: Store
    clock: Clock
    entropy: Entropy
    definitions: Definitions
    performer: Performer
    tools: Tools
    lease_us: int = 10_000_000
    retention: Retention = FOREVER


class Node:
    """Owns its share of a store's runs from `open` to `close`. ``on_lost``: it was fenced and has stopped."""

    def __init__(self, around: Surroundings, *, name: str, on_lost: Callable[[BaseException], None]) -> None:
        self.around: Surroundings = around
        self.name: str = name
        self.is_open = False
        self.tenure: Tenure = Tenure(around.store, around.clock, name=name, lease_us=around.lease_us)
        self.share: Share = self.tenure.share
        limits = around.tools.limits
        self.intake: Intake = Intake(limits)
        self.pump: Pump = Pump(
            clock=around.clock,
            definitions=around.definitions,
            limits=limits,
            transitions=Transitions(around.tools, around.definitions, self.intake),
        )
        self.wakes: Wakes = Wakes(around.clock, lambda: self.lookout.on_ring())
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
            self.pump, entropy=around.entropy, definitions=around.definitions, tools=around.tools, share=self.share
        )
        self.herald: Herald = Herald(around.store, self.roster)
        self.fetcher: Fetcher = Fetcher(self)
        self.rounds: Rounds = Rounds(around.clock, name)
        self.postroom: Postroom = Postroom(self)
        self.beats: Beats = Beats(around.clock, write=self.postroom.write_beat, is_under_way=self.dispatcher.is_under_way)
        self.lookout: Lookout = Lookout(self)
        self.handover: Handover = Handover(self)
        self.waits: Waits = Waits(self)
        self.desk: Desk = Desk(self)
        self.pruner: Pruner = Pruner(
            around.store, around.clock, around.retention, mine=lambda: self.share.mine, letters_max=lambda: limits.letters_max
        )
        self.retrier: Retrier = Retrier(self)
        self.policing: Policing = Policing(around.store, limits, around.retention, self._retain)
        self._nursery = Nursery()
        self._on_fenced = on_lost
        self._farewell: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._stop_listening: Callable[[], None] = lambda: None
        self._wire()

    def _retain(self, retention: Retention) -> None:
        self.pruner.retention = retention

    def _wire(self) -> None:
        self.pump.committer = self.committer
        self.pump.dispatcher = self.dispatcher
        self.pump.roster = self.roster
        self.pump.wakes = self.wakes
        self.pump.starter = self.starter
        self.pump.on_post = self._on_post
        self.committer.on_written = self._on_written
        self.dispatcher.leaving = self.share.leaving
        self.tenure.on_taken = self._on_taken
        self.tenure.on_asked = self._on_asked
        self.tenure.on_lost = self._on_lost
        self.starter.on_parked = self.fetcher.note_parked
        self.dispatcher.on_quiet = self.pump.rest
        self.dispatcher.on_beat = self.beats.keep
        self.dispatcher.on_kept = lambda item: self.postroom.take([item])
        self.around.performer.keep_with(self._kept)
        self.around.performer.listen(self.fetcher.try_parked)

    # Life.

    @property
    def epoch(self) -> int:
        return self.tenure.epoch

    async def open(self) -> bool:
        """Take a share of the partitions, and all runs there that were in flight; ``False`` if another node has the store to itself."""
        if not await self.tenure.begin():
            return False
        self.is_open = True
        self._nursery.open()
        self.committer.open(self.epoch)
        self._stop_listening = self.around.definitions.listen(self.fetcher.try_parked)
        self.wakes.store_us = self.around.clock.now_us()
        try:
            await self.policing.begin()
            await self.tenure.renew()
        except BaseException:
            # It may have partitions by now, and work begun on them; nobody would ever renew its lease.
            self._stop()
            raise
        if self.is_open:
            self._unsubscribe = self.around.store.subscribe(self.lookout.on_hint)
            self._begin_rounds()
        return self.is_open

    def _begin_rounds(self) -> None:
        self.rounds.every("poll", self.lookout.pause_us, self.lookout.poll)
        self.rounds.every("lease", self.tenure.pause_us, self.tenure.renew)
        self.rounds.every("policy", lambda: self.around.lease_us * 9 // 10, self.policing.look)
        self.rounds.every("prune", self.pruner.pause_us, self.pruner.run_once)

    def _on_taken(self, partitions: Collection[int]) -> None:
        """These partitions are this node's now. Looking after them may take long, and the lease must be renewed meanwhile."""
        self.rounds.run_errand(f"take-over of {min(partitions)}", lambda: self.lookout.take_over(partitions))

    def _on_asked(self, partitions: Collection[int]) -> None:
        """Another node is to have these partitions."""
        self.rounds.once("handover", lambda: self.handover.give(partitions, patience_us=self.around.lease_us // 2))

    def _on_written(self, batch: Batch) -> None:
        self.postroom.written(batch)
        self.herald.written(batch)

    def _on_post(self, items: Sequence[InboxItem]) -> None:
        self.herald.posted(items)
        self.postroom.take(items)

    def _kept(self, attempt: Attempt, outcome: Outcome) -> Batch:
        inline_max = self.around.tools.limits.payload_inline_max
        return kept_outcome(attempt, outcome, epoch=self.epoch, now_us=self.around.clock.now_us(), inline_max=inline_max)

    def _on_lost(self, error: BaseException) -> None:
        if not self.is_open:
            return  # A commit and a renewal that were under way both find it out.
        logger.error("node %s has stopped: %s", self.name, error)
        self._stop(is_lost=True)
        # What it had under way is another node's now; whatever it says would be dropped.
        self._farewell = asyncio.get_running_loop().create_task(self.around.performer.close())
        self._on_fenced(error)

    async def drain(self) -> None:
        """Nothing new begins; returns when no attempt is under way and all outcomes are written. What is not busy is handed over."""
        self.dispatcher.is_draining = self.tenure.is_leaving = True
        await self.fetcher.finish()
        if self.around.store.traits.partitions > 1:
            await self.handover.give(self.share.mine, patience_us=DRAIN_MAX_US)
        while self.dispatcher.running and self.is_open:
            await pause(self.around.clock, DRAIN_LOOK_US)
        await self.committer.idle()

    async def close(self) -> None:
        """All is written, runs are released for the next node, the lease is free."""
        if not self.is_open:
            return
        self.dispatcher.is_draining = True
        await self.fetcher.finish()
        self.beats.flush()
        await self.handover.write_out(self.share.held)
        await self.around.performer.close()
        await self.handover.settle(self.share.held)
        await self.committer.idle()
        self._stop()
        await self.committer.abort()
        await self.postroom.close()
        await self.tenure.end()
        self.around.store.announce(Hint(has_moved=True))

    async def crash(self) -> None:
        """Stop at once without writing anything, as a dead process would; for tests of recovery."""
        self._stop()
        await self.committer.abort()
        await self.around.performer.close()

    def _stop(self, *, is_lost: bool = False) -> None:
        self.is_open = False
        self._nursery.close()
        self._unsubscribe()
        self._stop_listening()
        self.wakes.close()
        self.rounds.close()
        self.beats.close()
        self.committer.is_dead = True
        self.roster.close()
        self.waits.close(is_lost=is_lost)
        self.desk.close(is_lost=is_lost)
        self.fetcher.close()
