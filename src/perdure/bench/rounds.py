"""The order of measuring: rounds interleaved (ceiling, ours, peer, and again), each part in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from perdure.bench import child
from perdure.bench.lodging import Lodging, lodged
from perdure.bench.peers import Kind, Peer
from perdure.bench.processes import run_bounded
from perdure.bench.progress import Lines
from perdure.bench.result import Result, read_result
from perdure.bench.servers import POSTGRES, UNSLOWED

DEFAULT = ("W1", "W2", "W3", "W4", "W5", "burst", "nodes", "stored", "sleepers", "replay", "long", "calls", "scrape")
ONLY_NAMED = ("W5M", "bloat")
"""These take long, and are measured when they are named, the first with ``--full`` too."""
ALL = (*DEFAULT, *ONLY_NAMED)
STORES = ("memory", "sqlite", POSTGRES)
_WHERE: Mapping[str, Sequence[str]] = {
    "sleepers": ("sqlite",),
    "W5M": ("sqlite", POSTGRES),
    "burst": ("sqlite", POSTGRES),
    "nodes": (POSTGRES,),
    "scrape": ("sqlite", POSTGRES),
    "stored": (POSTGRES,),
    "bloat": (POSTGRES,),
}
"""Where a workload makes sense; one that is not here does everywhere."""
_UNSLOWED = ("W1", "W2")
_ONCE = frozenset(_WHERE)
"""These take long and are counted, not raced: once is enough."""
_PHASES: Mapping[str, Sequence[str]] = {
    "W4": ("W4", "W4_drain"),
    "burst": ("burst_put", "burst"),
    "sleepers": ("sleepers", "sleepers_restart", "sleepers_wake"),
}
"""Workloads of several processes, one after another on one database."""
_BESIDE_ITS_OWN = frozenset({"calls"})
"""What it is compared with is measured by the workload itself."""
LIMIT_S = 600
_LIMITS_S: Mapping[str, int] = {"W5M": 3_600, "scrape": 3_600, "stored": 3_600}


class Plan(msgspec.Struct, frozen=True):
    """What to measure and how. ``servers``: for each store on a server its URL."""

    only: Sequence[str]
    stores: Sequence[str]
    rounds: int
    scale: float
    loop: str
    folder: Path
    environment: dict[str, str]
    servers: Mapping[str, str] = {}
    is_full: bool = False
    seconds: float = 60.0


class Part(msgspec.Struct, frozen=True):
    """One process to run: a workload of ours on a store, or of a peer. ``beside``: what it will be compared with.

    ``stays``: what it leaves in the store is for the next one.
    """

    workload: str
    store: str
    round: int
    beside: str = ""
    peer: str = ""
    stays: bool = False

    @property
    def title(self) -> str:
        return f"{self.workload} {f'of {self.peer}' if self.peer else f'on {self.store}'}, round {self.round}"


def parts(plan: Plan, kinds: Sequence[Kind] = ()) -> Iterator[Part]:
    """Give the processes in order. What a figure is compared with is measured right before or after it."""
    for workload in plan.only:
        for round in range(1, 1 + (1 if workload in _ONCE else plan.rounds)):
            for store in plan.stores:
                if is_for(workload, store):
                    yield from _ours(workload, store, round)
                    yield from (
                        Part(workload, store, round, peer=kind.label)
                        for kind in kinds
                        if kind.store == store and workload in kind.workloads
                    )


def is_for(workload: str, store: str) -> bool:
    """Tell whether a workload is measured on a store."""
    if store == UNSLOWED:
        return workload in _UNSLOWED
    return store in _WHERE.get(workload, STORES)


def _ours(workload: str, store: str, round: int) -> Iterator[Part]:
    if workload not in _ONCE | _BESIDE_ITS_OWN:
        yield Part("ceiling", store, round, beside=workload)
    # A store in memory goes with its process: there is one phase.
    *first, last = _PHASES.get(workload, (workload,)) if store != "memory" else (workload,)
    yield from (Part(phase, store, round, beside=workload, stays=True) for phase in first)
    yield Part(last, store, round, beside=workload)


def measure(plan: Plan, peers: Sequence[Peer], progress: Lines, keep: Callable[[Result], None]) -> list[Result]:
    """Give all figures; each is also given to ``keep`` as soon as it is there."""
    results: list[Result] = []
    known = {peer.kind.label: peer for peer in peers}
    with ExitStack() as stay:
        lodging: Lodging | None = None
        for part in parts(plan, [peer.kind for peer in peers]):
            progress.begin(part.title)
            if part.peer:
                found = known[part.peer].measure(part.workload)
            else:
                lodging = lodging or stay.enter_context(lodged(part.store, plan.folder, plan.servers))
                found = run_child(plan, part, lodging)
                if not part.stays:
                    stay.close()
                    lodging = None
            for result in found:
                stated = {**result.settings, "round": part.round, "beside": part.beside or part.workload}
                results.append(msgspec.structs.replace(result, settings=stated))
                keep(results[-1])
            progress.end()
    return results


def child_command(plan: Plan, workload: str, store: str, lodging: Lodging) -> list[str]:
    where = ["--store", store, "--folder", str(lodging.folder), "--server", lodging.server, "--schema", lodging.schema]
    size = ["--scale", str(plan.scale), "--seconds", str(plan.seconds), *(["--full"] if plan.is_full else [])]
    return [sys.executable, "-m", child.__name__, workload, *where, *size, "--loop", plan.loop]


def run_child(plan: Plan, part: Part, lodging: Lodging) -> list[Result]:
    """Give the figures of one process; one that fails gives a figure without a value, which says why."""
    limit_s = _LIMITS_S.get(part.workload, LIMIT_S) + (plan.seconds if part.workload == "bloat" else 0)
    ended = run_bounded(child_command(plan, part.workload, part.store, lodging), {**os.environ, **plan.environment}, limit_s)
    found = [result for line in ended.output.splitlines() if (result := read_result(line)) is not None]
    if ended.code == 0 or (part.workload == child.KILLED and (ended.code or 0) < 0 and found):
        return found
    return [*found, Result("perdure", part.workload, None, "failed", {"store": part.store, "problem": ended.problem(limit_s)})]


def run_profile(plan: Plan, workload: str, store: str, rounds: int) -> int:
    """The tables of a profile are on standard output; gives the exit code of the process that made them."""
    with lodged(store, plan.folder, plan.servers) as lodging:
        command = [*child_command(plan, workload, store, lodging), "--profile", str(rounds)]
        return subprocess.run(command, env={**os.environ, **plan.environment}, check=False).returncode
