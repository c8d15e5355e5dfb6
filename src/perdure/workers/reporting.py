"""What a worker says to the nodes, on its way out. Protects from losing outcomes while the transport is away."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from perdure.model.duration import MICROSECONDS
from perdure.model.errors import PerdureError, TooLarge, Unavailable
from perdure.model.ids import CallKey
from perdure.ports.clock import Clock, pause
from perdure.ports.reporter import Reporter
from perdure.wire.encoding import JSON

logger = logging.getLogger("perdure.worker")

BATCH_MAX: Final = 200
BATCH_BYTES_MAX: Final = 1024 * 1024
PAUSE_FIRST_US: Final = 100_000
PAUSE_MAX_US: Final = 5 * MICROSECONDS


class Said(Struct, frozen=True):
    """A report: an encoded message. ``key``: the call that an outcome is for. ``headers``: those of its call."""

    id: str
    body: bytes
    key: CallKey | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class _Entry(Struct):
    said: Said
    then: Callable[[], None] | None
    instead: Callable[[TooLarge], Said] | None


class Reporting:
    """Whatever waits when the reports before have arrived goes out together. What cannot be taken now is tried again without end.

    Its length is bounded by whoever puts in: it begins nothing new while more than ``waiting`` allows.
    """

    def __init__(self, reporter: Reporter, clock: Clock) -> None:
        self._reporter = reporter
        self._clock = clock
        self._entries: deque[_Entry] = deque()
        self._on_way = 0
        self._has_entries = asyncio.Event()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self.is_away = False

    @property
    def waiting(self) -> int:
        """How many reports have not arrived."""
        return len(self._entries) + self._on_way

    def put(self, said: Said, then: Callable[[], None] | None = None, instead: Callable[[TooLarge], Said] | None = None) -> None:
        """The report will arrive, and ``then`` is called. ``instead`` gives the report that goes out if this one is too large to be
        carried; without it such a report is logged and dropped.
        """
        self._entries.append(_Entry(said, then, instead))
        self._has_entries.set()
        self._is_quiet.clear()

    async def quiet(self) -> None:
        """All that was put in has arrived."""
        await self._is_quiet.wait()

    async def run(self) -> None:
        """Reports go out until this is cancelled."""
        room = asyncio.Semaphore(self._reporter.reports_at_once)
        async with asyncio.TaskGroup() as under_way:
            while True:
                await room.acquire()
                await self._has_entries.wait()
                task = under_way.create_task(self._carry(self._next_batch()))
                task.add_done_callback(lambda _: room.release())

    async def run_once(self) -> int:
        """What waits, as far as it fits into one batch, has arrived; gives how many reports that were."""
        batch = self._next_batch()
        await self._carry(batch)
        return len(batch)

    async def _carry(self, batch: Sequence[_Entry]) -> None:
        await self._deliver(batch)
        self._on_way -= len(batch)
        if not self.waiting:
            self._is_quiet.set()

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self._entries and len(batch) < BATCH_MAX:
            size += len(self._entries[0].said.body)
            if batch and size > BATCH_BYTES_MAX:
                break
            batch.append(self._entries.popleft())
        self._on_way += len(batch)
        if not self._entries:
            self._has_entries.clear()
        return batch

    async def _deliver(self, batch: Sequence[_Entry]) -> None:
        try:
            await self._report([entry.said for entry in batch])
        except TooLarge as error:
            if len(batch) > 1:
                for entry in batch:
                    await self._deliver([entry])
                return
            await self._deliver_instead(batch[0], error)
        for entry in batch:
            if entry.then is not None:
                entry.then()

    async def _deliver_instead(self, entry: _Entry, error: TooLarge) -> None:
        logger.error("%s", error)
        if entry.instead is not None:
            await self._report([entry.instead(error)])

    async def _report(self, reports: Sequence[Said]) -> None:
        """They have arrived. Raises `TooLarge`."""
        pause_us = PAUSE_FIRST_US
        while True:
            try:
                await self._reporter.report(reports)
            except TooLarge:
                raise
            except Exception as error:
                # Also what no adapter should raise: an outcome must not be lost to a mistake of a driver.
                self._note(error)
                await pause(self._clock, pause_us)
                pause_us = min(2 * pause_us, PAUSE_MAX_US)
            else:
                self._note(None)
                return

    def _note(self, error: Exception | None) -> None:
        """Log once that nothing arrives any more, and once that it does again."""
        if error is not None and not self.is_away:
            level = logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
            logger.log(level, "%d reports wait: %s", self.waiting, error, exc_info=None if isinstance(error, PerdureError) else error)
        elif error is None and self.is_away:
            logger.info("the nodes can be told again")
        self.is_away = error is not None
