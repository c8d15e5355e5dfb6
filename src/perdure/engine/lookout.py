"""Sees what the store has for this node: runs that are due, messages, what a dead node left. Protects from any of it lying there (G9)."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from perdure.engine.patience import patiently
from perdure.engine.runs.live import Phase
from perdure.model.errors import StoreUnavailable
from perdure.model.run import Status
from perdure.ports.store import Hint, RunQuery

if TYPE_CHECKING:
    from perdure.engine.node import Node

DUE_MAX = 1_000


class Lookout:
    def __init__(self, node: "Node") -> None:
        self._node = node
        self._store = node.around.store
        self._traits = node.around.store.traits
        # Whatever this process has posted before it heard hints is looked for by the first poll.
        self._is_behind = True
        self._pause_us = self._traits.poll_us

    async def take_over(self, partitions: Collection[int]) -> None:
        """The runs of these partitions that were in flight, that are due, that have messages or are stalled, are on their way."""
        clock = self._node.around.clock
        for run in await patiently(clock, lambda: self._store.held(partitions)):
            self._node.fetcher.ask_for(run)
        await patiently(clock, lambda: self._ask_for_stalled(partitions))
        # Asked first and looked at then: news is told once, and what came after a look would not be looked for again.
        await patiently(clock, lambda: self._store.has_news(self._node.share.mine))
        await self.look_for_due()
        await patiently(clock, self._node.postroom.look)

    async def _ask_for_stalled(self, partitions: Collection[int]) -> None:
        """A restart may have brought mended code: every stalled run is tried again."""
        before = None
        while page := await self._store.find(RunQuery(status=Status.STALLED, before=before)):
            for row in page:
                if row.partition in partitions:
                    self._node.fetcher.ask_for(row.id)
            before = (page[-1].created_us, page[-1].id)

    # Looking again and again.

    def pause_us(self) -> int:
        """Give the span until the next look: short while others write, longer and longer while they do not."""
        return self._pause_us

    async def poll(self) -> None:
        try:
            has_news = await self._store.has_news(self._node.share.mine)
        except StoreUnavailable:
            self._is_behind = True  # It may have said yes, and will not say so again.
            raise
        self._pause_us = self._traits.poll_us if has_news else min(2 * self._pause_us, self._traits.poll_idle_us)
        self._is_behind |= has_news
        while self._is_behind:
            self._is_behind = False  # A hint that comes during the look is for another one.
            try:
                await self._node.postroom.look()
                await self.look_for_due()
            except BaseException:
                self._is_behind = True
                raise

    def on_hint(self, hint: Hint) -> None:
        """Another writer says that there may be something here."""
        if hint.posted or hint.is_partial:
            # What this process posts itself is no news to the store: an outcome that a worker said here for a run that was not loaded yet.
            self._is_behind = True
            self._node.rounds.once("poll", self.poll)
        if hint.has_moved:
            self._node.rounds.once("lease", self._node.tenure.renew)

    # Runs that are due.

    def on_ring(self) -> None:
        """The earliest wake has come."""
        node, now_us = self._node, self._node.around.clock.now_us()
        for id in node.wakes.take_due(now_us):
            run = node.roster.get(id)
            if run is not None and run.phase is Phase.ACTIVE:
                node.pump.fire(run, now_us)
                node.pump.rest(run)
        if node.wakes.store_us is not None and node.wakes.store_us <= now_us:
            node.rounds.once("due", self.look_for_due)
            node.wakes.store_us = None
        node.wakes.rearm()

    async def look_for_due(self) -> int:
        """Ask for the runs that the store says are due, and learn when the next is; gives their number."""
        node, clock, count = self._node, self._node.around.clock, 0
        while node.is_open and not node.fetcher.is_finished:
            due = await patiently(clock, lambda: self._store.due(node.share.mine, clock.now_us(), DUE_MAX))
            fresh = [run for run in due if node.roster.get(run) is None and not node.fetcher.is_asked_for(run)]
            for run in fresh:
                node.fetcher.ask_for(run)
            count += len(fresh)
            if len(due) < DUE_MAX or not fresh:
                break
            await node.fetcher.loaded()
        node.wakes.store_us = None
        next_us = await patiently(clock, lambda: self._store.next_wake_us(node.share.mine))
        if next_us is not None:
            # What is due already is on its way; the store says otherwise only until its commit. Asking again at once would spin.
            now_us = clock.now_us()
            node.wakes.note_store(next_us if next_us > now_us else now_us + self._traits.poll_us)
        return count
