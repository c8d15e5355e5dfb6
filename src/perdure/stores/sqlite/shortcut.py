"""Commits that the event loop's thread makes itself. Protects the loop from waiting for a slow disk, another process or a checkpoint.

Handing a commit to another thread and hearing of its end costs a good tenth of a millisecond. On a disk that syncs in two tenths that is a
third of what a lone step takes, and the event loop would have had nothing else to do.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from perdure.ports.store import Batch
from perdure.stores.sqlite.log import CHECKPOINT_FRAMES

T = TypeVar("T")

ENTRIES_MAX: Final = 12
BYTES_MAX: Final = 16_384
COMMITS_MAX: Final = 100
"""So many in a row are made here before one goes to the thread, where it may bring a checkpoint."""

_WEIGHT: Final = 1 / 8
_SURPRISE_MAX: Final = 3
"""A commit counts for at most so many times what is permitted: one hiccup of the disk is soon forgotten."""

PAUSE_FIRST: Final = 100
PAUSE_MAX: Final = 12_800
"""Small commits that go to the thread before the shortcut is tried again; twice as many each time that it fails."""


class Shortcut:
    """``wait_us_max``: what small commits may take on the average, wherever they were made, for the next one to be made here; 0: none is.

    A few slow ones made here close the shortcut for a hundred commits, and for longer each time, until a hundred in a row went well. That
    those in the thread are quick says little: where processors are short, a thread that only commits gets its turn at once, and a
    loop that does everything waits for it. The slow one itself is waited for: a sync cannot be called back.
    """

    def __init__(self, busy_ms: int, wait_us_max: int) -> None:
        self._busy_ms = busy_ms
        self._wait_us_max = wait_us_max
        # Nothing is known of the disk, so the first commits go the safe way.
        self._average_us = 2.0 * wait_us_max
        self._is_patient = True
        self._in_a_row = 0
        self._pause = PAUSE_FIRST
        self._closed_for = 0

    @property
    def is_open(self) -> bool:
        """Tell whether the disk has been so quick that the loop may wait for it."""
        return self._average_us < self._wait_us_max and not self._closed_for and self._in_a_row < COMMITS_MAX

    def is_small(self, batch: Batch, size: int) -> bool:
        """Tell whether this batch, of ``size`` bytes, is so small that nearly all of its commit is the sync."""
        # Replacing and truncating can delete any number of rows.
        return size <= BYTES_MAX and _entries(batch) <= ENTRIES_MAX and not batch.replaced and not batch.truncated

    def commit_here(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do a small commit without waiting for other processes (raises ``SQLITE_BUSY`` instead) and without a checkpoint."""
        if self._is_patient:
            self._is_patient = False
            self._set(connection, busy_ms=0, checkpoint_frames=0)
        self._in_a_row += 1
        try:
            return self._timed(connection, work)
        finally:
            if self._average_us >= self._wait_us_max:
                self._closed_for, self._pause = self._pause, min(2 * self._pause, PAUSE_MAX)

    def commit_in_thread(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], *, is_small: bool) -> T:
        """Do a commit where waiting for others, and for a checkpoint, harms nobody."""
        if self._in_a_row >= COMMITS_MAX:
            self._pause = PAUSE_FIRST
        self._in_a_row = 0
        self._closed_for = max(0, self._closed_for - is_small)
        self.be_patient(connection)
        return self._timed(connection, work) if is_small else work(connection)

    def be_patient(self, connection: sqlite3.Connection) -> None:
        """What is done with the connection from now on waits for other processes again."""
        if not self._is_patient:
            self._is_patient = True
            self._set(connection, busy_ms=self._busy_ms, checkpoint_frames=CHECKPOINT_FRAMES)

    def _set(self, connection: sqlite3.Connection, *, busy_ms: int, checkpoint_frames: int) -> None:
        connection.execute(f"pragma busy_timeout = {busy_ms}")
        connection.execute(f"pragma wal_autocheckpoint = {checkpoint_frames}")

    def _timed(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        began = time.perf_counter()
        try:
            return work(connection)
        finally:
            self._note((time.perf_counter() - began) * 1e6)

    def _note(self, span_us: float) -> None:
        self._average_us += _WEIGHT * (min(span_us, _SURPRISE_MAX * self._wait_us_max) - self._average_us)


def _entries(batch: Batch) -> int:
    parts: tuple[Any, ...] = (
        *(batch.starts, batch.rows, batch.changes, batch.blobs),
        *(batch.heartbeats, batch.posts, batch.consumed, batch.replies),
    )
    return sum(map(len, parts))
