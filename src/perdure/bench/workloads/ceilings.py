"""The raw ceilings, measured like a workload: the bare driver, in groups of a thousand rows and, for latency, one by one."""

from typing import Any

from perdure.bench import raw
from perdure.bench.bench import Bench
from perdure.bench.result import Result

ROWS, COMMITS = 100_000, 2_000
SCALE_SHORT = 0.1
GROUP = 1_000


async def ceiling(bench: Bench) -> list[Result]:
    """The ceiling of this store."""
    # Not scaled with the rest: a file of few rows is faster than any engine's will ever be.
    total, single = (ROWS, COMMITS) if bench.scale >= SCALE_SHORT else (1_000, 10)
    if bench.is_postgres:
        grouped, read, alone = await _on_postgres(bench, total, single)
    elif bench.store == "memory":
        return [_raw(bench, "ceiling", raw.write_memory(total, GROUP), "rows/s", rows=total, per_commit=GROUP)]
    else:
        file = bench.folder / "raw.db"
        grouped, read = raw.write_sqlite(file, total, GROUP), raw.read_sqlite(file, total)
        alone = raw.write_sqlite(bench.folder / "single.db", single, 1)
    return [
        _raw(bench, "ceiling", grouped, "rows/s", rows=total, per_commit=GROUP),
        _raw(bench, "ceiling_read", read, "rows/s", rows=total),
        _raw(bench, "ceiling_single", 1e3 / alone, "ms a commit", rows=single, per_commit=1),
    ]


async def _on_postgres(bench: Bench, total: int, single: int) -> tuple[float, float, float]:
    from perdure.bench.postgres.raw import RawTable

    async with RawTable(bench.server, bench.schema) as table:
        return await table.write(total, GROUP), await table.read(total), await table.write(single, 1)


def _raw(bench: Bench, workload: str, value: float, unit: str, **more: Any) -> Result:
    return Result("raw", workload, round(value, 6), unit, {**bench.settings, **more})
