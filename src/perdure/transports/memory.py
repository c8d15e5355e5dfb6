"""The transport in the memory of this process: the readable reference of the port, for tests and for programs of one process.

connection
    None: the dictionaries of a `MemoryQueues`. Transports that are given the same one carry to each other, whatever loop turn they are in.
delivery
    At least once, as long as the process lives. Highest priority first, then by arrival. What a handler does not settle stays with it until
    it is closed: there is nobody else whose process could have died.
limits
    The memory of the process.
options
    ``queues`` to share; ``name``, which errors call it; ``clock`` of the queues, by which dead letters say when they became one.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Final

from perdure.model.errors import PacketTooLarge, TransportUnavailable
from perdure.ports.clock import Clock
from perdure.ports.system import SystemClock
from perdure.ports.transport import DEAD, DELIVERIES_MAX, Handler, Packet, TransportTraits, dead_letter
from perdure.transports.reception import Reception

PACKET_BYTES_MAX: Final = 64 * 1024 * 1024


class MemoryQueues:
    """What lies at each address, and who takes it. ``known``: ids that lie there, or are with a handler."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._arrivals = count()
        self._waiting: dict[str, list[tuple[int, int, int, Packet]]] = {}
        self._known: set[tuple[str, str]] = set()
        self.receptions: list[Reception[MemoryDelivery]] = []

    def put(self, address: str, packet: Packet) -> None:
        if (address, packet.id) not in self._known:
            self._known.add((address, packet.id))
            self._wait(address, packet, next(self._arrivals), deliveries=0)

    def _wait(self, address: str, packet: Packet, arrival: int, *, deliveries: int) -> None:
        heappush(self._waiting.setdefault(address, []), (-packet.priority, arrival, deliveries, packet))
        asyncio.get_running_loop().call_soon(self.spread, address)

    def spread(self, address: str) -> None:
        """Whoever has room at the address has what lies there, the one with the most room first."""
        waiting = self._waiting.get(address, [])
        while waiting:
            chosen = max((one for one in self.receptions if one.address == address), key=lambda one: one.room, default=None)
            if chosen is None or chosen.room <= 0:
                return
            _, arrival, deliveries, packet = heappop(waiting)
            chosen.receive([MemoryDelivery(self, chosen, packet, arrival, deliveries=deliveries + 1)])
        self._waiting.pop(address, None)

    def done(self, address: str, packet: Packet) -> None:
        """The packet is received."""
        self._known.discard((address, packet.id))

    def back(self, address: str, packet: Packet, arrival: int, *, deliveries: int) -> None:
        """The packet lies in its old place again, or with the dead letters if it came back too often."""
        if deliveries < DELIVERIES_MAX or address == DEAD:
            self._wait(address, packet, arrival, deliveries=deliveries)
        else:
            self.bury(address, packet, f"given back {DELIVERIES_MAX} times")

    def bury(self, address: str, packet: Packet, reason: str) -> None:
        """The packet lies with the dead letters."""
        self.done(address, packet)
        self.put(DEAD, dead_letter(packet, address, reason, self._clock.now_us()))

    def lying(self, address: str) -> list[Packet]:
        """Give what waits there, in order."""
        return [packet for *_, packet in sorted(self._waiting.get(address, ()))]

    def drop(self, address: str, ids: Sequence[str] | None) -> None:
        """What waits there with these ids, or at all, is gone."""
        waiting = self._waiting.pop(address, [])
        gone = {packet.id for *_, packet in waiting} if ids is None else set(ids)
        self._known -= {(address, packet.id) for *_, packet in waiting if packet.id in gone}
        if left := sorted(one for one in waiting if one[3].id not in gone):
            self._waiting[address] = left

    def backlog(self, address: str) -> int:
        return len(self._waiting.get(address, ()))


class MemoryDelivery:
    def __init__(
        self, queues: MemoryQueues, reception: "Reception[MemoryDelivery]", packet: Packet, arrival: int, *, deliveries: int
    ) -> None:
        self._queues = queues
        self._reception = reception
        self._packet = packet
        self._arrival = arrival
        self._deliveries = deliveries

    @property
    def packet(self) -> Packet:
        return self._packet

    @property
    def is_again(self) -> bool:
        return self._deliveries > 1

    def _is_first_word(self) -> bool:
        """Tell whether it was not settled before; its slot is free."""
        is_first = self._reception.holds(self)
        self._reception.release(self)
        if is_first:
            asyncio.get_running_loop().call_soon(self._queues.spread, self._reception.address)
        return is_first

    async def ack(self) -> None:
        if self._is_first_word():
            self._queues.done(self._reception.address, self._packet)

    def ack_soon(self, then: Callable[[], None]) -> None:
        if self._is_first_word():
            self._queues.done(self._reception.address, self._packet)
        then()

    async def give_back(self) -> None:
        if self._is_first_word():
            self._queues.back(self._reception.address, self._packet, self._arrival, deliveries=self._deliveries)

    async def refuse(self, reason: str) -> None:
        if self._is_first_word():
            self._queues.bury(self._reception.address, self._packet, reason)


class _Handling:
    def __init__(self, queues: MemoryQueues, reception: Reception[MemoryDelivery]) -> None:
        self._queues = queues
        self._reception = reception

    @property
    def is_open(self) -> bool:
        return self._reception.is_open

    async def stop(self) -> None:
        self._reception.is_open = False
        if self._reception in self._queues.receptions:
            self._queues.receptions.remove(self._reception)

    async def close(self) -> None:
        await self.stop()
        await self._reception.close()


class MemoryTransport:
    def __init__(self, queues: MemoryQueues | None = None, *, name: str = "memory://") -> None:
        self._queues = queues if queues is not None else MemoryQueues()
        self._name = name
        self._is_open = False
        self._handlings: list[_Handling] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def traits(self) -> TransportTraits:
        return TransportTraits(packet_bytes_max=PACKET_BYTES_MAX, is_durable=False)

    @property
    def queues(self) -> MemoryQueues:
        """What to give to others that are to carry to this one and from it."""
        return self._queues

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        for handling in self._handlings:
            await handling.close()
        self._handlings.clear()

    def _check_open(self) -> None:
        if not self._is_open:
            raise TransportUnavailable(transport=self.name, problem="it is not open")

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        self._check_open()
        for packet in packets:
            if (size := len(packet.body)) > PACKET_BYTES_MAX:
                raise PacketTooLarge(address=address, size=size, transport=self.name, limit=PACKET_BYTES_MAX)
        for packet in packets:
            self._queues.put(address, packet)

    async def handle(self, address: str, handler: Handler, *, slots: int) -> _Handling:
        self._check_open()
        reception: Reception[MemoryDelivery] = Reception(address, handler, slots)
        handling = _Handling(self._queues, reception)
        self._handlings = [*(one for one in self._handlings if one.is_open), handling]
        self._queues.receptions.append(reception)
        asyncio.get_running_loop().call_soon(self._queues.spread, address)
        return handling

    async def backlog(self, address: str) -> int:
        self._check_open()
        return self._queues.backlog(address)

    async def look(self, address: str) -> AsyncGenerator[Packet, None]:
        self._check_open()
        for packet in self._queues.lying(address):
            yield packet

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        self._check_open()
        self._queues.drop(address, ids)
