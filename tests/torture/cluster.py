"""A private PostgreSQL, made of the installed programs in a folder of its own, with a standby if it is asked for.

It may be crashed, stopped and failed over at will, and nothing of it is left: the servers are children of this process and die with it.

    with private_cluster(standby="sync") as cluster:
        asyncpg.connect(cluster.url)
        cluster.fail_over()
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from tests.torture import children
from tests.torture.binaries import Owner, find_binaries, find_owner

Standby = Literal["none", "async", "sync"]

PATIENCE_S = 40.0
_LOOK_S = 0.05
_SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 100
max_wal_senders = 5
wal_level = replica
hot_standby = on
shared_buffers = 32MB
min_wal_size = 32MB
max_wal_size = 256MB
wal_keep_size = 64MB
wal_retrieve_retry_interval = 200ms
wal_receiver_status_interval = 1s
autovacuum_naptime = 5s
log_line_prefix = '%m %a '
"""


def free_port() -> int:
    """Give a port of the loopback that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """One PostgreSQL server. Its process is our child: stopping it is a signal, and a crash is one too."""

    def __init__(self, folder: Path, binaries: Path, owner: Owner) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder.with_suffix(".log")
        self._binaries = binaries
        self._owner = owner
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def initialise(self, settings: str = "") -> None:
        """The folder holds an empty database of ours."""
        self._tool("initdb", "-D", self.folder, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(_SETTINGS + f"unix_socket_directories = '{self.folder.parent}'\n" + settings)

    def copy(self, primary: "Server", name: str) -> None:
        """The folder holds a copy of ``primary`` that will follow it under this name."""
        shutil.rmtree(self.folder, ignore_errors=True)
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name={name}"
        self._tool("pg_basebackup", "-d", source, "-D", self.folder, "-X", "stream", "-R", "--checkpoint=fast", "--no-sync")

    def _tool(self, name: str, *arguments: str | Path) -> str:
        return children.run([self._binaries / name, *arguments], owner=self._owner)

    def start(self) -> None:
        """It answers."""
        self.begin()
        self.until("select 1", "1")

    def begin(self) -> None:
        """It is on its way."""
        assert not self.is_up, f"the server on port {self.port} is up already"
        self._process = children.begin(
            [self._binaries / "postgres", "-D", self.folder, "-p", str(self.port)], self.log, owner=self._owner, cwd=self.folder.parent
        )

    def stop(self) -> None:
        """As ``pg_ctl stop -m fast``: sessions are cut, all is written."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """As ``pg_ctl stop -m immediate``: nothing is written, and the next start has to recover."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """As ``kill -9`` of all its processes: not even they know. The next start has to recover."""
        assert self._process is not None
        # Its sessions have groups of their own, and would hold its memory for as long as they do not notice.
        family = [self.pid, *map(int, children.run(["pgrep", "-P", str(self.pid)]).split())]
        for process in family:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait(PATIENCE_S)
        end_s = time.monotonic() + PATIENCE_S
        while any(map(children.is_alive, family)):
            assert time.monotonic() < end_s, f"of {family} some were killed and live"
            time.sleep(_LOOK_S / 10)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            children.end(self._process, number, within_s=PATIENCE_S)

    def promote(self) -> None:
        """A standby has become a primary and takes writes."""
        self.sql("select pg_promote(true, 30)")
        self.until("select pg_is_in_recovery()", "f")

    def sql(self, statement: str) -> str:
        """Give what psql prints for a statement, values apart by ``|``."""
        place = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", "postgres")
        return self._tool("psql", *place, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement).strip()

    def until(self, statement: str, wanted: str) -> None:
        """Wait until the statement gives this."""
        end_s, found = time.monotonic() + PATIENCE_S, ""
        while time.monotonic() < end_s:
            assert self.is_up, f"the server ended:\n{self.log.read_text()[-2000:]}"
            try:
                found = self.sql(statement)
            except AssertionError as error:
                found = str(error)
            if found == wanted:
                return
            time.sleep(_LOOK_S)
        raise AssertionError(f"{statement} gave {found!r} and not {wanted!r} within {PATIENCE_S} s; {self.log.read_text()[-2000:]}")


class Cluster:
    """A primary, and a standby that may take its place. ``url`` names both, and leads to the one that takes writes."""

    def __init__(self, folder: Path, standby: Standby, settings: str) -> None:
        binaries, owner = find_binaries(), find_owner()
        os.chown(folder, owner.uid, owner.gid)
        self._kind = standby
        self.primary = Server(folder / "one", binaries, owner)
        self.standby = Server(folder / "two", binaries, owner)
        # Named before any fail-over, in an order that stays: clients are told once.
        self._ports = [self.primary.port] if standby == "none" else [self.primary.port, self.standby.port]
        self._settings = settings

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"

    @property
    def has_standby(self) -> bool:
        return self.standby.is_up

    def begin(self) -> None:
        """The primary answers, and the standby, if there is to be one, follows it."""
        self.primary.initialise(self._settings)
        self.primary.start()
        if self._kind != "none":
            self.attach_standby()

    def attach_standby(self) -> None:
        """The standby is a new copy of the primary and follows it; a synchronous one holds all that is acknowledged from now on."""
        self.standby.copy(self.primary, "standby")
        self.standby.start()
        self.primary.until("select count(*) from pg_stat_replication where state = 'streaming'", "1")
        if self._kind == "sync":
            self.primary.sql("alter system set synchronous_standby_names = 'standby'")
            self.primary.sql("select pg_reload_conf()")
            self.primary.until("select sync_state from pg_stat_replication", "sync")

    def restart(self, *, crash: bool = False, down_s: float = 0.0) -> None:
        """The primary was stopped, or crashed, was away for that long, and answers again."""
        if crash:
            self.primary.crash()
        else:
            self.primary.stop()
        time.sleep(down_s)
        self.primary.start()

    def fail_over(self) -> None:
        """The primary has crashed for good and the standby is the primary, alone: `attach_standby` makes a new one."""
        assert self.has_standby, "there is no standby to fail over to"
        self.primary.crash()
        self.primary, self.standby = self.standby, self.primary
        # What it would wait for is itself, if it was copied from a primary that waited for its standby.
        self.primary.sql("alter system reset synchronous_standby_names")
        self.primary.promote()
        self.primary.sql("select pg_reload_conf()")

    def terminate(self, application: str) -> int:
        """The sessions that call themselves so are cut; gives their number."""
        condition = f"application_name like '{application}' and pid <> pg_backend_pid()"
        return int(self.primary.sql(f"select count(pg_terminate_backend(pid)) from pg_stat_activity where {condition}"))

    def end(self) -> None:
        """No server is left."""
        self.standby.crash()
        self.primary.crash()


@contextmanager
def private_cluster(standby: Standby = "none", settings: str = "") -> Iterator[Cluster]:
    """A cluster for the time of the block; raises `NoServer` where none can be made. ``settings``: more lines for postgresql.conf."""
    # Not below a folder of the caller: its way may be closed to the user that the server has to run as.
    folder = Path(tempfile.mkdtemp(prefix="perdure-pg-"))
    try:
        cluster = Cluster(folder, standby, settings)
        try:
            cluster.begin()
            yield cluster
        finally:
            cluster.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
