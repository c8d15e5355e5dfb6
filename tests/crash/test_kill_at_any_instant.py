"""``kill -9`` at any instant: the run ends as if nothing had happened, and what was recorded is not done again."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import json

from tests.crash.program import CALLS, Life

DEATHS = 200


@pytest.fixture(scope="module")
def zygote() -> Iterator["subprocess.Popen[str]"]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, os.getcwd()]))}
    command = [sys.executable, "-m", "tests.crash.zygote"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


class Story:
    """What one database file and one ledger lived through."""

    def __init__(self, zygote: "subprocess.Popen[str]", folder: Path) -> None:
        self._zygote = zygote
        self._folder = folder
        self._lives = 0

    def live(self, run: str, *, commit: int | None = None, when: str = "", kill_s: float | None = None) -> int:
        """Let the process live once; gives the exit code, or minus the signal. No call runs again whose outcome was recorded."""
        recorded = set(self.outcomes(run))
        self._lives += 1
        life = Life(self._lives, str(self._folder), run, commit, when, kill_s)
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        print(json.encode(life).decode(), file=self._zygote.stdin, flush=True)
        ended = int(self._zygote.stdout.readline())
        again = {key for key, _, life in self.effects(run) if life == self._lives} & recorded
        assert not again, f"done again in life {self._lives}: {again}"
        return ended

    def outcomes(self, run: str) -> Counter[str]:
        """Count the recorded outcomes by idempotency key."""
        if not (path := self._folder / "perdure.db").exists():
            return Counter()
        with closing(sqlite3.connect(path)) as connection:
            try:
                rows = connection.execute("select call from fact where run = ? and fact = 'ActionCompleted'", (run,)).fetchall()
            except sqlite3.OperationalError:
                return Counter()  # It died before the schema was there.
        return Counter(f"{run}#1#{call}" for (call,) in rows)

    def effects(self, run: str) -> list[tuple[str, int, int]]:
        """Give key, attempt and life of every effect of the run, in order."""
        path = self._folder / "ledger"
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [(key, int(attempt), int(life)) for key, attempt, life in map(str.split, lines)]
        return [entry for entry in entries if entry[0].startswith(f"{run}#")]

    def result(self, run: str) -> bytes:
        with closing(sqlite3.connect(self._folder / "perdure.db")) as connection:
            query = "select json -> '$.value.json' from fact where run = ? and fact = 'RunCompleted'"
            ((value,),) = connection.execute(query, (run,)).fetchall()
        return bytes(value, "utf-8")


def _kill_until_done(story: Story, run: str, chance: random.Random) -> list[int]:
    """Live and die until the run is done; gives, for each death, how many outcomes had been recorded."""
    deaths: list[int] = []
    while True:
        if len(deaths) % 2:
            ended = story.live(run, commit=chance.randint(1, 9), when=chance.choice(["before", "after"]))
        else:
            ended = story.live(run, kill_s=chance.uniform(0, 0.09))
        if ended == 0:
            return deaths
        assert ended == -signal.SIGKILL
        deaths.append(len(story.outcomes(run)))


@pytest.mark.covers("I2", "I3", "I36", "F13")
@pytest.mark.timeout(120)
def test_a_run_killed_again_and_again_ends_as_if_it_had_never_been(zygote: "subprocess.Popen[str]", tmp_path: Path) -> None:
    story, chance = Story(zygote, tmp_path), random.Random(191)
    assert story.live("calm") == 0
    wanted, calm = story.result("calm"), {key.partition("#")[2] for key, _, _ in story.effects("calm")}
    assert len(calm) == CALLS
    deaths: list[int] = []
    while len(deaths) < DEATHS:
        run = f"wild{len(deaths)}"
        deaths += _kill_until_done(story, run, chance)
        assert story.result(run) == wanted
        assert story.outcomes(run) == Counter(f"{run}#{key}" for key in calm), "every call has exactly one outcome"
        assert {key for key, _, _ in story.effects(run)} == {f"{run}#{key}" for key in calm}, "no attempt had a key of its own"
    assert sum(0 < recorded < CALLS for recorded in deaths) > DEATHS / 2, "most deaths came while a run was half done"


@pytest.mark.covers("I36")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", range(1, 6))
def test_a_death_right_before_or_after_a_commit_gives_every_call_the_same_key_again(
    zygote: "subprocess.Popen[str]", tmp_path: Path, commit: int, when: str
) -> None:
    story = Story(zygote, tmp_path)
    assert story.live("a", commit=commit, when=when) == -signal.SIGKILL
    before = [key for key, _, _ in story.effects("a")]
    assert story.live("a") == 0
    assert len({key for key, _, _ in story.effects("a")}) == CALLS
    again = [key for key, _, life in story.effects("a") if life == 2]
    assert set(before) - set(again) <= set(story.outcomes("a"))
    assert len(again) == len(set(again)), "within one life each call was made once"
