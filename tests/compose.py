"""What `compose.yaml` says, done with processes of this machine: its commands and settings as they stand there, on free ports.

What is not there is what the image ``postgres`` and the network of containers do: an empty database for ``POSTGRES_USER``, the scripts of
``/docker-entrypoint-initdb.d``, passwords for whoever comes over the network, and hosts named after the services.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.torture import children
from tests.torture.binaries import Owner, find_binaries, find_owner
from tests.torture.cluster import free_port

ROOT = Path(__file__).parents[1]
PATIENCE_S = 45.0
_LOOK_S = 0.1
_HBA = "local all all trust\nhost all all all scram-sha-256\n"
_SHIM = """#!/bin/sh
exec '{binaries}/postgres' -p "$OWN_PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$PGDATA" "$@"
"""


def read() -> dict[str, Any]:
    """Give the file as a value; raises where it is no YAML."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def unescaped(text: str) -> str:
    """Give a text as a container sees it."""
    return text.replace("$$", "$")


def until(check: Callable[[], bool], what: str, log: Path | None = None) -> None:
    """Wait until the check holds."""
    end_s = time.monotonic() + PATIENCE_S
    while not check():
        said = "" if log is None else log.read_text(errors="replace")[-2000:]
        assert time.monotonic() < end_s, f"{what} took longer than {PATIENCE_S:g} s: {said}"
        time.sleep(_LOOK_S)


class Composed:
    """The services of the file, each a process on a port of its own, below one folder. They end with `end`."""

    def __init__(self, folder: Path) -> None:
        self.file = read()
        self.services: dict[str, Any] = self.file["services"]
        self.folder = folder
        self.binaries, self.owner = find_binaries(), find_owner()
        self.ports = {name: free_port() for name in ("primary", "standby")}
        self._processes: list[subprocess.Popen[bytes]] = []
        os.chown(folder, self.owner.uid, self.owner.gid)
        folder.chmod(0o711)
        self._programs = folder / "bin"
        self._programs.mkdir()
        (self._programs / "postgres").write_text(_SHIM.format(binaries=self.binaries))
        (self._programs / "postgres").chmod(0o755)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def begin(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str], owner: Owner | None = None) -> None:
        """A service is on its way."""
        cwd = self.folder if owner else ROOT
        self._processes.append(children.begin(command, self.log(name), owner=owner, env=dict(environment), cwd=cwd))

    def end(self) -> list[int]:
        """Every service that is still there was told to end as compose does it, the last first; gives their exit codes."""
        codes = []
        while self._processes:
            codes.append(children.end(self._processes.pop(), signal.SIGTERM, within_s=30))
        return codes

    def end_nodes(self) -> list[int]:
        """As ``docker compose stop node``: gives the exit codes."""
        nodes, self._processes = self._processes[2:], self._processes[:2]
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        grace_s = float(str(self.services["node"]["stop_grace_period"]).removesuffix("s"))
        return [node.wait(grace_s) for node in nodes]

    # PostgreSQL.

    def _environment(self, name: str) -> dict[str, str]:
        given = {key: str(value) for key, value in self.services[name]["environment"].items()}
        path = f"{self._programs}:{self.binaries}:/usr/bin:/bin"
        return {**given, "PATH": path, "PGDATA": str(self.folder / name), "OWN_PORT": str(self.ports[name])}

    def begin_primary(self) -> None:
        """The primary takes connections, as its own check says."""
        service, environment = self.services["primary"], self._environment("primary")
        self._initialise(Path(environment["PGDATA"]), environment)
        for config in service["configs"]:
            assert config["target"].startswith("/docker-entrypoint-initdb.d/")
            script = unescaped(self.file["configs"][config["source"]]["content"])
            self._run(["sh", "-c", script], environment)
        self.begin("primary", service["command"], environment, self.owner)
        local = {**environment, "PGHOST": environment["PGDATA"], "PGPORT": str(self.ports["primary"])}
        until(lambda: self._is_healthy("primary", local, database="postgres"), "the primary's start", self.log("primary"))
        self._run([self.binaries / "createdb", "-U", environment["POSTGRES_USER"], environment["POSTGRES_DB"]], local)
        until(lambda: self._is_healthy("primary", local), "the primary's health", self.log("primary"))

    def _initialise(self, data: Path, environment: Mapping[str, str]) -> None:
        password = self.folder / "password"
        password.write_text(environment["POSTGRES_PASSWORD"])
        password.chmod(0o644)
        named = ["--username", environment["POSTGRES_USER"], "--pwfile", str(password)]
        # The image's LANG makes it UTF8.
        self._run([self.binaries / "initdb", "-D", data, *named, "--encoding=UTF8", "--locale=C", "--no-sync"], environment)
        # Over the loopback more would be allowed than from container to container.
        (data / "pg_hba.conf").write_text(_HBA)

    def begin_standby(self) -> None:
        """The standby has copied the primary, by the command of the file, and answers."""
        # The names of hosts are kept; libpq is told where they are, and the server, in the shim, where it is itself.
        environment = self._environment("standby") | {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(self.ports["primary"])}
        Path(environment["PGDATA"]).mkdir()
        os.chown(environment["PGDATA"], self.owner.uid, self.owner.gid)
        self.begin("standby", [unescaped(part) for part in self.services["standby"]["command"]], environment, self.owner)
        own = environment | {"PGHOST": environment["PGDATA"], "PGPORT": str(self.ports["standby"])}
        own.pop("PGHOSTADDR")
        until(lambda: self._is_healthy("standby", own), "the standby's health", self.log("standby"))

    def _is_healthy(self, name: str, environment: Mapping[str, str], database: str = "") -> bool:
        kind, command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        if database:
            command = re.sub(r"-d \S+", f"-d {database}", command)
        return subprocess.run(["sh", "-c", command], env=dict(environment), capture_output=True, timeout=10, check=False).returncode == 0

    def _run(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        options: dict[str, Any] = {"user": self.owner.uid, "group": self.owner.gid, "extra_groups": []}
        done = subprocess.run(
            command, env=dict(environment), cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    # Perdure.

    def environment_of(self, name: str) -> dict[str, str]:
        """Give the environment of a service of ours, with the places where its hosts are here."""
        given = {key: str(value) for key, value in self.services[name]["environment"].items()}
        hosts = given["PERDURE_STORE"].rpartition("@")[2].partition("/")[0]
        here = ",".join(f"127.0.0.1:{self.ports[host]}" for host in hosts.split(","))
        given["PERDURE_STORE"] = given["PERDURE_STORE"].replace(f"@{hosts}/", f"@{here}/")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PERDURE_", "PG"))}
        return {**kept, "PYTHONUNBUFFERED": "1", **given}

    def command_of(self, name: str, port: int | None = None) -> list[str]:
        """Give the command of a service of ours, with another port for its probes."""
        program, *arguments = self.services[name]["command"]
        assert program == "perdure"
        if port is not None:
            arguments[arguments.index("--health-port") + 1] = str(port)
        return [sys.executable, "-P", "-m", "perdure", *arguments]

    def is_ready(self, port: int) -> bool:
        """Tell what the check of a node says."""
        kind, program, *arguments = self.services["node"]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        wanted = self.services["node"]["command"][-1]
        command = [sys.executable, *(part.replace(f":{wanted}/", f":{port}/") for part in arguments)]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
