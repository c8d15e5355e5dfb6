"""Calls to a worker in another process, by each transport, beside the raw round trip of its broker; and a queue of calls drained."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from perdure import Engine
from perdure.bench import apis, brokers, raw_http
from perdure.bench.bench import Bench, commits_of
from perdure.bench.gauge import Gauge, percentile
from perdure.bench.result import Result
from perdure.bench.workflows import chain, distant_chain, registry
from perdure.bench.workloads import drains
from perdure.bench.workloads.callees import Use
from perdure.bench.workloads.crews import BEGIN, END, member
from perdure.deciders.code.authoring import Workflow

CALLS, STEPS, LONE = 10_000, 10, 200
HTTP_SHARE = 0.2
"""A request for each outcome takes its time."""
SERVED_MAX_S = 30.0


async def calls(bench: Bench) -> list[Result]:
    """Calls without a worker, by the store, by each broker that is there, and over HTTP: many at once, then one after another."""
    results = [await _here(bench)]
    if bench.store == "memory":
        return results
    results += [await _elsewhere(bench, "database", ""), await drains.drained(bench)]
    if bench.is_postgres:
        for name, url in brokers.found().items():
            results += await _by_broker(bench, name, url)
        if raw_http.is_there():
            results += await _by_http(bench)
    return results


async def _by_broker(bench: Bench, name: str, url: str) -> Sequence[Result]:
    async with brokers.prefixed(url) as own:
        async with member(bench, bench.settings["loop"], "echo", connect=own) as other:
            raw = await brokers.round_trips(own, other, bench.sized(CALLS), bench.sized(LONE))
        return _beside(bench, name, raw, await _elsewhere(bench, name, own))


async def _by_http(bench: Bench) -> Sequence[Result]:
    """The node, an API in a process of its own, and a worker that asks it; a fifth of the calls."""
    bench = msgspec.structs.replace(bench, scale=bench.scale * HTTP_SHARE)
    async with member(bench, bench.settings["loop"], "web") as other:
        raw = await raw_http.round_trips(other, bench.sized(CALLS), bench.sized(LONE))
    async with apis.serving(bench) as url:
        return _beside(bench, "http", raw, await _elsewhere(bench, "http", "", url))


def _beside(bench: Bench, name: str, raw: Result, ours: Result) -> Sequence[Result]:
    more = {**raw.settings, "store": bench.store, "loop": bench.settings["loop"]}
    share = {"raw_calls_s": raw.value, "of_raw": round((ours.value or 0) / (raw.value or 1), 3)}
    share |= {f"raw_{key}": raw.settings[key] for key in ("p50_ms", "p99_ms")}
    return [
        Result("raw", f"calls_{name}", raw.value, "calls/s", {**bench.settings, **more}),
        msgspec.structs.replace(ours, settings={**ours.settings, **share}),
    ]


async def _here(bench: Bench) -> Result:
    async with bench.engine() as engine:
        await asyncio.gather(*(engine.run(chain, 2) for _ in range(20)))
        gauge = await _many(bench, engine, chain)
        spans = await _alone(bench, engine, chain)
    return _result(bench, "local", gauge, spans)


async def _elsewhere(bench: Bench, name: str, broker: str, url: str = "") -> Result:
    """``url``: what the worker is connected to, if it is no broker and not the store."""
    async with _engine(bench, broker) as engine, member(bench, bench.settings["loop"], "callee", connect=url or broker) as worker:
        async with asyncio.timeout(SERVED_MAX_S):
            await asyncio.gather(*(engine.run(distant_chain, 2) for _ in range(20)))
        await worker.ask(BEGIN)
        commits = commits_of(engine)
        gauge = await _many(bench, engine, distant_chain)
        commits = commits_of(engine) - commits
        use = msgspec.json.decode(await worker.ask(END), type=Use)
        spans = await _alone(bench, engine, distant_chain)
    counted = bench.sized(CALLS)
    more = {"worker_us_per_call": round(use.cpu_s / counted * 1e6, 1), "worker_rss_mb": use.rss_mb}
    return _result(bench, name, gauge, spans, **more, commits_per_call=round(commits / counted, 4))


@asynccontextmanager
async def _engine(bench: Bench, broker: str) -> AsyncIterator[Engine]:
    async with Engine(bench.url, registry=registry, transports=[broker] if broker else []) as engine:
        yield engine


async def _many(bench: Bench, engine: Engine, workflow: Workflow[[int], int]) -> Gauge:
    with bench.gauge() as gauge:
        await asyncio.gather(*(engine.run(workflow, STEPS) for _ in range(max(1, bench.sized(CALLS) // STEPS))))
    return gauge


async def _alone(bench: Bench, engine: Engine, workflow: Workflow[[int], int]) -> list[float]:
    """One after another: from the start of a run of one call to its result."""
    spans = list[float]()
    for _ in range(bench.sized(LONE)):
        began = time.perf_counter()
        await engine.run(workflow, 1)
        spans.append(time.perf_counter() - began)
    return spans


def _result(bench: Bench, name: str, gauge: Gauge, spans: Sequence[float], **more: Any) -> Result:
    counted = bench.sized(CALLS)
    lone = {f"p{percent}_ms": round(percentile(spans, percent) * 1e3, 3) for percent in (50, 99)}
    node = {"node_us_per_call": round(gauge.cpu_s / counted * 1e6, 1), "node_cores": round(gauge.cpu_s / gauge.wall_s, 2)}
    return bench.result(f"calls_{name}", counted / gauge.wall_s, "calls/s", calls=counted, lone=len(spans), **lone, **node, **more)
