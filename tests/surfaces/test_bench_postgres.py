"""The benchmark on a real PostgreSQL: every workload gives its figures and its price, and nothing is left on the server."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from perdure import Engine
from perdure.bench import MISUSED, OK, main, servers
from perdure.bench.lodging import lodged
from perdure.bench.postgres import private_cluster as clusters
from perdure.bench.postgres.filling import fill
from perdure.bench.postgres.meter import counted
from perdure.bench.postgres.private_cluster import NoCluster, private_cluster
from perdure.bench.postgres.raw import RawTable
from perdure.bench.postgres.server import problem_with, with_database, without_database
from perdure.bench.postgres.snapshot import held_snapshot
from perdure.bench.workflows import chain, registry
from tests import postgres

# Real processes, several of them, that wait for their shares of a store: a busy machine takes its time.
pytestmark = pytest.mark.timeout(240)

SMALL = ["--scale", "0.002", "--rounds", "1", "--loop", "asyncio", "--no-peers", "--seconds", "1"]
PRICES = {"wal_bytes_per_step", "db_commits_per_step", "round_trips_per_step", "cpu_us_per_step", "server_us_per_step"}


def measured(server: str, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Give the figures of a small benchmark that succeeds."""
    out = folder / "out.jsonl"
    assert main([*SMALL, "--store", "postgres", "--postgres", server, "--out", str(out), "--folder", str(folder), *arguments]) == OK
    return [json.loads(line) for line in out.read_text().splitlines()]


def of(figures: Sequence[dict[str, Any]], workload: str) -> dict[str, Any]:
    [found] = [figure for figure in figures if figure["workload"] == workload]
    return found


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"postgresql://postgres@127.0.0.1:{probe.getsockname()[1]}/test"


