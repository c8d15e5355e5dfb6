"""Many runs that only wait: they cost little memory, no restart replays them, and all of them wake."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import json

COUNT = 20_000
PER_SLEEPER_MAX_MB = 300 / 100_000


def measured(folder: Path, count: int, step: str) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, os.getcwd()]))}
    command = [sys.executable, "-m", "tests.crash.sleepers", str(folder), str(count), step]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return json.decode(output, type=dict[str, float])


@pytest.mark.covers("I26", "F25")
@pytest.mark.timeout(120)
def test_twenty_thousand_sleepers_cost_little_memory_no_replay_at_a_restart_and_all_wake(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    few, many = measured(tmp_path / "few", 2_000, "start"), measured(tmp_path, COUNT, "start")
    assert many["rss_mb"] - few["rss_mb"] < (COUNT - 2_000) * PER_SLEEPER_MAX_MB
    assert measured(tmp_path, COUNT, "restart")["loads"] == 0
    woken = measured(tmp_path, COUNT, "wake")
    assert COUNT <= woken["loads"] < 1.2 * COUNT, "each is read once, or a little more"
    with closing(sqlite3.connect(tmp_path / "perdure.db")) as connection:
        query = "select count(*) from fact where fact = 'RunCompleted' and json ->> '$.value.json' = 'woken'"
        assert connection.execute(query).fetchone() == (COUNT,)
