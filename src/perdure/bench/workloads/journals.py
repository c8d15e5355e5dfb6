"""What long journals cost: to replay, and to be lengthened."""

import asyncio
from itertools import pairwise

from perdure import Engine, Status
from perdure.app import open_store
from perdure.bench.bench import Bench, warm
from perdure.bench.gauge import memory_mb, percentile
from perdure.bench.result import Result
from perdure.bench.workflows import clocked, journal, registry
from perdure.model.ids import RunId

LONG_PLACES = (100, 1_000, 10_000)


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
        await warm(engine)
        await engine.run(workflow, places[-1] + 1)
    results = []
    for place, nominal in zip(places, LONG_PLACES, strict=True):
        window = instants[max(0, place - 100) : place + 1]
        spans = [later - earlier for earlier, later in pairwise(window)] or [0.0]
        results.append(bench.result(f"long_{nominal}", percentile(spans, 50) * 1e6, "µs a step", place=place, rss_mb=round(memory_mb(), 1)))
    return results
