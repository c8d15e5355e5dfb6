"""The benchmark measures, says what it measured, and says so too where it cannot. No test looks at a time."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure.bench import MISUSED, OK, main, raw
from perdure.bench.gauge import percentile
from perdure.bench.lodging import Lodging
from perdure.bench.peers import DBOS_POSTGRES, DBOS_SQLITE, PGQUEUER, RESTATE, Kind, Peer
from perdure.bench.processes import run_bounded
from perdure.bench.report import table
from perdure.bench.result import Result, read_result
from perdure.bench.rounds import Part, Plan, child_command, is_for, parts, run_child
from perdure.bench.sampler import Sampler

pytestmark = pytest.mark.timeout(180)

SMALL = ["--scale", "0.002", "--rounds", "1", "--loop", "asyncio", "--no-peers"]
LOCAL = ["--store", "memory,sqlite"]


def figures(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def plan(folder: Path, *, only: Sequence[str] = ("W1",), stores: Sequence[str] = ("sqlite",), rounds: int = 1) -> Plan:
    return Plan(only, stores, rounds, 0.002, "asyncio", folder, {})


def script(folder: Path, text: str) -> Path:
    """Put a peer's ``run`` there, as others write it."""
    folder.mkdir(exist_ok=True)
    (folder / "run").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "run").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The figures of one small benchmark of everything."""
    folder = tmp_path_factory.mktemp("bench")
    assert main([*SMALL, *LOCAL, "--out", str(folder / "out.jsonl"), "--folder", str(folder)]) == OK
    return figures(folder / "out.jsonl")


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_every_workload_gives_its_figures(measured: list[dict[str, Any]], store: str) -> None:
    found = {line["workload"] for line in measured if line["settings"]["store"] == store and line["value"] is not None}
    expected = {"W1", "W1_64", "W1_16", "W1_4", "W2", "W3_100", "W3_1000", "W3_10000", "W5", "replay", "long_100", "long_10000", "ceiling"}
    expected |= {"W4_put", "W4_put_single", "W4_drain"}
    assert expected <= found
    assert ({"sleepers", "sleepers_restart", "sleepers_wake", "burst_put", "burst"} <= found) == (store == "sqlite")


def test_every_figure_is_stated_with_what_it_was_measured_on(measured: list[dict[str, Any]]) -> None:
    stated = {"store", "version", "python", "loop", "sqlite", "sync", "slow_sync_us", "cpus", "scale", "round", "beside"}
    assert all(line.keys() == {"peer", "workload", "value", "unit", "settings"} for line in measured)
    assert [line["workload"] for line in measured if not stated <= line["settings"].keys()] == []


def test_a_chain_is_stated_with_its_price(measured: list[dict[str, Any]]) -> None:
    chain = next(line for line in measured if line["workload"] == "W1" and line["settings"]["store"] == "sqlite")
    price = {"p50_ms", "p99_ms", "cores", "commits", "rows_per_step", "file_bytes_per_step", "written_bytes_per_step", "rss_mb"}
    assert price <= chain["settings"].keys()
    assert chain["settings"]["sync"] == "full"
    # A step is one row; the start of a run, and its end in the row of its last step, are spread over ten.
    assert 1 <= chain["settings"]["rows_per_step"] <= 2


def test_a_restart_after_a_kill_loads_no_sleeper(measured: list[dict[str, Any]]) -> None:
    restart = next(line for line in measured if line["workload"] == "sleepers_restart")
    assert restart["settings"]["runs"] == 200
    assert restart["settings"]["runs_loaded"] == 0


def test_the_process_with_the_sleepers_is_killed_and_not_closed(tmp_path: Path) -> None:
    ended = subprocess.run(child_command(plan(tmp_path), "sleepers", "sqlite", Lodging(tmp_path)), capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert read_result(ended.stdout.strip()) is not None


def test_all_sleepers_that_are_due_at_once_come_to_their_end(measured: list[dict[str, Any]]) -> None:
    assert next(line for line in measured if line["workload"] == "sleepers_wake")["value"] > 0


def test_the_table_shows_bars_and_whether_they_are_met(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*SMALL, "--only", "W2,replay", "--store", "memory", "--folder", str(tmp_path)]) == OK
    shown = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["workload"] for line in shown if line.startswith("{")] == ["ceiling", "W2", "ceiling", "replay"]
    assert any(line.startswith("replay") and "50,000 facts/s" in line and ("met" in line or "MISSED" in line) for line in shown)
    assert any("A short run" in line for line in shown)


def results(ours: float, peer: float | None = None, ceiling: float = 100_000.0) -> list[Result]:
    stated = {"store": "sqlite", "beside": "W1"}
    found = [Result("perdure", "W1", ours, "steps/s", stated), Result("raw", "ceiling", ceiling, "rows/s", stated)]
    return found if peer is None else [*found, Result(DBOS_SQLITE.label, "W1", peer, "steps/s", stated)]


@pytest.mark.parametrize(("ours", "verdict"), [(10_000.0, "met"), (9_999.0, "MISSED")])
def test_a_bar_is_judged_by_the_ceiling_of_the_same_run(ours: float, verdict: str) -> None:
    line = table(results(ours))[2]
    assert "0.10 of the ceiling" in line
    assert line.endswith(verdict)


def test_medians_are_compared_with_medians() -> None:
    rounds = [*results(1_000, 10), *results(4_000, 400), *results(2_000, 20)]
    assert "100.0×" in table(rounds)[2]


def test_a_bar_that_needs_an_absent_peer_is_neither_met_nor_missed() -> None:
    line = table([Result("perdure", "W2", 0.5, "ms p50", {"store": "sqlite", "beside": "W2"})])[2]
    assert "DBOS / 15" in line
    assert "met" not in line.lower().replace("missed", "met")


def test_rounds_are_interleaved_with_the_peer_and_its_ceiling(tmp_path: Path) -> None:
    order = [(part.workload, part.peer) for part in parts(plan(tmp_path, rounds=2), [DBOS_SQLITE, DBOS_POSTGRES])]
    assert order == [("ceiling", ""), ("W1", ""), ("W1", "dbos-sqlite")] * 2


def test_a_peer_that_cannot_be_run_is_reported_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    peer = Peer(script(tmp_path / "peers", "echo 'no such server' >&2; exit 3"), DBOS_SQLITE)
    [skipped] = peer.measure("W1")
    assert (skipped.value, skipped.unit) == (None, "skipped")
    assert skipped.settings["problem"] == "run ended with 3: no such server"
    assert "no such server" in table([skipped])[-1]


def test_a_peer_without_a_script_is_reported_and_skipped(tmp_path: Path) -> None:
    peer = Peer(tmp_path, DBOS_SQLITE)
    peer.set_up()
    assert "no script called run" in str(peer.measure("W1")[0].settings["problem"])


def test_a_peers_figures_are_taken_in_our_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    line = '{"peer": "dbos-sqlite", "workload": "W1", "value": 30.0, "unit": "workflows/s", "settings": {"steps_s": 300}}'
    [result] = Peer(script(tmp_path / "peers", f"echo noise; echo '{line}'"), DBOS_SQLITE).measure("W1")
    assert (result.value, result.unit, result.store) == (300.0, "steps/s", "sqlite")


@pytest.mark.parametrize(
    ("kind", "said", "workload", "value"),
    [
        (DBOS_POSTGRES, {"workload": "W4_enqueue", "value": 3600.0, "settings": {}}, "W4_put", 3600.0),
        (PGQUEUER, {"workload": "W4_enqueue_single", "value": 4200.0, "settings": {}}, "W4_put", 4200.0),
        (PGQUEUER, {"workload": "W4_enqueue", "value": 69900.0, "settings": {"batch": 500}}, "W4_put_in_batches", 69900.0),
        (RESTATE, {"workload": "W4_total", "value": 1600.0, "settings": {}}, "W4_drain", 1600.0),
        (DBOS_POSTGRES, {"workload": "W5", "value": 30.0, "settings": {"all_done_after_last_start_plus_sleep": 16.3}}, "W5", 16.3),
    ],
)
def test_a_peers_workloads_have_our_names(kind: Kind, said: dict[str, Any], workload: str, value: float, tmp_path: Path) -> None:
    line = json.dumps({"peer": kind.name, "unit": "jobs/s", **said})
    [result] = Peer(script(tmp_path / "peers", f"echo '{line}'"), kind).measure(said["workload"])
    assert (result.peer, result.workload, result.value, result.store) == (kind.label, workload, value, "postgres")


def test_a_peers_failure_is_no_figure(tmp_path: Path) -> None:
    line = json.dumps({"peer": "restate", "workload": "W3_1000", "value": -1, "unit": "failed", "settings": {"error": "too slow"}})
    [result] = Peer(script(tmp_path / "peers", f"echo '{line}'"), RESTATE).measure("W3")
    assert result.value is None
    assert any("too slow" in shown for shown in table([result]))


def test_a_peer_that_did_not_do_all_of_it_has_no_figure(tmp_path: Path) -> None:
    line = json.dumps({"peer": "restate", "workload": "W4_total", "value": 50.0, "unit": "jobs/s", "settings": {"done": 9_983}})
    [result] = Peer(script(tmp_path / "peers", f"echo '{line}'"), RESTATE).measure("W4")
    assert (result.value, result.settings["problem"]) == (None, "9983 of 10000 were done in time")


@pytest.mark.parametrize(("workload", "processes"), [("W1", "2"), ("W4", "1")])
def test_a_peer_has_the_settings_that_a_workload_needs(workload: str, processes: str, tmp_path: Path) -> None:
    line = '{"peer": "restate", "workload": "any", "value": \'$WK\', "unit": "processes", "settings": {}}'
    [result] = Peer(script(tmp_path / "peers", f"echo '{line}'"), RESTATE).measure(workload)
    assert result.value == float(processes)


def test_a_peer_that_is_more_than_a_package_is_not_set_up_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    folder = script(tmp_path / "peers", "exit 1")
    (folder / "setup").write_text("#!/bin/sh\ntouch set-up\n")
    peer = Peer(folder, RESTATE)
    peer.set_up()
    assert "setup restate" in str(peer.measure("W1")[0].settings["problem"])
    assert not (tmp_path / "data").exists()


def test_nothing_that_a_process_started_outlives_its_limit(tmp_path: Path) -> None:
    ended = run_bounded(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; echo begun; wait"], {"PATH": "/usr/bin:/bin"}, 1)
    assert (ended.code, ended.output, ended.problem(1)) == (None, "begun\n", "no result within 1 s")
    assert has_ended(int((tmp_path / "pid").read_text()))


def has_ended(process: int) -> bool:
    """Tell whether a process, perhaps still on its way out, has ended."""
    try:
        watched = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], 10)[0])
    finally:
        os.close(watched)


@pytest.mark.parametrize(("workload", "stores"), [("W1", 4), ("W3", 3), ("burst", 2), ("nodes", 1), ("sleepers", 1)])
def test_a_workload_is_measured_where_it_makes_sense(workload: str, stores: int) -> None:
    assert sum(is_for(workload, store) for store in ("memory", "sqlite", "postgres", "postgres-unslowed")) == stores


def test_phases_of_a_workload_share_what_is_stored(tmp_path: Path) -> None:
    found = [(part.workload, part.stays) for part in parts(plan(tmp_path, only=["W4"], stores=["memory", "sqlite"]))]
    assert found == [("ceiling", False), ("W4", False), ("ceiling", False), ("W4", True), ("W4_drain", False)]


def test_a_workload_that_fails_says_why_and_the_rest_goes_on(tmp_path: Path) -> None:
    [failed] = run_child(plan(tmp_path), Part("W1", "sqlite", 1), Lodging(tmp_path / "not" / "there"))
    assert (failed.value, failed.unit) == (None, "failed")
    assert "does not exist" in failed.settings["problem"]


@pytest.mark.parametrize("arguments", [["--only", "W9"], ["--store", "oracle"], ["--only", ""], ["--seconds", "long"], ["--profile", "W5"]])
def test_what_is_not_known_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == MISUSED
    assert "usage: perdure bench" in capsys.readouterr().err


def test_a_slower_disk_needs_the_library_for_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*SMALL, *LOCAL, "--slow-sync", "1000", "--peers", str(tmp_path)]) == MISUSED
    assert "slowsync.c" in capsys.readouterr().err


def test_a_profile_shows_where_the_time_of_a_step_goes(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--profile", "W1", "--scale", "0.05", "--store", "memory", "--loop", "asyncio", "--folder", str(tmp_path)]) == OK
    shown = capfd.readouterr().out
    assert "µs/step  function" in shown
    assert "perdure.engine.pump" in shown


def test_the_sampler_leaves_nothing_behind() -> None:
    sampler = Sampler()
    before = signal.getsignal(signal.SIGALRM)
    sampler.start()
    sampler.stop()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_second_measurement_of_the_raw_driver_goes_on_behind_the_first(tmp_path: Path) -> None:
    raw.write_sqlite(tmp_path / "raw.db", 1_500, 500)
    raw.write_sqlite(tmp_path / "raw.db", 1_000, 1_000)
    assert raw.read_sqlite(tmp_path / "raw.db", 2_500) > 0


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([3, 1, 2], 50) == 2
    assert percentile([1, 2, 3], 99) == 3