@pytest.fixture
def no_server(closed_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none on this machine, and none is named."""
    monkeypatch.setattr(servers, "ON_LOCALHOST", (closed_port,))
    for name in servers.VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_chains_are_stated_with_their_price_at_the_server(postgres_server: str, tmp_path: Path) -> None:
    found = measured(postgres_server, tmp_path, "--only", "W1,W2")
    settings = of(found, "W1")["settings"]
    assert settings.keys() >= {*PRICES, "p50_ms", "p99_ms", "commits", "postgres", "sync"}
    assert settings["wal_bytes_per_step"] > 0
    assert 0 < settings["round_trips_per_step"] <= settings["db_commits_per_step"]
    assert {figure["workload"] for figure in found if figure["peer"] == "raw"} == {"ceiling", "ceiling_read", "ceiling_single"}
    assert of(found, "W2")["value"] > 0


def test_a_queue_is_put_by_a_client_and_drained_by_a_node(postgres_server: str, tmp_path: Path) -> None:
    found = measured(postgres_server, tmp_path, "--only", "W4,burst")
    put, single, drained = (of(found, name)["settings"]["runs"] for name in ("W4_put", "W4_put_single", "W4_drain"))
    assert (put, single, drained) == (20, 2, 22)
    burst = of(found, "burst")
    assert burst["value"] > 0
    assert burst["settings"]["first_queued_ms"] > 0
    assert burst["settings"]["runs"] == of(found, "burst_put")["settings"]["runs"] == 200


def test_a_crew_of_one_two_and_four_nodes_shares_the_runs(postgres_server: str, tmp_path: Path) -> None:
    found = measured(postgres_server, tmp_path, "--only", "nodes", "--scale", "0.05")
    assert [of(found, f"nodes_{count}")["settings"]["nodes_that_worked"] for count in (1, 2, 4)] == [1, 2, 4]
    assert [of(found, f"nodes_{count}")["settings"]["runs"] for count in (1, 2, 4)] == [50, 100, 200]
    assert of(found, "nodes_4_sharing")["settings"]["runs"] == 50
    assert of(found, "nodes_4")["settings"]["node_round_trips_per_step"] > 0


def test_old_stores_sleepers_and_a_held_snapshot_are_measured(postgres_server: str, tmp_path: Path) -> None:
    found = measured(postgres_server, tmp_path, "--only", "stored,W5M,bloat")
    assert [of(found, name)["settings"]["stored"] for name in ("stored_1000", "stored_100000")] == [2, 200]
    assert of(found, "stored_100000")["settings"].keys() >= PRICES
    assert "stored_1000000" not in {figure["workload"] for figure in found}
    assert [of(found, f"W5M_{size}")["settings"]["runs"] for size in (10_000, 100_000, 1_000_000)] == [20, 200, 2_000]
    bloat = of(found, "bloat")["settings"]
    assert bloat["runs"] > 0
    assert {"run", "journal", "inbox", "partition"} <= bloat["mb"].keys()


def test_what_is_measured_is_gone_afterwards(postgres_server: str, tmp_path: Path) -> None:
    with lodged("postgres", tmp_path, {"postgres": postgres_server}) as lodging:

        async def use() -> None:
            async with RawTable(lodging.server, lodging.schema) as table:
                assert await table.write(2_000, 1_000) > 0
                assert await table.write(10, 1) > 0
                assert await table.read(2_010) > 0

        asyncio.run(use())
        assert asyncio.run(_schemas(postgres_server, lodging.schema)) == 1
    assert asyncio.run(_schemas(postgres_server, lodging.schema)) == 0
    assert list(tmp_path.iterdir()) == []


async def _schemas(server: str, name: str) -> int:
    [row] = await postgres.execute(server, f"select count(*) from pg_namespace where nspname = '{name}'")
    return int(row[0])


async def test_copies_of_a_finished_run_are_runs(postgres_server: str, postgres_url: str) -> None:
    async with Engine(postgres_url, registry=registry) as engine:
        first = await engine.start(chain, 3)
        assert await first.result() == 3
        await fill(postgres_server, postgres_url.partition("schema=")[2], first.id, 1, 5)
        assert await engine.get(f"{first.id}-5").result() == 3
        assert len(await engine.list()) == 6


async def test_round_trips_are_counted_while_they_are_looked_at(postgres_server: str) -> None:
    plain = asyncpg.connect
    with counted() as trips:
        connection = await asyncpg.connect(postgres_server)
        own = await trips.connect(postgres_server)
        for _ in range(3):
            await connection.fetch("select 1")
            await own.fetch("select 1")
        # The driver tells of a request in a later turn of the loop.
        await asyncio.sleep(0)
        await connection.close()
        await own.close()
    assert trips.count == 3
    assert asyncpg.connect is plain


async def test_a_held_snapshot_is_one_that_others_must_mind(postgres_server: str) -> None:
    async with held_snapshot(postgres_server) as backend:
        held = f"select state from pg_stat_activity where pid = {backend} and backend_xmin is not null"
        assert [row["state"] for row in await postgres.execute(postgres_server, held)] == ["idle in transaction"]
    assert await postgres.execute(postgres_server, held) == []


def test_a_profile_of_postgres_shows_the_way_to_it(postgres_server: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ["--store", "postgres", "--postgres", postgres_server, "--folder", str(tmp_path)]
    assert main(["--profile", "W1", "--scale", "0.05", "--loop", "asyncio", *where]) == OK
    shown = capfd.readouterr().out
    assert "W1 on postgres" in shown
    assert "perdure.stores.postgres" in shown


def test_a_named_server_that_does_not_answer_is_an_error(
    no_server: None, closed_port: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*SMALL, "--only", "W2", "--postgres", closed_port]) == MISUSED
    assert "no server at 127.0.0.1" in capsys.readouterr().err
    monkeypatch.setenv("PERDURE_BENCH_POSTGRES", closed_port)
    assert main([*SMALL, "--only", "W2"]) == MISUSED


def test_without_a_server_the_rest_is_measured_and_the_reason_told(
    no_server: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*SMALL, "--only", "W2", "--store", "memory,postgres", "--folder", str(tmp_path)]) == OK
    shown = capsys.readouterr().out
    assert "postgres: skipped: no server at 127.0.0.1" in shown
    assert "W2        memory" in shown
    assert main([*SMALL, "--only", "W2", "--store", "postgres", "--folder", str(tmp_path)]) == MISUSED
    assert "name one with --postgres" in capsys.readouterr().err


def test_without_the_driver_the_reason_names_the_extra(no_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "perdure.bench.postgres.server")
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    assert "perdure[postgres]" in servers.find_server(None).problem


def test_a_server_is_named_with_or_without_a_database() -> None:
    assert with_database("postgresql://me@there:5433") == "postgresql://me@there:5433/postgres"
    assert with_database("postgresql://me@there/shop") == "postgresql://me@there/shop"
    assert without_database("postgresql://me@there/shop?sslmode=require") == "postgresql://me@there"


def test_a_slower_disk_is_never_that_of_a_named_server(postgres_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slowsync.c").write_text("int fsync(int file) { return 0; }\n")
    arguments = ["--slow-sync", "1000", "--peers", str(tmp_path), "--postgres", postgres_server]
    assert main([*SMALL, "--only", "W2", *arguments]) == MISUSED
    assert "a server of our own" in capsys.readouterr().err


def test_a_server_of_our_own_has_the_library_and_leaves_nothing(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/lib/postgresql").is_dir():
        pytest.skip("no C compiler or no installed server")
    library = tmp_path / "nothing.so"
    (tmp_path / "nothing.c").write_text("int nothing_of_note(void) { return 0; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "nothing.c")], check=True)
    with private_cluster(None, {"LD_PRELOAD": str(library)}) as url:
        sql = (
            "select pid, current_setting('fsync'), current_setting('data_directory') from pg_stat_activity where backend_type = 'walwriter'"
        )
        [[process, fsync, data]] = asyncio.run(postgres.execute(url, sql))
        assert fsync == "on"
        assert "nothing.so" in Path(f"/proc/{process}/maps").read_text()
        assert Path(data).is_dir()
    assert problem_with(url) is not None
    assert not Path(data).parent.exists()


def test_a_server_of_our_own_needs_its_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_NEEDED", ("initdb", "no-such-program"))
    with pytest.raises(NoCluster, match="install a PostgreSQL server"), private_cluster(None, {}):
        pass
    with servers.slowed_servers(None, dict(os.environ)) as found:
        assert found.urls == {}
        assert "install a PostgreSQL server" in found.problem
