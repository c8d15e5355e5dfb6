"""The order of measuring: rounds interleaved (ceiling, ours, peer, and again), each part in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from perdure.bench import child
from perdure.bench.peers import WORKLOADS as PEER_WORKLOADS
from perdure.bench.peers import Peer
from perdure.bench.progress import Lines
from perdure.bench.result import Result, read_result

ALL = ("W1", "W2", "W3", "W5", "sleepers", "replay", "long")
SQLITE_ONLY = frozenset({"sleepers"})
LIMIT_S = 600


class Plan(msgspec.Struct, frozen=True):
    """What to measure and how."""

    only: Sequence[str]
    stores: Sequence[str]
    rounds: int
    scale: float
    loop: str
    folder: Path
    environment: dict[str, str]


class Part(msgspec.Struct, frozen=True):
    """One process to run: a workload of ours on a store, or of the peer. ``beside``: what it will be compared with."""

    workload: str
    store: str
    round: int
    beside: str = ""
    is_peer: bool = False

    @property
    def title(self) -> str:
        return f"{self.workload} on {'the peer' if self.is_peer else self.store}, round {self.round}"


def parts(plan: Plan, *, has_peer: bool) -> Iterator[Part]:
    """Give the processes in order. What a figure is compared with is measured right before or after it."""
    for workload in plan.only:
        # A crowd takes long and is counted, not raced: once is enough.
        for round in range(1, 1 + (1 if workload in SQLITE_ONLY else plan.rounds)):
            for store in plan.stores:
                if workload in SQLITE_ONLY and store != "sqlite":
                    continue
                if workload not in SQLITE_ONLY:
                    yield Part("ceiling", store, round, beside=workload)
                yield Part(workload, store, round)
                if workload == "sleepers":
                    yield Part("sleepers_restart", store, round)
                    yield Part("sleepers_wake", store, round)
            if has_peer and workload in PEER_WORKLOADS and "sqlite" in plan.stores:
                yield Part(workload, "sqlite", round, is_peer=True)


def measure(plan: Plan, peer: Peer | None, progress: Lines, keep: Callable[[Result], None]) -> list[Result]:
    """Give all figures; each is also given to ``keep`` as soon as it is there."""
    results: list[Result] = []
    shared = tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=plan.folder)
    with shared as sleeping:
        for part in parts(plan, has_peer=peer is not None):
            progress.begin(part.title)
            if part.is_peer and peer is not None:
                found = peer.measure(part.workload)
            elif part.workload.startswith("sleepers"):
                found = run_child(plan, part, Path(sleeping))
            else:
                with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=plan.folder) as folder:
                    found = run_child(plan, part, Path(folder))
            for result in found:
                stated = {**result.settings, "round": part.round, "beside": part.beside or part.workload}
                results.append(msgspec.structs.replace(result, settings=stated))
                keep(results[-1])
            progress.end()
    return results


def child_command(plan: Plan, workload: str, store: str, folder: Path) -> list[str]:
    arguments = ["--store", store, "--folder", str(folder), "--scale", str(plan.scale), "--loop", plan.loop]
    return [sys.executable, "-m", child.__name__, workload, *arguments]


def run_child(plan: Plan, part: Part, folder: Path) -> list[Result]:
    """Give the figures of one process; one that fails gives a figure without a value, which says why."""
    command = child_command(plan, part.workload, part.store, folder)
    try:
        done = subprocess.run(command, env={**os.environ, **plan.environment}, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        output, code, errors = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        output, code, errors = "", 1, f"no result within {LIMIT_S} s"
    found = [result for line in output.splitlines() if (result := read_result(line)) is not None]
    if code == 0 or (part.workload == child.KILLED and code < 0 and found):
        return found
    problem = (errors.strip().splitlines() or [f"ended with {code}"])[-1]
    return [*found, Result("perdure", part.workload, None, "failed", {"store": part.store, "problem": problem})]


def run_profile(plan: Plan, workload: str, store: str, rounds: int) -> int:
    """The tables of a profile are on standard output; gives the exit code of the process that made them."""
    command = [*child_command(plan, workload, store, plan.folder), "--profile", str(rounds)]
    return subprocess.run(command, env={**os.environ, **plan.environment}, check=False).returncode
