"""A storm over the workers of each transport leaves the books in order, and the auditors see what would not be.

Longer ones, and others: ``make torture ARGS="--workers amqp nats http sqlite postgres"``.
"""

import asyncio
from pathlib import Path

import pytest

from tests.torture.far.storm import FarForecast, storm_over
from tests.torture.far.ways import WAYS, Name, names
from tests.torture.requirements import skip_without_server

pytestmark = pytest.mark.timeout(120)

# Of the seeds that bring all kinds within this time; always the same, so that what it finds is what a change did.
SEEDS: dict[Name, int] = {"sqlite": 0, "postgres": 93, "amqp": 6, "nats": 3, "http": 1}
SECONDS = 8.0


@pytest.mark.covers("F7", "F9", "I36", "S12", "S5", "I5")
@pytest.mark.parametrize("way", WAYS)
def test_no_fault_of_workers_nodes_or_brokers_loses_or_doubles_an_outcome(
    way: Name, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres_server") if way == "amqp" else None
    if way == "postgres":
        skip_without_server()
    forecast = FarForecast(way=way, seed=SEEDS[way], seconds=SECONDS)
    assert names(forecast.script()) == set(WAYS[way].kinds), "a seed that brings all kinds of faults"
    findings = asyncio.run(storm_over(forecast, tmp_path, database))
    assert findings.complaints == [], f"the folder {tmp_path} has the logs"
    assert findings.books.runs > 10
