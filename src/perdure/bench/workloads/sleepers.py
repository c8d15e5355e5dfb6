"""Runs that sleep: ten thousand for seconds, a hundred thousand and a million for a day."""

import asyncio
import time

from perdure import Engine, Status
from perdure.bench.bench import Bench
from perdure.bench.gauge import memory_mb, peak_mb, percentile
from perdure.bench.result import Result
from perdure.bench.workflows import chain, registry, sleeper
from perdure.ports.system import SystemClock

DAY_US = 86_400_000_000
SIZES = (10_000, 100_000, 1_000_000)
GROUP, SAMPLE, SAMPLE_S = 1_000, 1_000, 5.0
ADD_MAX_S = 1_800
"""Where so many take longer than this, fewer are measured, and the figure says how many."""


async def sleepers(bench: Bench) -> list[Result]:
    """W5: runs that sleep five seconds; how late they end."""
    runs, seconds = bench.sized(10_000), 5.0 * min(1.0, bench.scale)
    dues, late = list[float](), list[float]()

    async def one(engine: Engine) -> None:
        due = await engine.run(sleeper, seconds)
        dues.append(due)
        late.append(time.time() - due)

    async with bench.engine() as engine:
        before_mb = memory_mb()
        began = time.time()
        with bench.gauge() as gauge:
            await asyncio.gather(*(one(engine) for _ in range(runs)))
        ended = time.time()
    more = {"runs": runs, "sleep_s": seconds, "start_s": round(max(dues) - seconds - began, 3), "rss_before_mb": round(before_mb, 1)}
    more |= {f"late_p{percent}_s": round(percentile(late, percent), 4) for percent in (50, 99)}
    more["rss_peak_mb"] = round(peak_mb(), 1)
    return [bench.result("W5", ended - max(dues), "s after the last was due", **more, **gauge.use(runs))]


async def crowd(bench: Bench) -> list[Result]:
    """Start 100,000 runs that sleep for a day; the process is killed afterwards, asleep as they are."""
    runs, burst = bench.sized(100_000), 1_000
    engine = await Engine(bench.url, registry=registry).open()
    before_mb = memory_mb()
    with bench.gauge() as gauge:
        for first in range(0, runs, burst):
            await asyncio.gather(*(engine.start(sleeper, DAY_US / 1e6) for _ in range(first, min(first + burst, runs))))
    held = 0 if engine.node is None else len(engine.node.roster)
    more = {"runs": runs, "runs_in_memory": held, "rss_before_mb": round(before_mb, 1), "rss_peak_mb": round(peak_mb(), 1)}
    return [
        bench.result("sleepers", memory_mb(), "MB", starts_s=round(runs / gauge.wall_s), **more, **gauge.use(runs)),
    ]


async def restart(bench: Bench) -> list[Result]:
    """Open the file in which a killed process left its sleepers."""
    began = time.perf_counter()
    async with bench.engine() as engine:
        opened_s = time.perf_counter() - began
        await engine.run(chain, 1)
        answered_s = time.perf_counter() - began
        held = 0 if engine.node is None else len(engine.node.roster)
        more = {"first_run_s": round(answered_s, 4), "runs_loaded": held, "runs": bench.sized(100_000), "rss_mb": round(memory_mb(), 1)}
        return [bench.result("sleepers_restart", opened_s, "s to open", **more)]


async def million(bench: Bench) -> list[Result]:
    """Add runs that sleep for a day, up to a million; at each size what the node's memory is, and how late runs are that are due."""
    results, present = list[Result](), 0
    async with bench.engine() as engine:
        before_mb, began = memory_mb(), time.perf_counter()
        for nominal in SIZES:
            wanted = bench.sized(nominal)
            with bench.gauge() as gauge:
                added = await _add_sleepers(engine, wanted - present, until=began + ADD_MAX_S)
            present += added
            late = await _late(engine, max(1, min(SAMPLE, wanted)), SAMPLE_S * min(1.0, bench.scale))
            more = {f"late_p{percent}_s": round(percentile(late, percent), 4) for percent in (50, 99)}
            more |= {"runs": present, "wanted": wanted, "starts_s": round(added / gauge.wall_s), "rss_before_mb": round(before_mb, 1)}
            more |= {"runs_in_memory": len(engine.node.roster), "rss_peak_mb": round(peak_mb(), 1)}
            results.append(bench.result(f"W5M_{nominal}", memory_mb(), "MB", **more, **gauge.use(max(1, added))))
    return results


async def _add_sleepers(engine: Engine, count: int, *, until: float) -> int:
    """Start so many, fewer if the time is over; gives how many."""
    added = 0
    while added < count and time.perf_counter() < until:
        group = min(GROUP, count - added)
        await asyncio.gather(*(engine.start(sleeper, DAY_US / 1e6) for _ in range(group)))
        added += group
    return added


async def _late(engine: Engine, runs: int, seconds: float) -> list[float]:
    """Give how late each of a sample was, in seconds."""

    async def one() -> float:
        due: float = await engine.run(sleeper, seconds)
        return time.time() - due

    return list(await asyncio.gather(*(one() for _ in range(runs))))


class DayLater(SystemClock):
    """The machine's clock, a day ahead: what slept until tomorrow is due."""

    def now_us(self) -> int:
        return super().now_us() + DAY_US


async def wake(bench: Bench) -> list[Result]:
    """Open the same file when all its sleepers are due at once, and bring them all to their end."""
    runs, began = bench.sized(100_000), time.perf_counter()
    async with Engine(bench.url, registry=registry, clock=DayLater()) as engine:
        opened_s = time.perf_counter() - began
        with bench.gauge() as gauge:
            # Asking the store now and then is cheaper than a handle that waits for each of so many.
            while await engine.list(status=Status.WAITING, limit=1) or await engine.list(status=Status.RUNNING, limit=1):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    more = {"runs": runs, "open_s": round(opened_s, 4), "rss_peak_mb": round(peak_mb(), 1), "seconds": round(gauge.wall_s, 3)}
    return [bench.result("sleepers_wake", runs / (opened_s + gauge.wall_s), "runs/s", **more, **gauge.use(runs))]
