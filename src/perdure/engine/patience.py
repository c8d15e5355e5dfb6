"""Reads that are tried again until the store answers. Protects runs, timers and messages from a bad moment of the store."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from perdure.model.errors import StoreUnavailable
from perdure.ports.clock import Clock, pause

logger = logging.getLogger("perdure.engine")

T = TypeVar("T")

_PAUSE_FIRST_US = 50_000
_PAUSE_MAX_US = 5_000_000


async def patiently(clock: Clock, read: Callable[[], Awaitable[T]]) -> T:
    """Give what ``read`` gives, once the store is there to give it."""
    pause_us = 0
    while True:
        try:
            return await read()
        except StoreUnavailable as error:
            if not pause_us:
                logger.warning("%s", error)
            pause_us = min(2 * pause_us, _PAUSE_MAX_US) or _PAUSE_FIRST_US
            await pause(clock, pause_us)
