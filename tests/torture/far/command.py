"""``python -m tests.torture --workers amqp``: one storm over workers after another until the time is over."""

import asyncio
import shutil
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from random import SystemRandom

import pytest

from tests import postgres
from tests.torture.binaries import NoServer
from tests.torture.far.storm import FarFindings, FarForecast, storm_over

STORM_S = 30.0
COMPLAINTS_MAX = 40


def torture_workers(arguments: Namespace) -> int:
    """Let storms come over the workers of these ways, by turns; gives the exit code."""
    database, left_s = postgres.reachable(), arguments.seconds
    seed = arguments.seed if arguments.seed is not None else SystemRandom().randrange(10_000)
    while left_s > 0:
        for way in arguments.workers:
            seconds = max(10.0, min(STORM_S, left_s))
            try:
                if not _one(
                    FarForecast(way=way, seed=seed, seconds=seconds, kinds=tuple(arguments.kinds), fault=arguments.fault), database
                ):
                    return 1
            except (NoServer, pytest.skip.Exception, pytest.fail.Exception) as error:
                print(f"NOTHING WAS TORTURED: {error}", file=sys.stderr)
                return 1
            left_s -= seconds
        seed += 1
    return 0


def _one(forecast: FarForecast, database: str | None) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"workers by {forecast.way}, seed {forecast.seed}, {forecast.seconds:.0f} s", flush=True)
    findings: FarFindings = asyncio.run(storm_over(forecast, folder, database, lambda line: print(f"  {line}", flush=True)))
    print(f"  {findings.faults} faults; {findings.books}; calm after {findings.calm_s:.1f} s", flush=True)
    for complaint in findings.complaints[:COMPLAINTS_MAX]:
        print(f"  WRONG  {complaint}")
    if findings.complaints:
        options = f" --kinds {' '.join(f'{kind!r}' for kind in forecast.kinds)}" if forecast.kinds else ""
        options += f" --fault {forecast.fault!r}" if forecast.fault else ""
        print(f"  {len(findings.complaints)} complaints; logs, effects and store in {folder}")
        print(f'  again: make torture SECONDS={forecast.seconds:.0f} SEED={forecast.seed} ARGS="--workers {forecast.way}{options}"')
        return False
    shutil.rmtree(folder)
    return True
