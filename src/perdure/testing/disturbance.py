"""The environment of a trial: its nodes are disturbed as the case says, and watched."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from msgspec.structs import replace

from perdure.app import Engine
from perdure.deciders.code.definition import Registry
from perdure.engine.node import Node
from perdure.engine.runs.live import LiveRun, Phase
from perdure.engine.runs.loader import Loader
from perdure.model.ids import RunId
from perdure.model.limits import Limits
from perdure.model.run import RunRow
from perdure.ports.store import Batch
from perdure.testing.cases import Case
from perdure.testing.clock import VirtualEntropy
from perdure.testing.effects import EffectsBook, RecordedPerformer
from perdure.testing.env import Environment
from perdure.testing.faults import FaultyStore


class SteadyEntropy(VirtualEntropy):
    """A child gets the same seed however often its parent's commit is tried."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._base = seed

    def seed(self) -> int:
        return self._base


class TrialEnvironment(Environment):
    """An environment whose nodes are disturbed and watched."""

    def __init__(self, case: Case, *, registry: Registry | None, limits: Limits, seed: int, is_shuffled: bool) -> None:
        if case.is_cold:
            limits = replace(limits, runs_idle_max=0)
        self.faulty = FaultyStore(
            crash_before=case.crash_before,
            crash_after=case.crash_after,
            slow_turns=case.slow_turns,
            is_repeating=case.is_doubled,
            after_commit=self._after_commit,
        )
        super().__init__(self.faulty, registry=registry, limits=limits, seed=seed)
        self.entropy = SteadyEntropy(seed)
        self.book = EffectsBook(self.clock)
        self.case = case
        self.problems: list[str] = []
        self._shuffle = Random(seed) if is_shuffled else None

    def _make_engine(self) -> Engine:
        self.book.life += 1
        engine = super()._make_engine()
        make_node = engine._make_node

        def disturbed(on_lost: Callable[[BaseException], None]) -> Node:
            node = make_node(on_lost)
            node.dispatcher._performer = RecordedPerformer(node.dispatcher._performer, self.book, self._shuffle)
            if self.case.is_doubled:
                _double(node)
            return node

        engine._seat._make_node = disturbed
        return engine

    async def _after_commit(self, batch: Batch, refused: Mapping[RunId, RunRow]) -> None:
        self.book.take_commit(batch, refused)
        if self.case.is_cold and self._engine is not None and self._engine.node is not None:
            for run in dict.fromkeys(row.run for row in batch.rows):
                await self._replay(run, self._engine.node)

    async def _replay(self, run: RunId, node: Node) -> None:
        """The journal so far, replayed by a fresh mind, must lead to where the run is."""
        journals, blobs = await Loader(self.faulty, node.around.definitions, node.around.tools).read([run], node.share.held)
        for journal in journals:
            fresh = LiveRun(journal.loaded.row, Phase.LOADING)
            try:
                Loader(self.faulty, node.around.definitions, node.around.tools).restore(fresh, journal, blobs)
            except Exception as error:
                self.problems.append(f"the journal of {run} cannot be replayed after row {fresh.number}: {error}")
            finally:
                fresh.drop_mind()


def _double(node: Node) -> None:
    """Outcomes and messages come twice, one right after the other."""
    tell, take = node.dispatcher._tell, node.postroom.take

    def tell_twice(run: LiveRun, arrival: Any) -> None:
        tell(run, arrival)
        if arrival.stimulus is not None:
            tell(run, replace(arrival, done=None))

    def take_twice(items: Any) -> None:
        take(items)
        take(items)

    node.dispatcher._tell = tell_twice
    node.postroom.take = take_twice  # type: ignore[method-assign]
    node.pump.on_post = take_twice
