"""A storm over the workers of each transport leaves the books in order, and a storm finds the fault that is planted.

Longer ones, with all kinds of faults: ``make torture ARGS="--workers amqp nats http sqlite postgres"``.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.torture.far.storm import FarForecast, storm_over
from tests.torture.far.ways import WAYS, Kind, Name, names
from tests.torture.requirements import skip_without_server

pytestmark = pytest.mark.timeout(240)

# Of the seeds that bring each kind once within this time, the death of the server before the last; always the same, so that what a storm
# finds is what a change did.
SEEDS: dict[Name, int] = {"sqlite": 0, "postgres": 55, "amqp": 447, "nats": 7, "http": 1}
SECONDS = 8.0
LEFT_OUT: dict[Name, set[Kind]] = {"postgres": {"away"}, "amqp": {"away", "wipe broker"}}
"""A server that was killed is away too; and a RabbitMQ takes seconds to begin, wiped or not."""


def kinds_of(way: Name) -> Sequence[Kind]:
    return tuple(kind for kind in WAYS[way].kinds if kind not in LEFT_OUT.get(way, set()))


@pytest.mark.covers("F7", "F9", "I36", "S12", "S5", "I5")
@pytest.mark.parametrize("way", WAYS)
def test_no_fault_of_workers_nodes_or_brokers_loses_or_doubles_an_outcome(
    way: Name, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres_server") if way == "amqp" else None
    if way == "postgres":
        skip_without_server()
    forecast = FarForecast(way=way, seed=SEEDS[way], seconds=SECONDS, kinds=kinds_of(way))
    assert names(forecast.script()) == set(forecast.kinds), "a seed that brings all kinds of faults"
    findings = asyncio.run(storm_over(forecast, tmp_path, database))
    assert findings.complaints == [], f"the folder {tmp_path} has the logs"
    assert findings.books.runs > 10


def test_a_storm_finds_that_what_a_broker_lost_is_not_sent_again(tmp_path: Path) -> None:
    # Many more calls than slots, and too long for workers to read ahead: some lie in the queue whenever it is wiped.
    forecast = FarForecast(
        way="nats", seed=1, seconds=4.0, kinds=("wipe broker",), fault="no resend", tellers=60, spans_s=(2.0,), calm_s=5.0
    )
    complaints = asyncio.run(storm_over(forecast, tmp_path, None)).complaints
    assert any("it should have completed and is running" in complaint for complaint in complaints), complaints
