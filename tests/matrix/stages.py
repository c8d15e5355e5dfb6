"""Where whole runs are played: on every store, warm (runs stay in memory) and cold (replayed before every transition, over crashes)."""

from pathlib import Path
from typing import Any

from perdure import Limits, Run, Workflow
from perdure.ports.store import RunQuery
from perdure.testing.env import Environment
from tests.engine.stores import STORES

CALM = 3


class Stage:
    """One play: ``start`` a run, ``do`` things to it from outside, ``finish`` it. A cold stage forgets and crashes in between."""

    def __init__(self, env: Environment, *, is_cold: bool) -> None:
        self.env = env
        self._is_cold = is_cold

    async def start(self, workflow: Workflow[..., Any], *args: Any) -> None:
        await self.env.engine.start(workflow.options(id="run"), *args)
        await self.between()

    @property
    def run(self) -> Run[Any]:
        return self.env.get("run")

    async def between(self) -> None:
        """All has happened that could; on a cold stage the engine has died since, and a new one has come."""
        await self.quiet()
        if self._is_cold:
            await self.env.crash()
            await self.quiet()

    async def quiet(self) -> None:
        """Nothing moves: not the loop, nor the threads of the store, several times in a row."""
        calm = 0
        while calm < CALM:
            await self.env.settle()
            node = self.env.engine.node
            assert node is not None
            is_busy = node.committer.is_busy or node.committer.has_work or node.fetcher.is_busy or node.rounds.is_at_work
            await self.env.store.find(RunQuery(limit=1))
            await node.committer.idle()
            calm = 0 if is_busy else calm + 1

    async def finish(self) -> Any:
        """Move time from alarm to alarm until the run has ended; gives its result."""
        while not (await self.run.status()).is_final:
            assert await self.env.advance_to_next(), str(await self.run.why())
            await self.between()
        return await self.run.result()


def stage(store: str, folder: Path, *, is_cold: bool) -> Stage:
    """Give a stage whose environment is to be entered."""
    limits = Limits(runs_idle_max=0) if is_cold else Limits()
    return Stage(Environment(STORES[store](folder), limits=limits, seed=7), is_cold=is_cold)
