"""A process with many sleeping runs: ``python -m tests.crash.sleepers FOLDER COUNT STEP``; prints what it measured as JSON.

``start`` puts them to sleep for a year; ``restart`` opens an engine on the file and closes it again; ``wake`` moves the clock by a year and
waits until all have ended. By hand, for the full size: ``python -m tests.crash.sleepers /tmp/x 100000 start``, then the other two.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from msgspec import json

from perdure import Engine, Limits, workflow
from perdure.model.ids import RunId
from perdure.model.run import Status
from perdure.ports.clock import Alarm
from perdure.ports.store import Loaded, RunQuery
from perdure.ports.system import SystemClock
from perdure.stores.sqlite import SqliteStore

YEAR_US = 365 * 86_400 * 1_000_000
BURST = 1_000


@workflow(name="sleepers_sleep")
async def sleep() -> str:
    await asyncio.sleep(YEAR_US / 1_000_000)
    return "woken"


class LaterClock(SystemClock):
    """The machine's clock, so much ahead."""

    def __init__(self, ahead_us: int) -> None:
        self._ahead_us = ahead_us

    def now_us(self) -> int:
        return super().now_us() + self._ahead_us

    def call_at(self, when_us: int, callback: Callable[[], object]) -> Alarm:
        return super().call_at(when_us, callback)


class CountingStore(SqliteStore):
    """Counts the runs whose journals were read."""

    loads = 0

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        self.loads += len(runs)
        return await super().load(runs, within)


def rss_mb() -> float:
    """The most memory that this process ever had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def start(engine: Engine, count: int) -> None:
    for _ in range(0, count, BURST):
        await asyncio.gather(*(engine.start(sleep) for _ in range(BURST)))


async def all_ended(engine: Engine) -> None:
    """Wait for the end of each run that is still open, oldest first."""
    while open_runs := await engine.store.find(RunQuery(status=Status.WAITING, limit=BURST)):
        await asyncio.gather(*(engine.get(row.id).result() for row in open_runs))
    while open_runs := await engine.store.find(RunQuery(status=Status.RUNNING, limit=BURST)):
        await asyncio.gather(*(engine.get(row.id).result() for row in open_runs))


async def main(folder: Path, count: int, step: str) -> None:
    store = CountingStore(folder / "perdure.db")
    clock = LaterClock(2 * YEAR_US if step == "wake" else 0)
    begun = time.monotonic()
    async with Engine(store, clock=clock, limits=Limits(runs_idle_max=1_000)) as engine:
        opened = time.monotonic() - begun
        if step == "start":
            await start(engine, count)
        elif step == "wake":
            await all_ended(engine)
    await store.close()
    took = time.monotonic() - begun
    measured = {"rss_mb": round(rss_mb()), "loads": store.loads, "opened_s": round(opened, 2), "took_s": round(took, 1)}
    sys.stdout.write(json.encode(measured).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
