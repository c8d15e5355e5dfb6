"""Notices an event loop that is blocked. Protects from an action that computes or waits in the loop, and takes all others with it.

A thread asks the loop for an answer, again and again; while there is none, it can say where the loop's thread is.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from typing import Final

logger = logging.getLogger("perdure.worker")

FRAMES_MAX: Final = 30


class Watchdog:
    """``limit_s``: a loop that does not answer for so long is blocked; the stack of its thread is logged, once for each time."""

    def __init__(self, limit_s: float = 1.0) -> None:
        self._limit_s = limit_s
        self._look_s = min(0.25, limit_s / 4)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = 0
        self._asked_s: float | None = None
        self._is_told = False
        self.blocks = 0

    @property
    def blocked_s(self) -> float:
        """Seconds for which the loop has owed an answer. To be asked from any thread."""
        asked_s = self._asked_s
        return 0.0 if asked_s is None else time.monotonic() - asked_s

    def start(self) -> None:
        """The running loop is watched from now on."""
        if self._thread is None:
            self._loop, self._watched = asyncio.get_running_loop(), threading.get_ident()
            self._thread = threading.Thread(target=self._watch, name="perdure-watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Nothing is watched any more."""
        self._over.set()

    def _watch(self) -> None:
        assert self._loop is not None
        while not self._over.wait(self._look_s):
            if self._asked_s is not None:
                self._look()
                continue
            self._asked_s = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:
                # The loop is closed: whoever stopped it forgot to stop this.
                return

    def _look(self) -> None:
        if self._is_told or self.blocked_s < self._limit_s:
            return
        frame = sys._current_frames().get(self._watched)
        if frame is not None and self._asked_s is not None:
            self._is_told = True
            self.blocks += 1
            stack = "".join(traceback.format_stack(frame, FRAMES_MAX)).rstrip()
            logger.warning(
                "the event loop has been blocked for %.1f s; no other async action goes on. It is here:\n%s", self.blocked_s, stack
            )

    def _answer(self) -> None:
        blocked_s, self._asked_s = self.blocked_s, None
        if self._is_told:
            self._is_told = False
            logger.warning("the event loop goes on; it was blocked for %.1f s", blocked_s)
