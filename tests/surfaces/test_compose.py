"""`compose.yaml` as it stands: a primary with a synchronous standby and three nodes, run with the programs of this machine."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Registry, connect, workflow
from perdure.model.durability import Durability
from tests import compose
from tests.compose import ROOT, Composed, until
from tests.torture.binaries import NoServer
from tests.torture.cluster import free_port


@workflow(registry=(registry := Registry()), name="travel")
async def travel(trip: str) -> list[str]:
    raise NotImplementedError("the nodes have it")


@pytest.fixture
def composed() -> Iterator[Composed]:
    folder = Path(tempfile.mkdtemp(prefix="perdure-compose-"))
    try:
        found = Composed(folder)
    except NoServer as error:
        shutil.rmtree(folder)
        pytest.fail(str(error)) if os.environ.get("CI") else pytest.skip(str(error))
    try:
        yield found
    finally:
        found.end()
        shutil.rmtree(folder)


def run(composed: Composed, name: str, command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=composed.environment_of(name), capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.covers("M17", "M26", "Z7")
@pytest.mark.timeout(60)
def test_what_the_file_says_runs_and_a_run_on_it_survives_in_two_places(composed: Composed) -> None:
    composed.begin_primary()
    composed.begin_standby()
    run(composed, "schema", composed.command_of("schema"))
    ports = [free_port() for _ in range(composed.services["node"]["deploy"]["replicas"])]
    for number, port in enumerate(ports):
        composed.begin(f"node{number}", composed.command_of("node", port), composed.environment_of("node"))
    for number, port in enumerate(ports):
        until(lambda port=port: composed.is_ready(port), f"the health of node {number}", composed.log(f"node{number}"))
    asyncio.run(_is_safe_twice(composed.environment_of("node")["PERDURE_STORE"]))
    command = next(line for line in (ROOT / "compose.yaml").read_text().splitlines() if "exec node perdure" in line).split("perdure ")[1]
    # It helps as a node while it waits, so actions may print here too.
    assert json.loads(run(composed, "node", [*composed.command_of("schema")[:4], *command.split()]).splitlines()[-1]) == _ROME
    health = json.loads(run(composed, "node", [*composed.command_of("schema")[:4], "health", "--json"]))
    assert len(health["nodes"]) == 3
    assert composed.end_nodes() == [0, 0, 0]


_ROME = ["flight-Rome", "hotel-Rome", "car-Rome"]


async def _is_safe_twice(store: str) -> None:
    async with connect(store, registry=registry) as client:
        asked = travel.options(durability="disk+replica")
        handle = await client.start(asked, "Rome")
        assert handle.durability is Durability.DISK_REPLICA
        assert await asyncio.wait_for(handle.result(), 20) == _ROME
        plain = await client.start(travel, "Rome")
        assert plain.durability is Durability.DISK


def test_what_the_image_installs_and_copies_is_there() -> None:
    build = compose.read()["services"]["node"]["build"]
    extras = build["dockerfile_inline"].split(".[")[1].split("]")[0].split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])
    assert "perdure" in project["scripts"]
    assert (ROOT / build["context"] / compose.read()["services"]["node"]["command"][2]).is_file()
    assert not (ROOT / ".dockerignore").exists()


def test_every_name_that_the_file_uses_is_one_that_it_has() -> None:
    file = compose.read()
    for service in file["services"].values():
        assert set(service.get("depends_on", {})) <= set(file["services"])
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(file["volumes"])
        assert {config["source"] for config in service.get("configs", ())} <= set(file["configs"])
    standbys = " ".join(file["services"]["primary"]["command"])
    assert "synchronous_standby_names=standby" in standbys
    assert "application_name=standby" in file["services"]["standby"]["command"][2]
