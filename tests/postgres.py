"""A PostgreSQL for tests: the server that ``PERDURE_TEST_POSTGRES`` names, else one on localhost, else one that is started here.

`tests/conftest.py` offers the fixtures ``postgres_url`` (a schema of its own for the test, dropped after it) and ``postgres_server``
(the URL of the server's database).
"""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg

ON_LOCALHOST = ("postgresql://postgres@127.0.0.1:5432/test", "postgresql://postgres@127.0.0.1:5432/postgres")
SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=100", "fsync=on", "max_wal_senders=4")


def reachable() -> str | None:
    """Give the URL of a server that is there already."""
    named = os.environ.get("PERDURE_TEST_POSTGRES")
    if named:
        return named
    return next((url for url in ON_LOCALHOST if asyncio.run(_answers(url))), None)


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


def binaries() -> Path | None:
    """Give the folder of the newest server's programs that are installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


class Cluster:
    """A server of our own in a folder, on a port of its own; it ends with ``stop``."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._account = _unprivileged(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    def follow(self, primary: "Cluster") -> None:
        """A copy of the primary, which follows it as the standby ``follower`` once started."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name=follower"
        self._run("pg_basebackup", "-D", str(self._data), "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")

    def promote(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-s", "promote")

    def start(self, *settings: str) -> None:
        options = " ".join(f"-c {setting}" for setting in (*SETTINGS, f"port={self.port}", *settings))
        self._run("pg_ctl", "-D", str(self._data), "-w", "-s", "-l", str(self._data / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """``mode``: ``fast`` as an administrator does it, ``immediate`` as if the machine had failed."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-s", "-m", mode, "stop")

    @property
    def is_running(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    @property
    def process(self) -> int:
        """The number of the server's first process."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        user = {} if self._account is None else {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        done = subprocess.run(command, cwd=self._data.parent, capture_output=True, text=True, timeout=60, check=False, **user)  # type: ignore[call-overload]
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


def _unprivileged(folder: Path) -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: the folder goes to an account without rights."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    account = names.get("postgres") or names["nobody"]
    os.chown(folder, account.pw_uid, account.pw_gid)
    return account


@contextmanager
def cluster(folder: Path, *settings: str) -> Iterator[Cluster | None]:
    """A running server in the folder; ``None`` where no programs of a server are installed."""
    programs = binaries()
    if programs is None:
        yield None
        return
    server = Cluster(programs, folder)
    server.create()
    with _running(server, *settings):
        yield server


@contextmanager
def standby(folder: Path, primary: Cluster) -> Iterator[Cluster]:
    """A running standby of the primary."""
    programs = binaries()
    assert programs is not None
    server = Cluster(programs, folder)
    server.follow(primary)
    with _running(server):
        yield server


@contextmanager
def _running(server: Cluster, *settings: str) -> Iterator[None]:
    server.start(*settings)
    try:
        yield
    finally:
        if server.is_running:
            os.kill(server.process, signal.SIGCONT)
            server.stop("immediate")


@contextmanager
def fresh_schema(server: str) -> Iterator[str]:
    """A URL with a schema that no other test has; it is dropped in the end."""
    schema = f"test_{uuid4().hex[:20]}"
    try:
        yield f"{server}{'&' if '?' in server else '?'}schema={schema}"
    finally:
        asyncio.run(execute(server, f'drop schema if exists "{schema}" cascade'))


async def execute(server: str, sql: str) -> list[asyncpg.Record]:
    """Give the rows of a statement on a connection of its own."""
    connection = await asyncpg.connect(server, timeout=10)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()
