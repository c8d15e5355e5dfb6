"""``python -m tests.torture --workers amqp``: one storm over workers after another until the time is over."""

import asyncio
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from random import SystemRandom

from tests import brokers, postgres
from tests.torture.far.storm import FarFindings, FarForecast, storm_over
from tests.torture.far.ways import WAYS

STORM_S = 30.0
COMPLAINTS_MAX = 40


def servers() -> Mapping[str, str]:
    """Give the URLs of the servers that are there."""
    found = {"amqp": brokers.amqp_server()} if brokers.answers(brokers.amqp_server()) else {}
    database = postgres.reachable()
    return found if database is None else {**found, "postgres": database}


def torture_workers(arguments: Namespace) -> int:
    """Let storms come over the workers of these ways, by turns; gives the exit code."""
    places, left_s = servers(), arguments.seconds
    seed = arguments.seed if arguments.seed is not None else SystemRandom().randrange(10_000)
    while left_s > 0:
        for way in arguments.workers:
            missing = {WAYS[way].store, way} & {"postgres", "amqp"} - places.keys()
            if missing:
                print(f"NOTHING WAS TORTURED: no {' and no '.join(sorted(missing))}", file=sys.stderr)
                return 1
            seconds = max(10.0, min(STORM_S, left_s))
            if not _one(FarForecast(way=way, seed=seed, seconds=seconds, kinds=tuple(arguments.kinds)), places):
                return 1
            left_s -= seconds
        seed += 1
    return 0


def _one(forecast: FarForecast, places: Mapping[str, str]) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"workers by {forecast.way}, seed {forecast.seed}, {forecast.seconds:.0f} s", flush=True)
    findings: FarFindings = asyncio.run(storm_over(forecast, folder, places, lambda line: print(f"  {line}", flush=True)))
    print(f"  {findings.faults} faults; {findings.books}; calm after {findings.calm_s:.1f} s", flush=True)
    for complaint in findings.complaints[:COMPLAINTS_MAX]:
        print(f"  WRONG  {complaint}")
    if findings.complaints:
        kinds = f" --kinds {' '.join(f'{kind!r}' for kind in forecast.kinds)}" if forecast.kinds else ""
        print(f"  {len(findings.complaints)} complaints; logs, effects and store in {folder}")
        print(f'  again: make torture SECONDS={forecast.seconds:.0f} SEED={forecast.seed} ARGS="--workers {forecast.way}{kinds}"')
        return False
    shutil.rmtree(folder)
    return True
