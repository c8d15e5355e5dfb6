"""A PgBouncer in transaction mode before a PostgreSQL, for tests. It is a child of this process and ends with the block."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.postgres import unprivileged
from tests.torture.cluster import free_port

START_S = 20.0
# Few servers, each used in turn: whoever relies on meeting the same one again is found out.
_SETTINGS = """
[databases]
{name} = host={host} port={port} dbname={name} user={user}{password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 6
server_round_robin = 1
max_client_conn = 500
logfile = {folder}/log
"""


def program() -> str | None:
    """Give the path of PgBouncer; ``None`` if it is not installed."""
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@contextmanager
def before(server: str, path: str) -> Iterator[str]:
    """Give the URL of the database of ``server`` behind a new PgBouncer."""
    with tempfile.TemporaryDirectory(prefix="perdure-pgbouncer-") as folder:
        place, url = Path(folder), urlsplit(server)
        account = unprivileged(place)
        own_port, user, name = free_port(), unquote(url.username or "postgres"), url.path.strip("/")
        password = f" password='{unquote(url.password)}'" if url.password else ""
        values = {"name": name, "host": url.hostname, "port": url.port or 5432, "user": user, "password": password}
        (place / "ini").write_text(_SETTINGS.format(**values, own_port=own_port, folder=place))
        (place / "users").write_text(f'"{user}" ""\n')
        as_whom = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        process = subprocess.Popen([path, "-q", str(place / "ini")], cwd=place, stderr=subprocess.PIPE, **as_whom)  # type: ignore[call-overload]
        try:
            _wait(process, own_port, place / "log")
            yield f"postgresql://{url.username or 'postgres'}@127.0.0.1:{own_port}/{name}"
        finally:
            process.kill()
            process.communicate()


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            said = log.read_text() if log.exists() else ""
            assert process.poll() is None, f"pgbouncer ended: {said}{process.communicate()[1]!r}"
            assert time.monotonic() < end, f"pgbouncer does not listen: {said}"
            time.sleep(0.02)
        else:
            return
