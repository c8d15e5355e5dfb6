"""Where PostgreSQL's programs are, and as whom they may run: a server refuses to be root."""

import os
import pwd
import shutil
from pathlib import Path
from typing import NamedTuple

from tests.postgres import from_wheel

NEEDED = ("initdb", "postgres", "pg_basebackup", "psql")


class NoServer(Exception):
    """Why no private PostgreSQL can be made here."""


class Owner(NamedTuple):
    """Whom the files and processes of a server belong to."""

    uid: int
    gid: int


def find_binaries() -> Path:
    """Give the folder of the newest installed server, else of the one in the wheel; raises `NoServer`."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    for pattern in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"):
        root, _, rest = pattern.partition("*")
        folder, _, stem = root.rpartition("/")
        found += Path(folder).glob(f"{stem}*{rest}") if Path(folder).is_dir() else []
    whole = [folder for folder in found if all((folder / name).is_file() for name in NEEDED)]
    if not whole and (wheel := from_wheel()) is not None:
        whole = [wheel]
    if not whole:
        raise NoServer(f"no folder has all of {', '.join(NEEDED)}; install a PostgreSQL server (apt-get install postgresql)")
    return max(whole, key=_age)


def _age(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.as_posix().replace("-", "/").split("/") if part.isdigit())


def find_owner() -> Owner:
    """Give ourselves, or a user without rights if we are root; raises `NoServer`."""
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Owner(entry.pw_uid, entry.pw_gid)
    raise NoServer("we are root, and neither a user postgres nor nobody is there to run a server as")
