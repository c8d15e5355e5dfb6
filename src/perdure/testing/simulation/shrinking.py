"""Makes a failure small: faults that it does not need are left out, one at a time."""

from collections.abc import Callable, Sequence

from perdure.testing.simulation.faults import Fault
from perdure.testing.simulation.world import Report, simulate

TRIES_MAX = 200

Simulate = Callable[[int, Sequence[Fault] | None], Report]


def shrink(report: Report, simulate: Simulate = simulate) -> Report:
    """Give a report with findings of the same seed, with as few faults as leaving out single ones leads to."""
    tries = 0
    is_smaller = True
    while is_smaller and tries < TRIES_MAX:
        is_smaller = False
        for place in range(len(report.faults)):
            tries += 1
            tried = simulate(report.seed, report.faults[:place] + report.faults[place + 1 :])
            if tried.findings:
                report, is_smaller = tried, True
                break
    return report


def tell(report: Report, shrunk: Report) -> str:
    """Say what was found, what it took, and how to see it again."""
    lines = [f"seed {report.seed}: {len(report.findings)} broken promises", *(f"  {finding}" for finding in report.findings)]
    lines.append(f"  with {len(shrunk.faults)} of its {len(report.faults)} faults this remains:" if report.faults else "  without a fault")
    lines += [f"    {fault}" for fault in shrunk.faults]
    if shrunk.findings != report.findings:
        lines += [f"  {finding}" for finding in shrunk.findings]
    lines.append(f"  replay: make simulate SEED={report.seed}")
    return "\n".join(lines)
