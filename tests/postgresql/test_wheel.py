"""Where no PostgreSQL is installed, the tests take one from a wheel."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from perdure import Engine, Registry, workflow
from tests import postgres
from tests.torture.binaries import find_binaries

registry = Registry()
ROOT = Path(__file__).parents[2]


@workflow(registry=registry)
async def echo(value: int) -> int:
    return value


@pytest.fixture
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [] if path.as_posix().startswith("/usr") else glob(path, pattern))
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.mark.usefixtures("_nothing_installed")
async def test_programs_of_a_wheel_stand_in_for_installed_ones() -> None:
    programs = postgres.from_wheel()
    if programs is None:
        pytest.skip("the extra postgres-server is not installed; scripts/setup postgres-server installs it")
    assert postgres.binaries() == find_binaries() == programs
    with tempfile.TemporaryDirectory(prefix="perdure-postgres-") as folder, postgres.cluster(Path(folder)) as server:
        assert server is not None
        (row,) = await postgres.execute(server.url, "select current_setting('server_version_num')::int")
        assert row[0] >= 130_000
        async with Engine(server.url, registry=registry) as engine:
            assert await engine.run(echo, 7) == 7


@pytest.mark.usefixtures("_nothing_installed")
def test_without_a_wheel_there_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "WHEEL", "no_such_wheel")
    postgres.from_wheel.cache_clear()
    try:
        assert postgres.binaries() is None
    finally:
        postgres.from_wheel.cache_clear()


def test_whether_there_is_a_server_is_told_by_the_exit_code() -> None:
    environment = os.environ | {"PERDURE_TEST_POSTGRES": "postgresql://somewhere"}
    assert subprocess.run([sys.executable, "-m", "tests.postgres"], cwd=ROOT, env=environment, timeout=30, check=False).returncode == 0
