"""W4 and the burst: runs that a client starts while no node is there, and what becomes of them when one comes."""

import asyncio
import time

from perdure import Engine, Status
from perdure.bench.bench import Bench, until_none_is_open
from perdure.bench.gauge import Gauge, memory_mb, percentile
from perdure.bench.result import Result
from perdure.bench.workflows import clocked, nothing, registry

JOBS, JOBS_SINGLE, IN_FLIGHT = 10_000, 1_000, 1_000
BURST = 100_000
QUEUED, LAST = "queued", "last"
FIRST_STEP_MAX_S = 120


async def put(bench: Bench) -> list[Result]:
    """Start runs of no step and await each: one at a time, then many in flight. Nobody moves them yet."""
    has_node = bench.store == "memory"
    async with bench.engine(is_client=not has_node) as engine:
        single = await _put(bench, engine, bench.sized(JOBS_SINGLE), in_flight=1)
        many = await _put(bench, engine, bench.sized(JOBS), in_flight=IN_FLIGHT)
        results = [_put_result(bench, "W4_put_single", single), _put_result(bench, "W4_put", many)]
        if has_node:
            # What lies in this process's memory no other can drain: from the first start to the last end, both at once.
            results.append(await _drained(bench, engine, bench.sized(JOBS) + bench.sized(JOBS_SINGLE), single[0].wall_s + many[0].wall_s))
    return results


_Put = tuple[Gauge, list[float], int]


async def _put(bench: Bench, engine: Engine, runs: int, *, in_flight: int) -> _Put:
    gate, spans = asyncio.Semaphore(in_flight), list[float]()

    async def one(i: int) -> None:
        async with gate:
            began = time.perf_counter()
            await engine.start(nothing, i)
            spans.append(time.perf_counter() - began)

    with bench.gauge() as gauge:
        await asyncio.gather(*(one(i) for i in range(runs)))
    return gauge, spans, in_flight


def _put_result(bench: Bench, name: str, done: _Put) -> Result:
    gauge, spans, in_flight = done
    more = {f"p{percent}_ms": round(percentile(spans, percent) * 1e3, 3) for percent in (50, 99)}
    return bench.result(name, len(spans) / gauge.wall_s, "starts/s", runs=len(spans), in_flight=in_flight, **more, **gauge.use(len(spans)))


async def drain(bench: Bench) -> list[Result]:
    """Open a node on what a client has put there, and bring all of it to its end."""
    runs = bench.sized(JOBS) + bench.sized(JOBS_SINGLE)
    # The clock runs from before the engine exists: taking the partitions and finding the runs is part of it.
    began = time.perf_counter()
    async with bench.engine() as engine:
        return [await _drained(bench, engine, runs, time.perf_counter() - began)]


async def _drained(bench: Bench, engine: Engine, runs: int, before_s: float) -> Result:
    with bench.gauge() as gauge:
        await until_none_is_open(engine)
    ended = len(await engine.list(status=Status.COMPLETED, limit=runs + 1))
    assert ended == runs, f"{ended} of {runs} runs were completed"
    more = {"runs": runs, "before_s": round(before_s, 4), "rss_mb": round(memory_mb(), 1)}
    return bench.result("W4_drain", runs / (before_s + gauge.wall_s), "drained/s", **more, **gauge.use(runs))


async def burst_put(bench: Bench) -> list[Result]:
    """Fill the queue: runs of one step, started by a client while no node is there."""
    runs, gate = bench.sized(BURST), asyncio.Semaphore(IN_FLIGHT)

    async def one(engine: Engine) -> None:
        async with gate:
            await engine.start(QUEUED, 1)

    async with bench.engine(is_client=True) as engine:
        with bench.gauge() as gauge:
            for first in range(0, runs, IN_FLIGHT):
                await asyncio.gather(*(one(engine) for _ in range(first, min(first + IN_FLIGHT, runs))))
    return [bench.result("burst_put", runs / gauge.wall_s, "starts/s", runs=runs, in_flight=IN_FLIGHT, **gauge.use(runs))]


async def burst(bench: Bench) -> list[Result]:
    """Open a node on the full queue and start one more run: when its step begins, and when the first of the queued ones does."""
    queued, last = list[float](), list[float]()
    clocked(queued, QUEUED)
    workflow = clocked(last, LAST)
    began = time.perf_counter()
    engine = await Engine(bench.url, registry=registry).open()
    opened = time.perf_counter()
    await engine.start(workflow, 1)
    acknowledged = time.perf_counter()
    async with asyncio.timeout(FIRST_STEP_MAX_S):
        while not (queued and last):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    more = {
        "runs": bench.sized(BURST),
        "open_s": round(opened - began, 4),
        "acknowledged_ms": round((acknowledged - opened) * 1e3, 3),
        # From before the node was there: its first look at the queue may end before `open` does.
        "first_queued_ms": round((queued[0] - began) * 1e3, 3),
        "queued_begun_meanwhile": sum(instant < last[0] for instant in queued),
        "rss_mb": round(memory_mb(), 1),
    }
    # The rest of the queue is nobody's any more: it goes with its schema or file.
    await engine.crash()
    await engine.store.close()
    return [bench.result("burst", (last[0] - opened) * 1e3, "ms to its first step", **more)]
