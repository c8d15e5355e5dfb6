"""The workloads. Each gets a bench and gives its figures; each runs in a process of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from perdure import Engine, Status
from perdure.app import open_store
from perdure.bench import raw
from perdure.bench.gauge import Gauge, memory_mb, peak_mb, percentile
from perdure.bench.result import Result
from perdure.bench.sampler import Sampler
from perdure.bench.workflows import chain, clocked, fan, journal, registry, sleeper
from perdure.model.ids import RunId
from perdure.ports.system import SystemClock

IN_FLIGHT = (1_000, 64, 16, 4)
FAN_WIDTHS = (100, 1_000, 10_000)
LONG_PLACES = (100, 1_000, 10_000)
WARM_RUNS = 20
RAW_ROWS, RAW_COMMITS = 100_000, 2_000
SCALE_SHORT = 0.1
DAY_US = 86_400_000_000


class Bench(msgspec.Struct, frozen=True):
    """Where and how large. ``scale`` shrinks the sizes; ``settings`` go with every figure."""

    store: str
    folder: Path
    scale: float
    settings: dict[str, Any]
    sampler: Sampler | None = None

    def gauge(self) -> Gauge:
        return Gauge(self.sampler)

    def sized(self, size: int) -> int:
        return max(1, round(size * self.scale))

    @property
    def file(self) -> Path:
        return self.folder / "bench.db"

    @property
    def url(self) -> str:
        return "memory://" if self.store == "memory" else f"sqlite:///{self.file}"

    def result(self, workload: str, value: float, unit: str, **more: Any) -> Result:
        return Result("perdure", workload, round(value, 6), unit, {**self.settings, **more})

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        async with Engine(self.url, registry=registry) as engine:
            yield engine


def _commits(engine: Engine) -> int:
    return 0 if engine.node is None else engine.node.committer.commits


async def _warm(engine: Engine) -> None:
    await asyncio.gather(*(engine.run(chain, 2) for _ in range(WARM_RUNS)))


async def chains(bench: Bench) -> list[Result]:
    """W1: many runs of ten steps each, so many of them in flight."""
    return [await _chains(bench, in_flight) for in_flight in IN_FLIGHT]


async def full_chains(bench: Bench) -> list[Result]:
    """W1 with all runs at once, alone."""
    return [await _chains(bench, IN_FLIGHT[0])]


async def _chains(bench: Bench, in_flight: int, steps: int = 10) -> Result:
    runs, spans = bench.sized(1_000), list[float]()
    gate = asyncio.Semaphore(min(in_flight, runs))

    async def one(engine: Engine) -> None:
        async with gate:
            began = time.perf_counter()
            assert await engine.run(chain, steps) == steps * (steps - 1) // 2
            spans.append(time.perf_counter() - began)

    async with bench.engine() as engine:
        await _warm(engine)
        before = _commits(engine)
        with bench.gauge() as gauge:
            await asyncio.gather(*(one(engine) for _ in range(runs)))
        commits = _commits(engine) - before
    name = "W1" if in_flight == IN_FLIGHT[0] else f"W1_{in_flight}"
    total = runs * steps
    return bench.result(
        name,
        total / gauge.wall_s,
        "steps/s",
        runs=runs,
        in_flight=min(in_flight, runs),
        p50_ms=round(percentile(spans, 50) * 1e3, 3),
        p99_ms=round(percentile(spans, 99) * 1e3, 3),
        commits=commits,
        rss_mb=round(memory_mb(), 1),
        **gauge.use(total),
        **_weight(bench, runs * steps + WARM_RUNS * 2),
    )


def _weight(bench: Bench, steps: int) -> dict[str, Any]:
    """What the file holds, for each step that was ever made in it; the file is gone afterwards."""
    if bench.store != "sqlite":
        return {}
    rows, size = raw.weigh(bench.file)
    for part in bench.folder.glob(f"{bench.file.name}*"):
        part.unlink()
    return {"rows_per_step": round(rows / steps, 2), "file_bytes_per_step": round(size / steps)}


async def latency(bench: Bench) -> list[Result]:
    """W2: runs of one step, one after another."""
    runs, spans = bench.sized(200), []
    async with bench.engine() as engine:
        await _warm(engine)
        before = _commits(engine)
        with bench.gauge() as gauge:
            for _ in range(runs):
                began = time.perf_counter()
                await engine.run(chain, 1)
                spans.append(time.perf_counter() - began)
        commits = _commits(engine) - before
    more = {"p99_ms": round(percentile(spans, 99) * 1e3, 3), "runs": runs, "commits_per_run": round(commits / runs, 2)}
    return [bench.result("W2", percentile(spans, 50) * 1e3, "ms p50", rss_mb=round(memory_mb(), 1), **more, **gauge.use(runs))]


async def fans(bench: Bench) -> list[Result]:
    """W3: one run with many steps at once."""
    return [await _fan(bench, width) for width in FAN_WIDTHS]


async def widest_fan(bench: Bench) -> list[Result]:
    """W3 with the most steps, alone."""
    return [await _fan(bench, FAN_WIDTHS[-1])]


async def _fan(bench: Bench, nominal: int) -> Result:
    width = bench.sized(nominal)
    async with bench.engine() as engine:
        await _warm(engine)
        before = _commits(engine)
        with bench.gauge() as gauge:
            assert await engine.run(fan, width) == width * (width - 1) // 2
        commits = _commits(engine) - before
    more = {"us_per_call": round(gauge.wall_s / width * 1e6, 1), "calls": width, "commits": commits, "rss_mb": round(memory_mb(), 1)}
    return bench.result(f"W3_{nominal}", gauge.wall_s, "s", **more, **gauge.use(width), **_weight(bench, width + WARM_RUNS * 2))


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


async def replay(bench: Bench) -> list[Result]:
    """Load and replay one long journal."""
    steps, id = bench.sized(10_000), RunId("long")
    store = open_store(bench.url)
    await store.open()
    async with Engine(store, registry=registry) as engine:
        run = await engine.start(journal.options(id=id), steps)
        # Outside of what is measured; following the journal would slow the run down far more than a look now and then.
        while await run.status() is not Status.WAITING:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    facts = 0
    async with Engine(store, registry=registry) as engine:
        assert engine.node is not None
        with bench.gauge() as gauge:
            await engine.node.fetcher.live(id)
        async for _ in engine.get(id).journal():
            facts += 1
        assert len(engine.node.roster) == 1
    await store.close()
    more = {"facts": facts, "steps": steps, "seconds": round(gauge.wall_s, 4), "rss_mb": round(memory_mb(), 1)}
    return [bench.result("replay", facts / gauge.wall_s, "facts/s", **more, **gauge.use(steps))]


async def long(bench: Bench) -> list[Result]:
    """What one step costs as the journal of its run grows: the median of the steps that lead to each place."""
    instants: list[float] = []
    places = [bench.sized(place) for place in LONG_PLACES]
    workflow = clocked(instants)
    async with bench.engine() as engine:
        await _warm(engine)
        await engine.run(workflow, places[-1] + 1)
    results = []
    for place, nominal in zip(places, LONG_PLACES, strict=True):
        window = instants[max(0, place - 100) : place + 1]
        spans = [later - earlier for earlier, later in pairwise(window)] or [0.0]
        results.append(bench.result(f"long_{nominal}", percentile(spans, 50) * 1e6, "µs a step", place=place, rss_mb=round(memory_mb(), 1)))
    return results


async def ceiling(bench: Bench) -> list[Result]:
    """The bare driver, in groups of a thousand rows and, for latency, one by one."""
    # Not scaled with the rest: a file of few rows is faster than any engine's will ever be.
    total, single = (RAW_ROWS, RAW_COMMITS) if bench.scale >= SCALE_SHORT else (1_000, 10)
    if bench.store == "memory":
        return [_raw(bench, "ceiling", raw.write_memory(total, 1_000), "rows/s", rows=total, per_commit=1_000)]
    file = bench.folder / "raw.db"
    grouped = raw.write_sqlite(file, total, 1_000)
    read = raw.read_sqlite(file, total)
    alone = raw.write_sqlite(bench.folder / "single.db", single, 1)
    return [
        _raw(bench, "ceiling", grouped, "rows/s", rows=total, per_commit=1_000),
        _raw(bench, "ceiling_read", read, "rows/s", rows=total),
        _raw(bench, "ceiling_single", 1e3 / alone, "ms a commit", rows=single, per_commit=1),
    ]


def _raw(bench: Bench, workload: str, value: float, unit: str, **more: Any) -> Result:
    return Result("raw", workload, round(value, 6), unit, {**bench.settings, **more})
