"""A transport of dicts, as small as the promises allow: the suite can be kept and, with one thing of it broken, it can fail."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from perdure.model.errors import PacketTooLarge, TransportUnavailable
from perdure.ports.transport import DEAD, DELIVERIES_MAX, Handler, Packet, TransportTraits, dead_letter

logger = logging.getLogger("perdure.transports")


class Broker:
    def __init__(self) -> None:
        self.waiting: dict[str, deque[tuple[Packet, int]]] = {}
        self.handlings: list[PlainHandling] = []

    def put(self, address: str, packet: Packet, count: int = 0) -> None:
        self.waiting.setdefault(address, deque()).append((packet, count))
        self.spread(address)

    def spread(self, address: str) -> None:
        waiting = self.waiting.get(address, deque())
        handlings = [one for one in self.handlings if one.address == address]
        for handling in sorted(handlings, key=lambda one: len(one.held)):
            while waiting and handling.room():
                handling.deliver(*waiting.popleft())


class PlainDelivery:
    def __init__(self, handling: "PlainHandling", packet: Packet, count: int) -> None:
        self.handling, self.packet, self.count = handling, packet, count

    @property
    def is_again(self) -> bool:
        return self.count > 0

    def settle(self) -> bool:
        is_mine = self in self.handling.held
        self.handling.held.discard(self)
        if is_mine:
            asyncio.get_running_loop().call_soon(self.handling.broker.spread, self.handling.address)
        return is_mine

    async def ack(self) -> None:
        self.settle()

    async def give_back(self) -> None:
        if self.settle():
            if self.count + 1 >= DELIVERIES_MAX:
                self.bury(f"given back {DELIVERIES_MAX} times")
            else:
                self.handling.broker.put(self.handling.address, self.packet, self.count + 1)

    async def refuse(self, reason: str) -> None:
        if self.settle():
            self.bury(reason)

    def bury(self, reason: str) -> None:
        self.handling.broker.put(DEAD, dead_letter(self.packet, self.handling.address, reason, 0))


class PlainHandling:
    def __init__(self, broker: Broker, address: str, handler: Handler, slots: int) -> None:
        self.broker, self.address, self.handler, self.slots = broker, address, handler, slots
        self.held: set[PlainDelivery] = set()
        self.calls: set[asyncio.Task[None]] = set()

    def room(self) -> bool:
        return len(self.held) < self.slots

    def deliver(self, packet: Packet, count: int) -> None:
        delivery = PlainDelivery(self, packet, count)
        self.held.add(delivery)
        task = asyncio.get_running_loop().create_task(self.call([delivery]))
        self.calls.add(task)
        task.add_done_callback(self.calls.discard)

    async def call(self, deliveries: Sequence[Any]) -> None:
        try:
            await self.handler(deliveries)
        except Exception:
            logger.exception("a handler of %s failed", self.address)
            for delivery in deliveries:
                await delivery.give_back()

    async def stop(self) -> None:
        if self in self.broker.handlings:
            self.broker.handlings.remove(self)

    async def close(self) -> None:
        await self.stop()
        for delivery in tuple(self.held):
            await delivery.give_back()


class PlainTransport:
    name = "plain:"
    traits = TransportTraits(packet_bytes_max=1_000_000, is_durable=False)

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.is_open = False
        self.handlings: list[PlainHandling] = []

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False
        for handling in self.handlings:
            await handling.close()

    def check(self) -> None:
        if not self.is_open:
            raise TransportUnavailable(transport=self.name, problem="it is not open")

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        self.check()
        for packet in packets:
            if len(packet.body) > self.traits.packet_bytes_max:
                limit = self.traits.packet_bytes_max
                raise PacketTooLarge(address=address, size=len(packet.body), transport=self.name, limit=limit)
            self.broker.put(address, packet)

    async def handle(self, address: str, handler: Handler, *, slots: int) -> PlainHandling:
        self.check()
        handling = PlainHandling(self.broker, address, handler, slots)
        self.handlings.append(handling)
        self.broker.handlings.append(handling)
        asyncio.get_running_loop().call_soon(self.broker.spread, address)
        return handling

    async def backlog(self, address: str) -> int:
        self.check()
        return len(self.broker.waiting.get(address, ()))

    async def look(self, address: str) -> AsyncGenerator[Packet, None]:
        self.check()
        for packet, _ in tuple(self.broker.waiting.get(address, ())):
            yield packet

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        self.check()
        waiting, left = self.broker.waiting.setdefault(address, deque()), list(ids or ())
        for one in tuple(waiting):
            if ids is None or one[0].id in left:
                waiting.remove(one)
                if ids is not None:
                    left.remove(one[0].id)
