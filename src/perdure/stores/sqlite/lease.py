"""The lease of the one node. Protects from two nodes that write one file.

Who is alive, the operating system knows: the holder keeps an exclusive ``flock`` on ``<file>-node``, which ends with its process, whatever
ended it, and does not end while the process is paused. Who may write, the file knows: the epoch in the row fences off a holder that lost.
Where the file system has no ``flock`` (some network mounts, Windows) the lease is live until its ``until_us``.

The lock belongs to the open file: a process forked (not spawned) from a node shares it, and keeps it after the node's death.
"""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from perdure.model.errors import LeaseLost

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_HELD_ELSEWHERE: Final = (errno.EWOULDBLOCK, errno.EACCES)


class NodeLock:
    """The sign of life: an exclusive lock on the file beside the database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self.is_supported = fcntl is not None

    def acquire(self) -> bool:
        """Tell whether this handle has the lock now; also yes where locks are not supported."""
        if self._file is not None or not self.is_supported or fcntl is None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            self.is_supported = error.errno in _HELD_ELSEWHERE
            return not self.is_supported
        self._file = file
        return True

    def release(self) -> None:
        """The lock is free; safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Lease:
    """Takes, renews and releases the lease, on the writer's connection."""

    def __init__(self, statements: dict[str, str], lock: NodeLock) -> None:
        self._statements = statements
        self._lock = lock
        self._epoch: int | None = None

    def take(self, connection: sqlite3.Connection, node: str, now_us: int, until_us: int) -> int | None:
        if not self._lock.acquire():
            return None
        connection.execute("begin immediate")
        try:
            if self._is_live(connection, node, now_us):
                return None
            epoch: int = connection.execute(self._statements["take_lease"], (node, until_us)).fetchone()[0]
            connection.execute("commit")
            self._epoch = epoch
            return epoch
        finally:
            if connection.in_transaction:
                connection.execute("rollback")

    def _is_live(self, connection: sqlite3.Connection, node: str, now_us: int) -> bool:
        epoch, holder, until_us = connection.execute(self._statements["read_lease"]).fetchone()
        if holder is None or holder == node or until_us < now_us:
            return False
        # We have the lock, so a holder elsewhere is dead. The one that is not elsewhere is another node on this very handle.
        return not self._lock.is_supported or epoch == self._epoch

    def renew(self, connection: sqlite3.Connection, epoch: int, until_us: int) -> str | None:
        """The lease lasts until then; gives the name of its node, ``None`` if the epoch has lost it."""
        found = connection.execute(self._statements["renew_lease"], (epoch, until_us)).fetchall()
        return found[0][0] if found else None

    def check(self, connection: sqlite3.Connection, epoch: int) -> None:
        """Raise `LeaseLost` unless the epoch has the lease."""
        found, holder, _ = connection.execute(self._statements["read_lease"]).fetchone()
        if found != epoch or holder is None:
            raise LeaseLost(epoch=epoch, found=f"epoch {found}" if holder is not None else "its lease was ended")

    def release(self, connection: sqlite3.Connection, epoch: int) -> None:
        # The row first: whoever gets the lock finds a row that says so.
        if connection.execute(self._statements["release_lease"], (epoch,)).rowcount == 1:
            self._lock.release()
