"""The calls of one route on their way out. Protects brokers from long queues, and short queues from standing empty.

Only so many are sent as the live workers soon get to; the rest waits here, where priorities and fairness still count, and where nothing is
lost with a broker.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from perdure.model.errors import NoHandlers, Unavailable
from perdure.model.line import FairLine
from perdure.model.pace import Pace
from perdure.ports.clock import Clock, pause
from perdure.remote.carriers import Carrier, Hear, failed
from perdure.remote.directory import Route
from perdure.remote.performance import RemotePerformance, Stage
from perdure.wire.messages import Call

logger = logging.getLogger("perdure.remote")

BATCH_MAX = 200
PAUSE_FIRST_US = 100_000
PAUSE_MAX_US = 5_000_000
SOON_US = 500_000
"""Calls to a queue are on their way for as long, at the pace at which they come back."""
SOON_MAX = 2_000

Write = Callable[[RemotePerformance, Route], Call]


class Lane:
    """``route`` is ``None`` while nobody serves it: then what waits goes on waiting."""

    def __init__(self, carrier: Carrier, clock: Clock, write: Write, hear: Hear) -> None:
        self._carrier = carrier
        self._clock = clock
        self._write = write
        self._hear = hear
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_about_to_send = False
        self._pace = Pace(SOON_US)
        self.route: Route | None = None
        self.line: FairLine[RemotePerformance] = FairLine()
        self.out: set[str] = set()
        self.trouble: str | None = None

    def put(self, performance: RemotePerformance, *, priority: int = 0, key: str = "") -> None:
        """The call waits here, and goes out when there is room."""
        performance.stage = Stage.WAITING
        self.line.put(performance.id, performance, priority=priority, key=key)
        self.flush()

    def drop(self, id: str) -> None:
        """The call is not this lane's any more."""
        self.line.remove(id)
        if id in self.out:
            self.out.discard(id)
            self._pace.note(self._clock.now_us())
        self.flush()

    def note_out(self, id: str) -> None:
        """A call that another node sent counts as one of those on their way."""
        self.out.add(id)

    @property
    def room(self) -> int:
        """Tell how many more may go out now: what the live workers have room for, or get to soon, as far as that is known."""
        return 0 if self.route is None else self._window(self.route) - len(self.out)

    def _window(self, route: Route) -> int:
        # A service that is called directly has no queue in which they could wait.
        soon = 0 if route.record is not None else min(SOON_MAX, self._pace.lately(self._clock.now_us()))
        return max(route.window, soon)

    @property
    def is_busy(self) -> bool:
        """Tell whether anything waits here, or is on its way."""
        return bool(self.line or self.out or self._tasks)

    def flush(self) -> None:
        """Whatever there is room for is on its way."""
        if self.line and len(self._tasks) < self._carrier.sends_at_once and self.room > 0 and not self._is_about_to_send:
            self._is_about_to_send = True
            task = asyncio.get_running_loop().create_task(self._send_all())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_all(self) -> None:
        pause_us = PAUSE_FIRST_US
        self._is_about_to_send = False
        while self.line and self.room > 0:
            if await self._send_some(min(BATCH_MAX, self.room)):
                pause_us = PAUSE_FIRST_US
            else:
                await pause(self._clock, pause_us)
                pause_us = min(2 * pause_us, PAUSE_MAX_US)

    async def _send_some(self, count: int) -> bool:
        assert self.route is not None
        taken = [self.line.pop() for _ in range(min(count, len(self.line)))]
        for performance in taken:
            performance.stage, performance.since_us = Stage.SENT, self._clock.now_us()
            self.out.add(performance.id)
        try:
            await self._deliver(taken, self.route)
        except Unavailable as error:
            self._take_back(taken, error)
            return False
        self.trouble = None
        return True

    async def _deliver(self, taken: Sequence[RemotePerformance], route: Route) -> None:
        """They are on their way, or have failed: one that cannot be written or carried holds up nobody. Raises `Unavailable`."""
        calls = []
        for entry in taken:
            try:
                calls.append(self._write(entry, route))
            except Exception as error:
                self._hear(failed(entry.id, entry.attempt.key, route, error))
        if calls:
            await self._send(calls, route)

    async def _send(self, calls: Sequence[Call], route: Route) -> None:
        try:
            await self._carrier.send(route, calls, self._hear)
        except Unavailable:
            raise
        except Exception as error:
            if len(calls) == 1:
                self._hear(failed(calls[0].id, calls[0].key, route, error))
                return
            # Which one it was, an error of a driver does not say.
            for call in calls:
                await self._send([call], route)

    def _take_back(self, taken: Sequence[RemotePerformance], error: Unavailable) -> None:
        if self.trouble is None and not isinstance(error, NoHandlers):
            logger.warning("%s", error)
        self.trouble = str(error)
        for performance in taken:
            self.out.discard(performance.id)
            if not performance.is_over and performance.stage is Stage.SENT:
                performance.stage = Stage.WAITING
                self.line.put(performance.id, performance, priority=performance.attempt.spec.priority)

    async def close(self) -> None:
        """Nothing goes out any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
