"""What a transport's harness gives to the suite, and what the suite's tests share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, Final
from uuid import uuid4

import pytest

from perdure.model.errors import TransportUnavailable
from perdure.ports.transport import Delivery, Packet, Transport, calls_address

A: Final = calls_address("default", "a", 1)
B: Final = calls_address("default", "b", 1)
_ECHOES: Final = 3
_BARRIER: Final = calls_address("default", "barrier", 1)


class TransportHarness:
    """Names the transport under test. Override what is not true of it.

    ``breaks``: it has connections that can be lost, and a broker that can be away. ``patience_s``: the longest that anything may take,
    such as the redelivery of what lay with a process that died.
    """

    breaks: ClassVar[bool] = True
    patience_s: ClassVar[float] = 20.0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """What a test needs is there, nobody has used it; afterwards it is gone."""
        yield

    def make_transport(self) -> Transport:
        """Give a transport in the place, not open."""
        raise NotImplementedError

    def other_transport(self, transport: Transport) -> Transport:
        """Give a second one in the same place, not open, as another process has."""
        raise NotImplementedError

    async def crash(self, transport: Transport) -> None:
        """The process of ``transport`` dies: it says no farewell, and does nothing more."""
        raise NotImplementedError

    def cut(self, transport: Transport) -> None:
        """All its connections break; new ones can be made at once. Asked for only if it ``breaks``."""
        raise NotImplementedError

    def away(self, transport: Transport) -> AbstractAsyncContextManager[None]:
        """In this block nobody reaches the broker: connections break, and none can be made. Asked for only if it ``breaks``."""
        raise NotImplementedError

    @asynccontextmanager
    async def another(self, transport: Transport) -> AsyncIterator[Transport]:
        other = self.other_transport(transport)
        await other.open()
        try:
            yield other
        finally:
            await other.close()

    async def until(self, is_so: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        """Ask again and again until it is so; fail when patience ends."""
        try:
            async with asyncio.timeout(self.patience_s):
                while True:
                    answer = is_so()
                    if await answer if isinstance(answer, Awaitable) else answer:
                        return
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {self.patience_s:g} s: {what}") from None

    async def gets(self, hand: "Hand", count: int) -> list[Delivery]:
        """Give what the hand got, once it is so many."""
        try:
            async with asyncio.timeout(self.patience_s):
                while len(hand.got) < count:
                    await hand.next()
        except TimeoutError:
            raise AssertionError(f"{len(hand.got)} deliveries within {self.patience_s:g} s, not {count}: {hand.ids[:20]}") from None
        return hand.got

    async def settles_down(self, transport: Transport) -> None:
        """Whatever would be delivered at once has been: packets sent later, to another address, have arrived."""
        hand = Hand()
        handling = await transport.handle(_BARRIER, hand, slots=1)
        # Never an id that was used before, as that of an object may be: a transport may drop the second packet of an id.
        name = uuid4().hex
        for number in range(_ECHOES):
            await transport.send(_BARRIER, [Packet(f"echo {name} {number}", b"")])
            await self.gets(hand, number + 1)
        await handling.close()

    async def sends(self, transport: Transport, address: str, packets: Sequence[Packet]) -> None:
        """Send, and again while the transport is away, as whoever has the truth does."""

        async def is_sent() -> bool:
            try:
                await transport.send(address, packets)
            except TransportUnavailable:
                return False
            return True

        await self.until(is_sent, f"sending to {address}")

    async def known(self, transport: Transport, *addresses: str) -> None:
        """Somebody has handled the addresses before, and does not any more."""
        for address in addresses:
            handling = await transport.handle(address, Hand(), slots=1)
            await handling.close()


class Hand:
    """A handler that keeps what it gets in ``got``, in order, and does with each as told: acks it, if not told otherwise.

    ``settled`` counts those with which that is done.
    """

    def __init__(self, settle: Callable[[Delivery], Awaitable[None]] | None = None) -> None:
        self.got: list[Delivery] = []
        self.settled = 0
        self._settle = settle
        self._arrived = asyncio.Event()

    @property
    def ids(self) -> list[str]:
        return [delivery.packet.id for delivery in self.got]

    @property
    def packets(self) -> list[Packet]:
        return [delivery.packet for delivery in self.got]

    async def next(self) -> None:
        """Something more has come."""
        self._arrived.clear()
        await self._arrived.wait()

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        assert deliveries, "a handler was called with nothing"
        self.got += deliveries
        self._arrived.set()
        for delivery in deliveries:
            await (self._settle(delivery) if self._settle is not None else delivery.ack())
            self.settled += 1


async def keep(delivery: Delivery) -> None:
    """Settle nothing yet."""


async def give_back(delivery: Delivery) -> None:
    await delivery.give_back()


def packet(id: str, body: bytes = b"{}", **fields: Any) -> Packet:
    return Packet(id, body, **fields)


def numbered(count: int, first: int = 0) -> list[Packet]:
    return [packet(f"p{number}", b'{"n":%d}' % number) for number in range(first, first + count)]


def carried(test: Callable[[Any, Transport], Awaitable[None]]) -> Callable[[Any], None]:
    """Make a test of an async function that takes an open transport in a place of its own; it is closed after it."""

    async def run(suite: TransportHarness) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(suite.place())
            transport = suite.make_transport()
            stack.push_async_callback(transport.close)
            await transport.open()
            await test(suite, transport)

    # Not functools.wraps: pytest would look through it and take `transport` for a fixture.
    def check(self: TransportHarness) -> None:
        asyncio.run(run(self))

    check.__name__, check.__qualname__, check.__doc__ = getattr(test, "__name__", ""), getattr(test, "__qualname__", ""), test.__doc__
    return check


def skip_unless(is_so: bool, /, why: str) -> None:
    """Leave the rest of the test out where the transport promises nothing of the kind."""
    if not is_so:
        pytest.skip(why)
