"""Several nodes on one store, with everything going wrong that a seed can think of, keep every promise; and broken ones are found out."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest

from perdure.engine.callers.fetcher import Fetcher
from perdure.engine.calls.dispatcher import Dispatcher
from perdure.engine.inbox.intake import Intake
from perdure.engine.inbox.postroom import Postroom
from perdure.engine.sharing.handover import Handover
from perdure.model.errors import RunElsewhere
from perdure.model.message import SendSignal
from perdure.stores.memory import MemoryStore
from perdure.stores.memory.seats import Seats
from perdure.testing.simulation import Fault, Kind, Report, shrink, simulate, tell
from perdure.testing.simulation.__main__ import main

SEEDS = 1_000
AT_ONCE = 2


@pytest.mark.timeout(300)
@pytest.mark.covers("M13", "M16", "M17", "X1", "X2")
def test_a_thousand_worlds_keep_every_promise() -> None:
    share = SEEDS // AT_ONCE
    command = [sys.executable, "-m", "perdure.testing.simulation", "--count", str(share), "--first"]
    started = [
        subprocess.Popen([*command, str(first)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for first in range(0, SEEDS, share)
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * AT_ONCE, "\n".join(said)
    assert all(f"{share} worlds, 0 broken" in text for text in said)


def test_a_seed_gives_the_same_world_every_time_and_in_every_process() -> None:
    seeds = [3, 7, 19]
    here = [simulate(seed) for seed in seeds]
    assert [simulate(seed) for seed in seeds] == here
    for hash_seed in ("1", "2"):
        program = f"from perdure.testing.simulation import simulate\nprint([simulate(seed).trace for seed in {seeds}])"
        found = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == str([report.trace for report in here])


def test_seeds_give_different_worlds_in_which_things_happen() -> None:
    reports = [simulate(seed) for seed in range(40)]
    assert len({report.trace for report in reports}) == 40
    assert {fault.kind for report in reports for fault in report.faults} == set(Kind)
    assert sum(report.commits for report in reports) > 800


# Planted faults: each must be found within so many seeds.


def ignore_the_epoch(patch: pytest.MonkeyPatch) -> None:
    """A commit without the fence."""
    commit = MemoryStore.commit

    async def unfenced(self: MemoryStore, batch: Any) -> Any:
        check, Seats.check = Seats.check, lambda self, epoch: None
        try:
            return await commit(self, batch)
        finally:
            Seats.check = check

    patch.setattr(MemoryStore, "commit", unfenced)


def lose_an_inbox_row(patch: pytest.MonkeyPatch) -> None:
    """A message is consumed without an effect."""
    hand_over = Postroom._hand_over

    async def losing(self: Any, run: Any, letter: Any, blobs: Any) -> None:
        if isinstance(letter.message, SendSignal) and crc32(letter.item.id.encode()) % 3 == 0:
            self._consume(letter)
        else:
            await hand_over(self, run, letter, blobs)

    patch.setattr(Postroom, "_hand_over", losing)


def deliver_outcomes_twice(patch: pytest.MonkeyPatch) -> None:
    """An outcome is taken in again with the next transition, and nobody looks whether it has been."""
    tell, accepts = Dispatcher._on_outcome, Intake.accepts

    def twice(self: Any, attempt: Any, outcome: Any) -> None:
        tell(self, attempt, outcome)
        run = self._find(attempt.run)
        if run is not None and run.arrivals and attempt.call == "1":
            run.arrivals.append(run.arrivals[-1])

    patch.setattr(Dispatcher, "_on_outcome", twice)
    patch.setattr(Intake, "accepts", lambda self, run, arrival: True if arrival.told.took_us else accepts(self, run, arrival))
    patch.setattr(Intake, "_drop_twin", lambda self, run, twin, arrival: None)
    patch.setattr("perdure.engine.inbox.intake._identity", id)


def forget_a_run_at_a_handover(patch: pytest.MonkeyPatch) -> None:
    """The next node does not hear of the runs that were held."""

    async def none(self: Any, partitions: Any) -> list[Any]:
        return []

    patch.setattr(MemoryStore, "held", none)


def drop_what_is_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """A message for a run that is another node's is thrown away."""
    live = Fetcher.live

    async def dropping(self: Any, run: Any) -> Any:
        try:
            return await live(self, run)
        except RunElsewhere:
            for key in [key for key in self._node.postroom._seen if key[0] == run]:
                self._node.committer.batch.consumed.append(key)
                self._node.pump.schedule()
            raise

    patch.setattr(Fetcher, "live", dropping)


def release_nothing(patch: pytest.MonkeyPatch) -> None:
    """Partitions are given away while what their runs have under way goes on."""

    async def nothing(self: Any, partitions: Any) -> None:
        return None

    patch.setattr(Handover, "settle", nothing)
    patch.setattr(Handover, "_forget", lambda self, partitions: None)


PLANTED: dict[Callable[[pytest.MonkeyPatch], None], int] = {
    ignore_the_epoch: 240,
    lose_an_inbox_row: 60,
    deliver_outcomes_twice: 20,
    forget_a_run_at_a_handover: 60,
    drop_what_is_elsewhere: 120,
    release_nothing: 60,
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(simulate(seed).findings for seed in range(PLANTED[plant]))


# What is said of a broken world.


def pretend(needed: set[str]) -> Callable[[int, Any], Report]:
    """A simulation whose worlds break exactly when all of these faults happen."""

    def of(seed: int, faults: Any) -> Report:
        is_broken = needed <= {fault.kind for fault in faults}
        return Report(seed=seed, faults=tuple(faults), findings=("broken",) if is_broken else (), commits=0, runs=0, lasted_s=0.0, trace=0)

    return of


def test_faults_that_a_failure_does_not_need_are_left_out() -> None:
    faults = [Fault(kind, at_us=1, slot=0, span_us=1) for kind in Kind]
    of = pretend({Kind.PAUSE, Kind.HINTS_LOST})
    assert [fault.kind for fault in shrink(of(5, faults), of).faults] == [Kind.PAUSE, Kind.HINTS_LOST]
    assert shrink(pretend(set())(5, faults), pretend(set())).faults == ()


def test_a_broken_world_is_told_with_its_seed_its_faults_and_the_way_to_see_it_again() -> None:
    faults = [Fault(kind, at_us=1_500_000, slot=2, span_us=1_000, skip=3) for kind in (Kind.PAUSE, Kind.FAIL_AFTER)]
    of = pretend({Kind.FAIL_AFTER})
    report = of(5, faults)
    text = tell(report, shrink(report, of))
    assert "seed 5" in text
    assert "make simulate SEED=5" in text
    assert "1 of its 2 faults" in text
    assert "1.500 s  node 2  store unavailable after the effect, 0.001 s, 1 calls after 3" in text


def test_the_command_says_what_it_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "2"]) == 0
    assert "2 worlds, 0 broken" in capsys.readouterr().out
    forget_a_run_at_a_handover(monkeypatch)
    assert main(["--count", "60"]) == 1
    said = capsys.readouterr().out
    assert "broken promises" in said
    assert "is silent" in said or "had not ended" in said
