"""``make torture``: one storm after another until the time is over, or one that is named by its seed."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

from tests.torture.audit import summary_of
from tests.torture.binaries import NoServer, find_binaries, find_owner
from tests.torture.evidence import keep_evidence
from tests.torture.far.command import torture_workers
from tests.torture.far.ways import WAYS
from tests.torture.storm import Forecast, weather

STORM_S = 90.0
COMPLAINTS_MAX = 40


def main() -> int:
    arguments = _read_arguments()
    if arguments.workers:
        return torture_workers(arguments)
    try:
        find_binaries()
        find_owner()
    except NoServer as error:
        print(f"NOTHING WAS TORTURED: {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    end_s = time.monotonic() + arguments.seconds
    seed = arguments.seed if arguments.seed is not None else SystemRandom().randrange(10_000)
    while True:
        seconds = max(10.0, min(STORM_S, end_s - time.monotonic()))
        if not _one(Forecast(seed=seed, seconds=seconds, kinds=tuple(arguments.kinds), fault=arguments.fault, work_s=arguments.work)):
            return 1
        seed += 1
        if end_s - time.monotonic() < STORM_S / 2:
            return 0


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=STORM_S, help="how long faults come, in storms of at most 90 s")
    parser.add_argument("--seed", type=int, default=None, help="of the first storm; each next one has the next seed")
    parser.add_argument("--kinds", nargs="*", default=[], help="only these faults")
    parser.add_argument("--fault", default="", help="a fault to plant in the nodes, to see it found")
    parser.add_argument("--work", type=float, default=0.01, help="how many seconds an action dawdles before and after what it does")
    ways = list(WAYS)
    parser.add_argument(
        "--workers", nargs="*", default=[], choices=ways, help="strike workers, node and broker of these transports instead"
    )
    return parser.parse_args()


def _one(forecast: Forecast) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"seed {forecast.seed}, {forecast.seconds:.0f} s, {forecast.nodes} nodes, standby: {forecast.standby}", flush=True)
    findings = weather(forecast, folder, lambda line: print(f"  {line}", flush=True))
    print(f"  {findings.faults} faults; {summary_of(findings.books)}", flush=True)
    for complaint in findings.complaints[:COMPLAINTS_MAX]:
        print(f"  WRONG  {complaint}")
    if findings.complaints:
        keep_evidence(findings.books, findings.complaints, folder / "evidence")
        print(f"  {len(findings.complaints)} complaints; logs in {folder}")
        print(f"  again: {_command(forecast)}")
        return False
    shutil.rmtree(folder)
    return True


def _command(forecast: Forecast) -> str:
    """Give what brings the same storm again: the same faults at the same times, and the same wishes of the client."""
    changed = [("kinds", " ".join(forecast.kinds)), ("fault", f"'{forecast.fault}'" if forecast.fault else ""), ("work", forecast.work_s)]
    options = "".join(f" --{name} {value}" for name, value in changed if value)
    return f'make torture SECONDS={forecast.seconds:.0f} SEED={forecast.seed} ARGS="{options.strip()}"'


if __name__ == "__main__":
    sys.exit(main())
