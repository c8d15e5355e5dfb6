"""Takes in as many deliveries as there are free slots. Protects from calls that wait at a busy worker while another one is idle.

Attempts that take long have their delivery acked, so that the transport would hand over more; the handlings become narrower by as many.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from perdure.model.errors import PerdureError
from perdure.ports.transport import Delivery, Handler, Handling, Packet, Transport

logger = logging.getLogger("perdure.worker")


class Received:
    """A delivery that is counted until it is settled."""

    __slots__ = ("_delivery", "_is_settled", "_span")

    def __init__(self, delivery: Delivery, span: "_Span") -> None:
        self._delivery = delivery
        self._span = span
        self._is_settled = False
        span.unsettled += 1

    @property
    def packet(self) -> Packet:
        return self._delivery.packet

    @property
    def is_again(self) -> bool:
        return self._delivery.is_again

    async def ack(self) -> None:
        try:
            await self._delivery.ack()
        finally:
            self._settle()

    def ack_soon(self, then: Callable[[], None]) -> None:
        def settled() -> None:
            self._settle()
            then()

        self._delivery.ack_soon(settled)

    async def give_back(self) -> None:
        try:
            await self._delivery.give_back()
        finally:
            self._settle()

    async def refuse(self, reason: str) -> None:
        try:
            await self._delivery.refuse(reason)
        finally:
            self._settle()

    def _settle(self) -> None:
        self._span.unsettled -= not self._is_settled
        self._is_settled = True


class _Span:
    """One handling, from its beginning until nothing that it delivered is unsettled."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.handling: Handling | None = None
        self.unsettled = 0

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        await self._handler([Received(delivery, self) for delivery in deliveries])


class _Place:
    """One address. ``stopped``: spans whose deliveries may still be settled."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.width = 0
        self.span: _Span | None = None
        self.stopped: list[_Span] = []

    async def stop(self) -> None:
        if self.span is not None and self.span.handling is not None:
            await self.span.handling.stop()
            self.stopped.append(self.span)
        self.span, self.width = None, 0

    async def let_go(self, *, only_settled: bool) -> None:
        for span in list(self.stopped):
            if span.handling is not None and (span.unsettled == 0 or not only_settled):
                self.stopped.remove(span)
                await span.handling.close()


class Handlings:
    """The handlings of the worker's addresses, each as wide as was asked last."""

    def __init__(self, transport: Transport, handlers: Mapping[str, Handler]) -> None:
        self._transport = transport
        self._places = {address: _Place(handler) for address, handler in handlers.items()}
        self._turn = asyncio.Lock()

    async def widen(self, width: int) -> None:
        """Each address is handled with so many slots; with none, nothing more is delivered. What was delivered can still be settled.

        An address that cannot be handled now is left for the next time.
        """
        async with self._turn:
            for address, place in self._places.items():
                if place.width != width:
                    await place.stop()
                    if width > 0:
                        await self._begin(address, place, width)
                await place.let_go(only_settled=True)

    async def _begin(self, address: str, place: _Place, width: int) -> None:
        span = _Span(place.handler)
        try:
            span.handling = await self._transport.handle(address, span.take, slots=width)
        except PerdureError as error:
            logger.warning("%s is not handled yet: %s", address, error)
        else:
            place.span, place.width = span, width

    async def close(self) -> None:
        """Nothing is handled; what is unsettled was given back."""
        await self.widen(0)
        async with self._turn:
            for place in self._places.values():
                await place.let_go(only_settled=False)
