"""Long polls. Protects a server that is to end from waits that would hold it up."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Any, Final

from msgspec import Meta

WAIT_MS_MAX: Final = 60_000
WaitMs = Annotated[int, Meta(ge=0, le=WAIT_MS_MAX, description="How long to wait for it, in milliseconds.")]


class Waiting:
    """Every wait ends when the server is told to."""

    def __init__(self) -> None:
        self._ending = asyncio.Event()
        self.count = 0
        """Waits under way."""

    @property
    def is_ending(self) -> bool:
        """Tell whether the server is about to end: whoever waits is answered with what there is."""
        return self._ending.is_set()

    def end(self) -> None:
        """All waits are over, and none begins."""
        self._ending.set()

    async def until(self, work: Awaitable[Any], wait_ms: int) -> None:
        """The work is done, whatever came of it, or the time is over, or the server ends."""
        task = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self._ending.wait())
        self.count += 1
        try:
            await asyncio.wait({task, ending}, timeout=wait_ms / 1_000, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.count -= 1
            task.cancel()
            ending.cancel()
            await asyncio.gather(task, ending, return_exceptions=True)
