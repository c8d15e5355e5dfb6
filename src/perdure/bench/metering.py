"""An engine whose price at the server is measured too, where there is a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from perdure import Engine
from perdure.bench.bench import Bench, until_none_is_open
from perdure.bench.workflows import chain

SETTLING_RUNS = 32


class AnyMeter(Protocol):
    async def begin(self) -> None:
        """Measuring begins."""
        ...

    async def end(self) -> None:
        """Measuring has ended."""
        ...

    def use(self, steps: int) -> dict[str, Any]:
        """Give the price of a step, by name."""
        ...


class NoMeter:
    """Where the store is in this process, its price is that of the process."""

    async def begin(self) -> None:
        return None

    async def end(self) -> None:
        return None

    def use(self, steps: int) -> dict[str, Any]:
        return {}


@asynccontextmanager
async def metered(bench: Bench, *, is_client: bool = False) -> AsyncIterator[tuple[Engine, AnyMeter]]:
    """Give an open engine and what measures the server."""
    # Where one looks at this process, counting would only be in the way.
    if not bench.is_postgres or bench.sampler is not None:
        async with bench.engine(is_client=is_client) as engine:
            yield engine, NoMeter()
        return
    from perdure.bench.postgres.meter import Meter, counted

    with counted() as trips:
        async with bench.engine(is_client=is_client) as engine:
            yield engine, Meter(bench.server, bench.schema, trips, lambda: settle(engine))


async def settle(engine: Engine) -> None:
    """Every node has written something: so many runs lie in the partitions of all of them. Asks the store itself as little as it can."""
    await asyncio.gather(*(engine.start(chain, 1) for _ in range(SETTLING_RUNS)))
    await until_none_is_open(engine)
