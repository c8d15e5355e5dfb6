"""What one handler has in hand. Protects it from more than its slots, and packets from being lost in one that raises."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from perdure.ports.transport import Delivery, Handler

logger = logging.getLogger("perdure.transports")

D = TypeVar("D", bound=Delivery)

END_S: Final = 5.0
"""The calls of a handler that is closed may take so long."""


class Reception(Generic[D]):
    """The deliveries of a handler that are not settled, and the calls of it that are under way."""

    def __init__(self, address: str, handler: Handler, slots: int) -> None:
        self.address = address
        self._handler = handler
        self._slots = slots
        self._held: dict[D, None] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self.is_open = True

    @property
    def room(self) -> int:
        """How many deliveries it takes now."""
        return self._slots - len(self._held) if self.is_open else 0

    def receive(self, deliveries: Sequence[D]) -> None:
        """The handler is called with these, at least one, beside the calls of it that are under way."""
        self._held.update(dict.fromkeys(deliveries))
        call = asyncio.get_running_loop().create_task(self._call(deliveries), name=f"handler of {self.address}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, deliveries: Sequence[D]) -> None:
        try:
            await self._handler(deliveries)
        except Exception:
            logger.exception("the handler of %s failed; what it has not settled is given back", self.address)
            await asyncio.gather(*(delivery.give_back() for delivery in deliveries))

    def holds(self, delivery: D) -> bool:
        """Tell whether it has not been settled."""
        return delivery in self._held

    def release(self, delivery: D) -> None:
        """The delivery's slot is free."""
        self._held.pop(delivery, None)

    async def close(self) -> None:
        """Nothing more comes, and what the calls under way have not settled in a while has been given back; safe to call twice.

        Those that take longer are cancelled.
        """
        self.is_open = False
        # A handler may close itself: its own call goes on.
        calls = [call for call in self._calls if call is not asyncio.current_task()]
        late = (await asyncio.wait(calls, timeout=END_S))[1] if calls else ()
        for call in late:
            call.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*(delivery.give_back() for delivery in tuple(self._held)))
