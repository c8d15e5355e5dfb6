"""Acks deliveries of which the nodes know. Protects the work from waiting for it."""

import asyncio
import logging
from collections.abc import Iterable

from perdure.ports.transport import Delivery

logger = logging.getLogger("perdure.worker")


class Settling:
    """Deliveries are acked together, as they come. One that could not be acked comes again and is known then."""

    def __init__(self) -> None:
        self._under_way = 0
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """They will be acked."""
        for delivery in deliveries:
            self._under_way += 1
            try:
                delivery.ack_soon(self._acked)
            except Exception:
                # A mistake of a driver must not keep the others from being acked.
                logger.exception("%s was not acked", delivery.packet.id)
                self._acked()
        if self._under_way:
            self._is_quiet.clear()

    def _acked(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._is_quiet.set()

    async def quiet(self) -> None:
        """All were acked, or could not be."""
        await self._is_quiet.wait()
