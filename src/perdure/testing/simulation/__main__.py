"""``python -m perdure.testing.simulation``: worlds from seeds, until one breaks a promise."""

import argparse
import sys
from time import monotonic

from perdure.testing.simulation.shrinking import shrink, tell
from perdure.testing.simulation.world import simulate


def main(argv: list[str] | None = None) -> int:
    """Simulate the worlds asked for; gives 1 if a promise was broken in one of them, after saying in which and how."""
    parser = argparse.ArgumentParser(prog="python -m perdure.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="this world alone")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1_000, help="how many seeds")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many broken worlds")
    asked = parser.parse_args(argv)
    seeds = range(asked.first, asked.first + asked.count) if asked.seed is None else [asked.seed]
    begun, broken, commits, runs = monotonic(), 0, 0, 0
    for seed in seeds:
        report = simulate(seed)
        commits, runs = commits + report.commits, runs + report.runs
        if asked.seed is not None:
            _say("\n  ".join([f"trace {report.trace:08x}; faults:", *map(str, report.faults)]))
        if report.findings:
            broken += 1
            _say(tell(report, shrink(report)))
            if broken == asked.failures:
                break
    _say(f"{len(seeds)} worlds, {broken} broken; {runs} runs, {commits} commits, {monotonic() - begun:.1f} s")
    return 1 if broken else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
