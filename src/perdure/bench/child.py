"""One workload in a process of its own, so that none is measured with another's memory: figures as JSON lines on standard output."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perdure.bench import raw
from perdure.bench.bench import Bench
from perdure.bench.result import Result, surroundings
from perdure.bench.sampler import Sampler
from perdure.bench.workloads import bloat, callees, calls, ceilings, chains, crews, journals, pages, queues, scrape, sleepers, stores

WORKLOADS: Mapping[str, Callable[[Bench], Awaitable[Sequence[Result]]]] = {
    "ceiling": ceilings.ceiling,
    "W1": chains.chains,
    "W2": chains.latency,
    "W3": chains.fans,
    "W4": queues.put,
    "W4_drain": queues.drain,
    "W5": sleepers.sleepers,
    "W5M": sleepers.million,
    "burst_put": queues.burst_put,
    "burst": queues.burst,
    "nodes": crews.crews,
    "node": crews.node,
    "calls": calls.calls,
    "callee": callees.callee,
    "echo": callees.echo,
    "web": callees.web,
    "scrape": scrape.scrape,
    "page": pages.serve,
    "stored": stores.stored,
    "bloat": bloat.bloat,
    "sleepers": sleepers.crowd,
    "sleepers_restart": sleepers.restart,
    "sleepers_wake": sleepers.wake,
    "replay": journals.replay,
    "long": journals.long,
}
PROFILED: Mapping[str, tuple[Callable[[Bench], Awaitable[Sequence[Result]]], int]] = {
    "W1": (chains.full_chains, 10_000),
    "W2": (chains.latency, 200),
    "W3": (chains.widest_fan, 10_000),
    "replay": (journals.replay, 10_000),
}
"""What is looked at by the sampler, and the steps of one round of it at full size."""
KILLED = "sleepers"
"""This one ends by SIGKILL, with its runs asleep, so that the restart after it finds what a crash leaves."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    bench = Bench(
        options.store,
        options.folder,
        options.scale,
        _settings(options),
        Sampler() if options.profile else None,
        server=options.server,
        schema=options.schema,
        is_full=options.full,
        seconds=options.seconds,
        connect=options.connect,
    )
    if bench.sampler is not None:
        print("\n".join(profile(options.workload, bench, bench.sampler, loop=options.loop, rounds=options.profile)))
        return 0
    for result in run(WORKLOADS[options.workload], bench, options.loop):
        print(result.line(), flush=True)
    if options.workload == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perdure.bench.child")
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--store", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--server", default="", metavar="URL", help="of PostgreSQL, where that is the store")
    parser.add_argument("--schema", default="", metavar="NAME", help="in which the store is made there")
    parser.add_argument("--connect", default="", metavar="URL", help="of a broker, or of what a process serves")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--profile", type=int, default=0, metavar="ROUNDS")
    return parser


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    found = {**surroundings(options.store, options.loop, raw.SQLITE), "scale": options.scale}
    if options.server:
        from perdure.bench.postgres.server import settings_of

        found["postgres"] = asyncio.run(settings_of(options.server))
        found["sync"] = found["postgres"]["synchronous_commit"]
    return found


def run(workload: Callable[[Bench], Awaitable[Sequence[Result]]], bench: Bench, loop: str) -> Sequence[Result]:
    """Give the figures of one workload, measured on the event loop of that name."""

    async def measure() -> Sequence[Result]:
        return await workload(bench)

    if loop == "uvloop":
        import uvloop

        return uvloop.run(measure())
    return asyncio.run(measure())


def profile(workload: str, bench: Bench, sampler: Sampler, *, loop: str, rounds: int) -> Sequence[str]:
    """Give the tables of where the time of a step goes, over several rounds."""
    function, steps = PROFILED[workload]
    for _ in range(rounds):
        for part in bench.folder.glob("bench.db*"):
            part.unlink()
        run(function, bench, loop)
    return sampler.lines(bench.sized(steps) * rounds)


if __name__ == "__main__":
    sys.exit(main())
