"""Whole runs end alike on every store, warm and cold."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.stores import STORES
from tests.matrix.plays import PLAYS
from tests.matrix.stages import stage


async def ending(play: str, store: str, folder: Path, *, is_cold: bool) -> Any:
    it = stage(store, folder, is_cold=is_cold)
    async with it.env:
        return await PLAYS[play][0](it)


@pytest.mark.covers("I2", "I3", "I9", "I10", "I11", "I14", "I28", "I29")
@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("play", PLAYS)
async def test_a_whole_run_ends_as_it_must(play: str, store: str, tmp_path: Path, *, is_cold: bool) -> None:
    ended, wanted = await ending(play, store, tmp_path, is_cold=is_cold), PLAYS[play][1]
    if wanted is None:
        # What chance gives is not ours to say, but it is the same on a warm stage in memory.
        wanted = await ending(play, "memory", tmp_path, is_cold=False)
    assert ended == wanted
