"""A steady load while another session holds an old snapshot: dead rows cannot be cleaned away, and must stay few all the same."""

import asyncio
import time

from perdure import Engine
from perdure.bench.bench import Bench, warm
from perdure.bench.result import Result
from perdure.bench.workflows import chain

IN_FLIGHT, STEPS = 100, 10
EDGE = 0.1
"""The share of the time at each end over which the rate is told."""


async def bloat(bench: Bench) -> list[Result]:
    """Run chains for ``seconds`` beside an idle transaction that began before them."""
    from perdure.bench.postgres.snapshot import held_snapshot, table_sizes

    ends: list[float] = []
    async with bench.engine() as engine, held_snapshot(bench.server):
        await warm(engine)
        before, began = await table_sizes(bench.server, bench.schema), time.perf_counter()
        await _load(engine, began + bench.seconds, ends)
        ended = time.perf_counter()
        after = await table_sizes(bench.server, bench.schema)
    edge = (ended - began) * EDGE
    first = sum(instant < began + edge for instant in ends) * STEPS / edge
    last = sum(instant > ended - edge for instant in ends) * STEPS / edge
    more = {
        "seconds": round(ended - began, 1),
        "runs": len(ends),
        "steps_s_first": round(first),
        "steps_s_last": round(last),
        "dead_rows": sum(table.dead for table in after.values()),
        "dead_rows_per_run": round(sum(table.dead for table in after.values()) / max(1, len(ends)), 3),
        "dead": {name: table.dead for name, table in after.items() if table.dead},
        "mb_before": {name: round(table.size / 1e6, 2) for name, table in before.items()},
        "mb": {name: round(table.size / 1e6, 2) for name, table in after.items()},
    }
    return [bench.result("bloat", last / first if first else 0.0, "of the first rate at the end", **more)]


async def _load(engine: Engine, end: float, ends: list[float]) -> None:
    async def one_after_another() -> None:
        while time.perf_counter() < end:
            await engine.run(chain, STEPS)
            ends.append(time.perf_counter())

    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
