"""The file of the write-ahead log. Protects the first thousand syncs of a node from paying for a file that grows.

Syncing what was appended to a file also writes down its new length and blocks; syncing what was overwritten does not, and takes two thirds
of the time. SQLite overwrites its log from the beginning after each checkpoint, but until the first one it appends.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

CHECKPOINT_FRAMES: Final = 1_000
"""Pages in the log after which a commit brings a checkpoint; SQLite's own default."""

_FRAME_BYTES: Final = 4_096 + 24
_LOG_BYTES: Final = (CHECKPOINT_FRAMES + 500) * _FRAME_BYTES
"""Some more than a checkpoint waits for: commits that the event loop makes bring none."""


def lay_out_log(connection: sqlite3.Connection, path: Path) -> None:
    """The log has its usual size from now on, filled up with zeros, which SQLite takes for the end of what is written.

    See https://www.sqlite.org/fileformat2.html#the_write_ahead_log: a frame counts if its salt and checksum are those of the log.
    """
    # While the write lock is held nobody else can write to the log or shorten it.
    connection.execute("begin immediate")
    try:
        file = os.open(path.with_name(path.name + "-wal"), os.O_WRONLY | os.O_CLOEXEC)
        try:
            _fill(file, os.fstat(file).st_size)
        finally:
            os.close(file)
    finally:
        connection.execute("rollback")


def _fill(file: int, first: int) -> None:
    end = first
    try:
        while end < _LOG_BYTES:
            end += os.pwrite(file, bytes(_LOG_BYTES - end), end)
    except OSError:
        # No room for it: the log will grow as it is needed, and the commit that finds no room says so.
        os.ftruncate(file, first)
