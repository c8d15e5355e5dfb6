"""Work that a node does again and again. Protects from a duty that fails once and is never done again."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from perdure.ports.clock import Alarm, Clock

logger = logging.getLogger("perdure.engine")

Work = Callable[[], Coroutine[Any, Any, object]]


class Rounds:
    """``alarms`` holds the next round of each duty, by name."""

    def __init__(self, clock: Clock, node: str) -> None:
        self._clock = clock
        self._node = node
        self._tasks: dict[str, asyncio.Task[object]] = {}
        self._errands: set[asyncio.Task[object]] = set()
        self._is_closed = False
        self.alarms: dict[str, Alarm] = {}

    def every(self, name: str, pause_us: Callable[[], int], work: Work) -> None:
        """``work`` is done again and again, one round after the other, each a task of its own, with that pause before each."""

        async def one_round() -> None:
            await self._try(name, work)
            again()

        def again() -> None:
            if not self._is_closed:
                self.alarms[name] = self._clock.call_at(self._clock.now_us() + pause_us(), begin)

        def begin() -> None:
            if name in self._tasks and not self._tasks[name].done():
                again()  # Somebody asked for a round out of turn, and it is not over.
                return
            self._tasks[name] = asyncio.get_running_loop().create_task(one_round())

        again()

    def run_errand(self, name: str, work: Work) -> None:
        """This work is under way, whatever else of that name is: nobody would ask for it again."""
        task = asyncio.get_running_loop().create_task(self._try(name, work))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def once(self, name: str, work: Work) -> None:
        """One round is under way: a new one, or the one that was."""
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = asyncio.get_running_loop().create_task(self._try(name, work))

    async def _try(self, name: str, work: Work) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.warning("%s of node %s: %s", name, self._node, error)

    @property
    def is_at_work(self) -> bool:
        """Tell whether a round or an errand is under way."""
        return bool(self._errands) or any(not task.done() for task in self._tasks.values())

    def close(self) -> None:
        """No round begins any more, and those under way are cancelled, but for the one that calls this."""
        self._is_closed = True
        for alarm in self.alarms.values():
            alarm.cancel()
        for task in (*self._tasks.values(), *self._errands):
            if task is not asyncio.current_task():
                task.cancel()
