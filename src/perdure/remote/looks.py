"""A look that is taken again and again while there is something to look after, and never while there is not."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from perdure.model.errors import Unavailable
from perdure.ports.clock import Clock

logger = logging.getLogger("perdure.remote")


class Looks:
    """``look`` is awaited, one at a time; after each, another follows in ``pause_us`` if ``is_needed``."""

    def __init__(
        self, clock: Clock, look: Callable[[], Coroutine[Any, Any, object]], *, pause_us: int, is_needed: Callable[[], bool]
    ) -> None:
        self._clock = clock
        self._look = look
        self._pause_us = pause_us
        self._is_needed = is_needed
        self._task: asyncio.Task[None] | None = None
        self._due_us: int | None = None
        self._is_closed = False

    def soon(self, *, at_once: bool = False) -> None:
        """The next look comes in time; one that was due later comes at once if asked."""
        if self._is_closed or (self._task is not None and at_once):
            return
        when_us = self._clock.now_us() + (0 if at_once else self._pause_us)
        if self._due_us is None or when_us < self._due_us:
            self._due_us = when_us
            self._clock.call_at(when_us, partial(self._begin, when_us))

    def _begin(self, when_us: int) -> None:
        if self._due_us != when_us:
            return
        # Also while a look is under way: another follows it, and a time that has passed must not stand in its way.
        self._due_us = None
        if not self._is_closed and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._look()
        except Unavailable as error:
            logger.warning("%s", error)
        except Exception:
            logger.exception("looking after the calls of others went wrong; it is tried again")
        finally:
            self._task = None
        if self._is_needed():
            self.soon()

    async def close(self) -> None:
        """There is no look any more."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
