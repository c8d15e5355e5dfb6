"""The load of a scraper: definitions of five actions each, an HTTP GET of a server on this machine and four parses, 200 runs at a time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

import perdure
from perdure.bench.bench import Bench
from perdure.bench.gauge import percentile
from perdure.bench.result import Result
from perdure.bench.workflows import registry
from perdure.bench.workloads.callees import Use
from perdure.bench.workloads.crews import BEGIN, END, member

DEFINITIONS, ACTIONS = 10, 5
RUNS, RUNS_FULL, IN_FLIGHT = 5_000, 100_000, 200
PRODUCTS = 10
FRASTY_RUNS_HOUR = 50_000
_HOUR_S = 3_600


def definition(number: int, url: str) -> Sequence[Any]:
    """Give the five actions of one of the definitions."""
    # They need their extra, and no other workload does.
    from perdure import actions

    return (
        actions.http(url=f"{url}/shop/{number}?page={{{{ page }}}}"),
        actions.filter_success(),
        actions.html_select(css="li.product", output="text"),
        actions.regex(pattern=rf"(?P<price>\d+[.,]\d\d) EUR of shop {number}\b", source="text", output="price", group="price"),
        actions.normalize_text(fields=["text", "price"], case="lower"),
    )


@perdure.workflow(registry=registry)
async def scraping(number: int, url: str, page: int) -> int:
    """Fetch a page and give how many things were found."""
    items: Any = [{"page": page}]
    for action in definition(number, url):
        items = await action(items)
    return len(items)


async def scrape(bench: Bench) -> list[Result]:
    """Runs an hour, against twenty times what Frasty publishes."""
    runs = RUNS_FULL if bench.is_full else bench.sized(RUNS)
    async with member(bench, "uvloop" if bench.settings["loop"] == "uvloop" else "asyncio", "page") as server, bench.engine() as engine:
        url, gate, spans = (await server.ask(b"where\n")).decode().strip(), asyncio.Semaphore(IN_FLIGHT), list[float]()

        async def one(i: int) -> None:
            async with gate:
                began = asyncio.get_running_loop().time()
                found = await engine.run(scraping, i % DEFINITIONS, url, i)
                assert found == PRODUCTS, f"{found} things were found on a page of {PRODUCTS}"
                spans.append(asyncio.get_running_loop().time() - began)

        await asyncio.gather(*(one(i) for i in range(2 * DEFINITIONS)))
        spans.clear()
        await server.ask(BEGIN)
        with bench.gauge() as gauge:
            await asyncio.gather(*(one(i) for i in range(runs)))
        use = msgspec.json.decode(await server.ask(END), type=Use)
    times = {f"p{percent}_ms": round(percentile(spans, percent) * 1e3, 1) for percent in (50, 99)}
    more = {"runs": runs, "in_flight": IN_FLIGHT, "server_cores": round(use.cpu_s / gauge.wall_s, 2), **times}
    hour = runs / gauge.wall_s * _HOUR_S
    return [bench.result("scrape", hour, "runs/hour", of_frasty=round(hour / FRASTY_RUNS_HOUR, 2), **more, **gauge.use(runs * ACTIONS))]
