"""Keeps the leases of attempts under way. Protects from losing them while the event loop is busy, and from keeping them when it is dead.

Beats leave from a thread of their own, over a connection of their own, so an action that blocks the loop loses neither its lease nor those
of its neighbours. A loop that is blocked for too long makes no progress: then the beats stop, and others get the work.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from perdure.model.duration import MICROSECONDS, span_text
from perdure.model.errors import PerdureError
from perdure.ports.clock import Clock, pause
from perdure.ports.reporter import Reporter
from perdure.workers.holdings import Beat
from perdure.workers.watchdog import Watchdog

logger = logging.getLogger("perdure.worker")

PATIENCE_MIN_S = 5.0

Connect = Callable[[], AbstractAsyncContextManager[Reporter]]
"""Opens a reporter that works in the loop of the thread that called it."""


class BeatOptions(Struct, frozen=True, kw_only=True):
    """``blocked_max_us``: a loop that is blocked for longer beats no more."""

    interval_us: int
    blocked_max_us: int


class Beating:
    """``make`` gives the beat of this moment, from any thread."""

    def __init__(self, make: Callable[[], Beat], watchdog: Watchdog, options: BeatOptions) -> None:
        self._make = make
        self._watchdog = watchdog
        self._options = options
        self._is_silent = False

    @property
    def interval_us(self) -> int:
        """The time between two beats."""
        return self._options.interval_us

    async def beat(self, reporter: Reporter) -> bool:
        """The nodes know of all attempts under way; ``False`` if they could not be told, or must not be."""
        if self._must_be_silent():
            return False
        beat = self._make()
        try:
            async with asyncio.timeout(max(PATIENCE_MIN_S, self.interval_us / MICROSECONDS)):
                await reporter.report([beat.said])
        except (PerdureError, TimeoutError) as error:
            logger.debug("a beat did not arrive: %s", error)
            return False
        beat.arrived()
        return True

    def _must_be_silent(self) -> bool:
        is_silent = self._watchdog.blocked_s * MICROSECONDS > self._options.blocked_max_us
        if is_silent and not self._is_silent:
            span = span_text(self._options.blocked_max_us)
            logger.error("the event loop has been blocked for more than %s: no more beats, so that others get the work", span)
        self._is_silent = is_silent
        return is_silent

    async def run(self, reporter: Reporter, clock: Clock) -> None:
        """Beats leave from this loop, by this clock, until this is cancelled: for a transport that lives in this process."""
        while True:
            try:
                await self.beat(reporter)
            except Exception:
                # Without beats all leases are lost, whatever a driver did.
                logger.exception("a beat failed; the next is tried")
            await pause(clock, self.interval_us)


class BeatThread:
    """The thread from which beats leave."""

    def __init__(self, beating: Beating, connect: Connect) -> None:
        self._beating = beating
        self._connect = connect
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = threading.Event()
        self._stop: asyncio.Event | None = None

    def start(self) -> None:
        """Beats leave from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="perdure-beats", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """No more beats leave."""
        self._over.set()
        loop, stop, thread = self._loop, self._stop, self._thread
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        if thread is not None:
            await asyncio.to_thread(thread.join, PATIENCE_MIN_S)

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._over.is_set():
            return
        beats = asyncio.create_task(self._beat_for_ever(self._stop))
        await self._stop.wait()
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)

    async def _beat_for_ever(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with self._connect() as reporter:
                    while not stop.is_set():
                        await self._beating.beat(reporter)
                        await asyncio.sleep(self._beating.interval_us / MICROSECONDS)
            except PerdureError as error:
                logger.debug("no beats: %s", error)
            except Exception:
                # This thread must outlive whatever a driver does: without beats all leases are lost.
                logger.exception("beats failed; they are tried again")
            await asyncio.sleep(self._beating.interval_us / MICROSECONDS)
