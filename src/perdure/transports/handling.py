"""What handlings on brokers share: deliveries that are settled once, a handler that is called as they come, and dead letters."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from perdure.model.errors import TransportUnavailable
from perdure.ports.system import SystemClock
from perdure.ports.transport import DEAD, DELIVERIES_MAX, Handler, Packet, dead_letter

logger = logging.getLogger("perdure.transports")

_REASON_CHARS_MAX: Final = 600
"""However it is encoded, it fits with the address into the headers of a packet that was taken."""
_BURY_AGAIN_S: Final = 1.0

T = TypeVar("T")
Bury = Callable[[Packet, str], Awaitable[None]]
"""Sends a dead letter; the second is the address that it came from."""


class Held(Generic[T]):
    """A delivery. ``token``: what the product knows it by. ``count``: how often it was delivered before, as far as is known."""

    __slots__ = ("_handling", "count", "packet", "token")

    def __init__(self, handling: "BrokerHandling[T]", packet: Packet, token: T, count: int) -> None:
        self._handling = handling
        self.packet = packet
        self.token = token
        self.count = count

    @property
    def is_again(self) -> bool:
        return self.count > 0

    async def ack(self) -> None:
        await self._handling.ack(self)

    def ack_soon(self, then: Callable[[], None]) -> None:
        self._handling.ack_soon(self, then)

    async def give_back(self) -> None:
        await self._handling.give_back(self)

    async def refuse(self, reason: str) -> None:
        await self._handling.refuse(self, reason)


class BrokerHandling(ABC, Generic[T]):
    """Holds what is unsettled. What comes in one turn of the event loop goes to the handler in one call, in a task of its own."""

    def __init__(self, address: str, handler: Handler, bury: Bury) -> None:
        self.address = address
        self.is_stopped = False
        self._handler = handler
        self._bury = bury
        self._held: set[Held[T]] = set()
        self._settling = 0
        self._arrived: list[Held[T]] = []
        self._acks: deque[tuple[Held[T], Callable[[], None]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return len(self._held) + self._settling

    @property
    def is_closed(self) -> bool:
        """Whether nothing is held any more."""
        return self._ending is not None and self._ending.done()

    @abstractmethod
    async def _ack(self, held: Held[T]) -> None:
        """The product knows that it is received. Does nothing on a connection that is gone."""

    @abstractmethod
    async def _return(self, held: Held[T]) -> None:
        """The product delivers it again. Does nothing on a connection that is gone."""

    @abstractmethod
    async def _halt(self) -> None:
        """The product delivers nothing more; what comes meanwhile is refused by `arrive`."""

    @abstractmethod
    async def _end(self) -> None:
        """Nothing is held of the product any more; what is unsettled it delivers elsewhere."""

    def _settled(self) -> None:
        """A slot is free."""

    def arrive(self, packet: Packet, token: T, count: int) -> bool:
        """The handler gets the delivery soon; false if there is no handler for it any more."""
        if self.is_stopped:
            return False
        held = Held(self, packet, token, count)
        self._held.add(held)
        if count >= DELIVERIES_MAX and self.address != DEAD:
            self._start(self.refuse(held, f"delivered {count} times and never settled: whoever had it died or lost its connection"))
            return True
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._start_call)
        self._arrived.append(held)
        return True

    def lose(self) -> None:
        """What is unsettled came by a connection that is gone: settling it does nothing from now on."""
        self._held.clear()
        self._arrived.clear()

    async def ack(self, held: Held[T]) -> None:
        if held in self._held:
            self._held.discard(held)
            await self._ack(held)
            self._settled()

    def ack_soon(self, held: Held[T], then: Callable[[], None]) -> None:
        """As `ack`, one after another in a task that all of them share."""
        self._acks.append((held, then))
        if len(self._acks) == 1:
            self._start(self._ack_all())

    async def _ack_all(self) -> None:
        try:
            while self._acks:
                await self._try_ack(self._acks[0][0])
                self._acks.popleft()[1]()
        finally:
            while self._acks:
                self._acks.popleft()[1]()

    async def _try_ack(self, held: Held[T]) -> None:
        try:
            await self.ack(held)
        except Exception as error:
            # It comes again, and a mistake of a driver must not keep the others from being acked.
            logger.warning("%s was not acked: %s", held.packet.id, error)

    async def give_back(self, held: Held[T]) -> None:
        if held.count + 1 >= DELIVERIES_MAX and self.address != DEAD:
            await self.refuse(held, f"given back {DELIVERIES_MAX} times")
        elif held in self._held:
            self._held.discard(held)
            await self._return(held)
            self._settled()

    async def refuse(self, held: Held[T], reason: str) -> None:
        if held not in self._held:
            return
        self._held.discard(held)
        self._settling += 1
        try:
            letter = dead_letter(held.packet, self.address, reason[:_REASON_CHARS_MAX], SystemClock().now_us())
            # The letter is the broker's before the packet leaves its address: rather twice than not at all.
            await self._bury(letter, self.address)
        except TransportUnavailable as error:
            logger.warning("%s is refused again later, since it cannot be buried: %s", held.packet.id, error)
            # It would be back at once.
            await asyncio.sleep(_BURY_AGAIN_S)
            await self._return(held)
        except BaseException:
            await self._return(held)
            raise
        else:
            await self._ack(held)
        finally:
            self._settling -= 1
            self._settled()

    async def stop(self) -> None:
        if not self.is_stopped:
            self.is_stopped = True
            undelivered, self._arrived = self._arrived, []
            for held in undelivered:
                await self.give_back(held)
            await self._halt()

    async def close(self) -> None:
        await self.stop()
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._ending)
        # A handler may close its own handling: it is not waited for then.
        calls = self._calls - {task for task in (asyncio.current_task(),) if task is not None}
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)

    async def _close(self) -> None:
        await self._end()
        self._held.clear()

    def _start_call(self) -> None:
        deliveries, self._arrived = self._arrived, []
        if deliveries:
            self._start(self._call(deliveries))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        call = asyncio.get_running_loop().create_task(work, name=f"handler of {self.address}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, deliveries: list[Held[T]]) -> None:
        try:
            await self._handler(deliveries)
        except Exception:
            logger.exception("the handler of %s failed; what it has not settled is given back", self.address)
            for held in deliveries:
                await held.give_back()
