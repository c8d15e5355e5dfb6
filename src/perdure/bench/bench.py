"""Where a workload runs and how large it is, and what all of them begin with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from perdure import Engine, Status
from perdure.bench.gauge import Gauge
from perdure.bench.result import Result
from perdure.bench.sampler import Sampler
from perdure.bench.workflows import chain, registry

WARM_RUNS = 20
_LOOK_S = 0.02


class Bench(msgspec.Struct, frozen=True):
    """Where and how large. ``scale`` shrinks the sizes, ``is_full`` asks for those of a million; ``settings`` go with every figure.

    ``server`` and ``schema``: of PostgreSQL, where that is the store. ``seconds``: how long a workload goes on that has no size.
    ``connect``: what a process is connected to that is no node.
    """

    store: str
    folder: Path
    scale: float
    settings: dict[str, Any]
    sampler: Sampler | None = None
    server: str = ""
    schema: str = ""
    is_full: bool = False
    seconds: float = 60.0
    connect: str = ""

    def gauge(self) -> Gauge:
        return Gauge(self.sampler)

    def sized(self, size: int) -> int:
        return max(1, round(size * self.scale))

    @property
    def is_postgres(self) -> bool:
        return bool(self.server)

    @property
    def file(self) -> Path:
        return self.folder / "bench.db"

    @property
    def url(self) -> str:
        if self.is_postgres:
            # The schema's name is also that of the connections, so that the server tells them from others.
            return f"{self.server}{'&' if '?' in self.server else '?'}schema={self.schema}&application_name={self.schema}"
        return "memory://" if self.store == "memory" else f"sqlite:///{self.file}"

    def result(self, workload: str, value: float, unit: str, **more: Any) -> Result:
        return Result("perdure", workload, round(value, 6), unit, {**self.settings, **more})

    @asynccontextmanager
    async def engine(self, *, is_client: bool = False) -> AsyncIterator[Engine]:
        async with Engine(self.url, registry=registry, is_client=is_client) as engine:
            yield engine


def commits_of(engine: Engine) -> int:
    """Give the commits that the node has made."""
    return 0 if engine.node is None else engine.node.committer.commits


async def warm(engine: Engine) -> None:
    """Short runs have been through all of it once."""
    await asyncio.gather(*(engine.run(chain, 2) for _ in range(WARM_RUNS)))


async def until_none_is_open(engine: Engine) -> None:
    """All runs have ended. Asking the store now and then is cheaper than a handle that waits for each of so many."""
    while await engine.list(status=Status.RUNNING, limit=1) or await engine.list(status=Status.WAITING, limit=1):  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
