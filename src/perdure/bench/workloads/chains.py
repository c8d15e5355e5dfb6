"""W1, W2 and W3: runs whose steps come one after another, or all at once."""

import asyncio
import time
from typing import Any

from perdure import Engine
from perdure.bench import raw
from perdure.bench.bench import WARM_RUNS, Bench, commits_of, warm
from perdure.bench.gauge import memory_mb, percentile
from perdure.bench.metering import metered
from perdure.bench.result import Result
from perdure.bench.workflows import chain, fan

IN_FLIGHT = (1_000, 64, 16, 4)
STEPS = 10
FAN_WIDTHS = (100, 1_000, 10_000)


async def chains(bench: Bench) -> list[Result]:
    """W1: many runs of ten steps each, so many of them in flight."""
    return [await chains_in_flight(bench, in_flight) for in_flight in IN_FLIGHT]


async def full_chains(bench: Bench) -> list[Result]:
    """W1 with all runs at once, alone."""
    return [await chains_in_flight(bench, IN_FLIGHT[0])]


async def chains_in_flight(bench: Bench, in_flight: int, *, name: str = "", **more: Any) -> Result:
    """W1 with at most so many runs at once. ``name``: another than its own; ``more`` goes with the figure."""
    runs, spans, steps = bench.sized(1_000), list[float](), STEPS
    gate = asyncio.Semaphore(min(in_flight, runs))

    async def one(engine: Engine) -> None:
        async with gate:
            began = time.perf_counter()
            assert await engine.run(chain, steps) == steps * (steps - 1) // 2
            spans.append(time.perf_counter() - began)

    async with metered(bench) as (engine, meter):
        await warm(engine)
        await meter.begin()
        before = commits_of(engine)
        with bench.gauge() as gauge:
            await asyncio.gather(*(one(engine) for _ in range(runs)))
        commits = commits_of(engine) - before
        await meter.end()
    total = runs * steps
    return bench.result(
        name or ("W1" if in_flight == IN_FLIGHT[0] else f"W1_{in_flight}"),
        total / gauge.wall_s,
        "steps/s",
        runs=runs,
        in_flight=min(in_flight, runs),
        p50_ms=round(percentile(spans, 50) * 1e3, 3),
        p99_ms=round(percentile(spans, 99) * 1e3, 3),
        commits=commits,
        rss_mb=round(memory_mb(), 1),
        **more,
        **gauge.use(total),
        **meter.use(total),
        **_weight(bench, runs * steps + WARM_RUNS * 2),
    )


def _weight(bench: Bench, steps: int) -> dict[str, Any]:
    """What the file holds, for each step that was ever made in it; the file is gone afterwards."""
    if bench.is_postgres or bench.store != "sqlite":
        return {}
    rows, size = raw.weigh(bench.file)
    for part in bench.folder.glob(f"{bench.file.name}*"):
        part.unlink()
    return {"rows_per_step": round(rows / steps, 2), "file_bytes_per_step": round(size / steps)}


async def latency(bench: Bench) -> list[Result]:
    """W2: runs of one step, one after another."""
    runs, spans = bench.sized(200), []
    async with metered(bench) as (engine, meter):
        await warm(engine)
        await meter.begin()
        before = commits_of(engine)
        with bench.gauge() as gauge:
            for _ in range(runs):
                began = time.perf_counter()
                await engine.run(chain, 1)
                spans.append(time.perf_counter() - began)
        commits = commits_of(engine) - before
        await meter.end()
    more = {"p99_ms": round(percentile(spans, 99) * 1e3, 3), "runs": runs, "commits_per_run": round(commits / runs, 2)}
    more |= {"rss_mb": round(memory_mb(), 1), **gauge.use(runs), **meter.use(runs)}
    return [bench.result("W2", percentile(spans, 50) * 1e3, "ms p50", **more)]


async def fans(bench: Bench) -> list[Result]:
    """W3: one run with many steps at once."""
    return [await _fan(bench, width) for width in FAN_WIDTHS]


async def widest_fan(bench: Bench) -> list[Result]:
    """W3 with the most steps, alone."""
    return [await _fan(bench, FAN_WIDTHS[-1])]


async def _fan(bench: Bench, nominal: int) -> Result:
    width = bench.sized(nominal)
    async with bench.engine() as engine:
        await warm(engine)
        before = commits_of(engine)
        with bench.gauge() as gauge:
            assert await engine.run(fan, width) == width * (width - 1) // 2
        commits = commits_of(engine) - before
    more = {"us_per_call": round(gauge.wall_s / width * 1e6, 1), "calls": width, "commits": commits, "rss_mb": round(memory_mb(), 1)}
    return bench.result(f"W3_{nominal}", gauge.wall_s, "s", **more, **gauge.use(width), **_weight(bench, width + WARM_RUNS * 2))
