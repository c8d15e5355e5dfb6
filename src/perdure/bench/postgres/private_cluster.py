"""A PostgreSQL of our own, for what must not be done to another's: slow down its disk. It is a child of this process and ends with it."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from perdure.bench.postgres.server import problem_with

START_S, STOP_S = 60.0, 60.0
_NEEDED = ("initdb", "postgres")
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
"""


class NoCluster(Exception):
    """Why no server of our own can be had here."""


@contextmanager
def private_cluster(parent: Path | None, environment: Mapping[str, str]) -> Iterator[str]:
    """Give the URL of a new server whose processes have these variables; its data lies below ``parent`` and is gone in the end.

    Its settings are PostgreSQL's own, durable ones. Raises `NoCluster`.
    """
    programs, owner = _programs(), _owner()
    # A folder of its own and not one below ours: the server's account must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="perdure-bench-server-", dir=parent))
    try:
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        with _server(programs, folder, _preloadable(environment, folder), owner) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    whole = [folder for folder in found if all((folder / name).is_file() for name in _NEEDED)]
    if not whole:
        raise NoCluster(f"no folder has both {' and '.join(_NEEDED)}; install a PostgreSQL server")
    return max(whole, key=lambda folder: [int(part) for part in folder.parts if part.isdigit()])


def _owner() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to be root: then it is an account without rights."""
    if os.geteuid() != 0:
        return None
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    found = accounts.get("postgres") or accounts.get("nobody")
    if found is None:
        raise NoCluster("we are root, and neither an account postgres nor nobody is there to run a server as")
    return found


def _preloadable(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The library that is loaded first lies where the server's account can read it."""
    found = dict(environment)
    if "LD_PRELOAD" in found:
        first, *others = found["LD_PRELOAD"].split(" ")
        copy = folder / Path(first).name
        shutil.copyfile(first, copy)
        copy.chmod(0o644)
        found["LD_PRELOAD"] = " ".join([str(copy), *others])
    return found


@contextmanager
def _server(programs: Path, folder: Path, environment: Mapping[str, str], owner: pwd.struct_passwd | None) -> Iterator[str]:
    data, log = folder / "data", folder / "log"
    user, group, others = (None, None, None) if owner is None else (owner.pw_uid, owner.pw_gid, list[int]())
    # Made without the slower disk: only what is measured should wait for it.
    made = subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
        user=user,
        group=group,
        extra_groups=others,
    )
    if made.returncode:
        raise NoCluster(f"initdb: {(made.stderr.strip().splitlines() or ['no message'])[-1]}")
    with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(_SETTINGS)
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port)],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=others,
        )
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        _wait(process, url, log)
        yield url
    finally:
        _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + START_S
    while problem := problem_with(url):
        if process.poll() is not None or time.monotonic() > end:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise NoCluster(f"the server did not start: {lines[-1] if lines else problem}")
        time.sleep(0.05)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        # Sessions are cut and nothing is written that nobody will read.
        process.send_signal(signal.SIGQUIT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
