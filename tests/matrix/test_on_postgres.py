"""Whole runs end on PostgreSQL as they do in memory, warm and cold."""

from pathlib import Path

import pytest

from perdure import Limits
from perdure.testing.env import Environment
from tests.matrix.plays import PLAYS
from tests.matrix.stages import Stage
from tests.matrix.test_whole_runs import ending
from tests.stores import CrashablePostgresStore


@pytest.mark.covers("I3", "I5", "M24")
@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize("play", PLAYS)
async def test_a_whole_run_ends_on_postgresql_as_it_does_in_memory(play: str, postgres_url: str, tmp_path: Path, *, is_cold: bool) -> None:
    wanted = PLAYS[play][1]
    if wanted is None:
        wanted = await ending(play, "memory", tmp_path, is_cold=False)
    limits = Limits(runs_idle_max=0) if is_cold else Limits()
    it = Stage(Environment(CrashablePostgresStore(postgres_url), limits=limits, seed=7), is_cold=is_cold)
    async with it.env:
        assert await PLAYS[play][0](it) == wanted
