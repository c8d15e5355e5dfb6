"""Partitions leave this node in good order. Protects what their runs have under way, and the next node from having to guess (I37)."""

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from perdure.engine.runs.live import LiveRun, Phase
from perdure.model.run import HELD
from perdure.ports.clock import pause
from perdure.ports.performer import Performance
from perdure.ports.store import Hint

if TYPE_CHECKING:
    from perdure.engine.node import Node

logger = logging.getLogger("perdure.engine")

LOOK_US = 10_000


class Handover:
    def __init__(self, node: "Node") -> None:
        self._node = node

    async def give(self, partitions: Collection[int], *, patience_us: int) -> None:
        """The partitions are others'. Each goes as soon as its runs have no attempt under way, at the latest after that span."""
        node, clock = self._node, self._node.around.clock
        node.share.begin_leaving(partitions)
        remaining, end_us = set(partitions) & node.share.leaving, clock.now_us() + patience_us
        while remaining and node.is_open:
            ready = remaining if clock.now_us() >= end_us else remaining - self._busy()
            if ready:
                await self._let_go(ready)
                remaining -= ready
            else:
                await pause(clock, min(LOOK_US, max(1, end_us - clock.now_us())))

    def _busy(self) -> set[int]:
        return {run.row.partition for run in self._node.roster if any(map(_is_here, run.performances.values()))}

    async def _let_go(self, partitions: Collection[int]) -> None:
        await self.settle(partitions)
        if not self._node.is_open:
            return
        self._forget(partitions)
        await self._node.tenure.give(partitions)
        self._node.around.store.announce(Hint(has_moved=True))
        logger.info("node %s has handed over %d of its partitions and has %d", self._node.name, len(partitions), len(self._node.share.mine))

    async def settle(self, partitions: Collection[int]) -> None:
        """All that these runs were given is written, and their rows say what the next node has to do for them."""
        await self.write_out(partitions)
        while self._node.is_open and any(_is_keeping(run) for run in self._runs(partitions)):
            await pause(self._node.around.clock, LOOK_US)
        self._give_up(self._runs(partitions))
        await self.write_out(partitions)
        while self._node.is_open and self._release(self._runs(partitions)):
            await self.write_out(partitions)

    def _runs(self, partitions: Collection[int]) -> list[LiveRun]:
        return [run for run in self._node.roster if run.row.partition in partitions]

    async def write_out(self, partitions: Collection[int]) -> None:
        """Nothing of these runs waits for a transition or a commit."""
        node = self._node
        await node.fetcher.loaded()
        while node.is_open and any(_has_work(run) for run in self._runs(partitions)):
            node.pump.run_once()
            await node.committer.idle()

    def _give_up(self, runs: Sequence[LiveRun]) -> None:
        """Attempts that did not end in time are lost, and the journal says so: the next node need not guess which ones had begun."""
        for run in runs:
            begun = frozenset(run.performances.keys() & run.ledger.calls.keys())
            if run.phase is Phase.ACTIVE:
                for performance in run.performances.values():
                    if performance is not None:
                        performance.let_go()
                run.performances.clear()
                for arrival in self._node.dispatcher.lost_arrivals(run, begun):
                    self._node.pump.tell(run, arrival)

    def _release(self, runs: Sequence[LiveRun]) -> int:
        """Runs that were held but have nothing under way are merely due: the next node need not think them lost. Gives their number."""
        held = [run for run in runs if run.phase is Phase.ACTIVE and run.row.wake_us == HELD and run.row.reason is None]
        for run in held:
            self._node.pump.change(run, run.row.status, self._node.around.clock.now_us())
        self._node.committer.flush()
        return len(held)

    def _forget(self, partitions: Collection[int]) -> None:
        node, runs = self._node, self._runs(partitions)
        for run in runs:
            node.roster.forget(run)
            run.drop_mind()
        ids = {run.row.id for run in runs}
        node.postroom.forget(ids)
        node.fetcher.let_go(ids)
        node.waits.let_go(runs)


def _is_here(performance: Performance | None) -> bool:
    return performance is None or not performance.is_elsewhere


def _is_keeping(run: LiveRun) -> bool:
    return any(performance is not None and performance.is_keeping for performance in run.performances.values())


def _has_work(run: LiveRun) -> bool:
    return run.is_dirty or run.is_committing or run.can_advance()
