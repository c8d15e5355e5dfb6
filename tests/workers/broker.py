"""A transport and a reporter in memory, with faults that a test asks for."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeVar

from perdure.model import errors
from perdure.model.call import ActionSpec, Attempt
from perdure.model.codec import Serializer
from perdure.model.ids import CallName, RunId
from perdure.ports.reporter import Report
from perdure.ports.transport import DEAD, DELIVERIES_MAX, REASON_HEADER, Delivery, Handler, Packet, TransportTraits, calls_address
from perdure.wire.attempts import Sender, call_of
from perdure.wire.encoding import decode, encode
from perdure.wire.messages import Announce, AnyWireMessage, Beat, Call, Leave, Outcome, WireMessage

T = TypeVar("T", bound=WireMessage)

PATIENCE_S = 10


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop go on until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - threads, processes and loops of others have no event to wait for.
            await asyncio.sleep(0.001)


async def settled() -> None:
    """Let all that can go on without time do so."""
    for _ in range(50):
        await asyncio.sleep(0)


class BrokerDelivery:
    """One delivery; ``settled`` says how it ended."""

    def __init__(self, packet: Packet, handling: "BrokerHandling", *, is_again: bool) -> None:
        self.packet = packet
        self.is_again = is_again
        self.settled: str | None = None
        self._handling = handling

    async def ack(self) -> None:
        self._settle("acked")

    def ack_soon(self, then: Callable[[], None]) -> None:
        self._settle("acked")
        then()

    async def give_back(self) -> None:
        if self._settle("given back"):
            self._handling.broker.take_back(self._handling.address, self.packet)

    async def refuse(self, reason: str) -> None:
        if self._settle("refused"):
            self._handling.broker.bury(self.packet, reason)

    def _settle(self, how: str) -> bool:
        if self.settled is not None:
            return False
        self.settled = how
        self._handling.broker.settled.append((self.packet.id, how))
        self._handling.unsettled.remove(self)
        self._handling.has_room.set()
        return True


class BrokerHandling:
    """Hands over from a queue while there are slots."""

    def __init__(self, broker: "Broker", address: str, handler: Handler, slots: int) -> None:
        self.broker = broker
        self.address = address
        self.slots = slots
        self.unsettled: list[BrokerDelivery] = []
        self.has_room = asyncio.Event()
        self._handler = handler
        self._task = asyncio.create_task(self._run())
        self.is_stopped = False

    async def _run(self) -> None:
        queue = self.broker.queue(self.address)
        while True:
            while queue and len(self.unsettled) < self.slots:
                packet = queue.popleft()
                found = BrokerDelivery(packet, self, is_again=packet.id in self.broker.returns)
                self.unsettled.append(found)
                await self._handler([found])
            self.has_room.clear()
            await self.has_room.wait()

    async def stop(self) -> None:
        self.is_stopped = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(ValueError):
            self.broker.handlings.remove(self)

    async def close(self) -> None:
        await self.stop()
        for delivery in list(self.unsettled):
            await delivery.give_back()


class Broker:
    """A transport whose queues are all here. ``is_away``: it takes nothing and hands nothing over."""

    def __init__(self) -> None:
        self.name = "broker"
        self.traits = TransportTraits(packet_bytes_max=1_000_000)
        self.queues: dict[str, deque[Packet]] = {}
        self.handlings: list[BrokerHandling] = []
        self.returns: dict[str, int] = {}
        self.settled: list[tuple[str, str]] = []
        self.is_away = False
        self.is_open = False

    def queue(self, address: str) -> deque[Packet]:
        return self.queues.setdefault(address, deque())

    def take_back(self, address: str, packet: Packet) -> None:
        self.returns[packet.id] = self.returns.get(packet.id, 0) + 1
        if self.returns[packet.id] >= DELIVERIES_MAX:
            self.bury(packet, "it was given back too often")
        else:
            self.queue(address).append(packet)
            self._wake(address)

    def bury(self, packet: Packet, reason: str) -> None:
        self.queue(DEAD).append(Packet(packet.id, packet.body, headers={REASON_HEADER: reason}))

    def _wake(self, address: str) -> None:
        for handling in self.handlings:
            if handling.address == address:
                handling.has_room.set()

    async def open(self) -> None:
        self._check()
        self.is_open = True

    async def close(self) -> None:
        for handling in list(self.handlings):
            await handling.close()
        self.is_open = False

    def _check(self) -> None:
        if self.is_away:
            raise errors.TransportUnavailable(transport=self.name, problem="it is away")

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        self._check()
        self.queue(address).extend(packets)
        self._wake(address)

    async def handle(self, address: str, handler: Handler, *, slots: int) -> BrokerHandling:
        self._check()
        handling = BrokerHandling(self, address, handler, slots)
        self.handlings.append(handling)
        return handling

    async def backlog(self, address: str) -> int:
        return len(self.queue(address))

    async def look(self, address: str) -> AsyncGenerator[Packet, None]:
        for packet in tuple(self.queue(address)):
            yield packet

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        self.queues[address] = deque(packet for packet in self.queue(address) if ids is not None and packet.id not in ids)

    def width(self, address: str) -> int:
        """Give how many slots the address is handled with."""
        return sum(handling.slots for handling in self.handlings if handling.address == address)

    def again(self, delivery_of: str) -> None:
        """What was delivered under this id is delivered once more, as after a broken connection."""
        for handling in self.handlings:
            for delivery in [found for found in handling.unsettled if found.packet.id == delivery_of]:
                delivery.settled = "lost"
                handling.unsettled.remove(delivery)
                self.queue(handling.address).append(delivery.packet)
                handling.has_room.set()


class Ear:
    """A reporter that keeps what it hears. ``is_away``: nothing arrives."""

    def __init__(self) -> None:
        self.heard: list[AnyWireMessage] = []
        self.ids: list[str] = []
        self.batches: list[int] = []
        self.is_away = False
        self.bytes_max: int | None = None
        self.headers_max: int | None = None
        self.gate: asyncio.Event | None = None

    reports_at_once = 1

    async def report(self, reports: Sequence[Report]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise errors.TransportUnavailable(transport="ear", problem="it is away")
        if self.bytes_max is not None and any(len(report.body) > self.bytes_max for report in reports):
            raise errors.PacketTooLarge(
                address="nodes", size=max(len(report.body) for report in reports), transport="ear", limit=self.bytes_max
            )
        if self.headers_max is not None and any(len(str(report.headers)) > self.headers_max for report in reports):
            raise errors.PacketTooLarge(address="nodes", size=self.headers_max + 1, transport="ear", limit=self.headers_max)
        self.batches.append(len(reports))
        for report in reports:
            self.ids.append(report.id)
            self.heard.append(decode(report.body))

    def _of(self, kind: type[T]) -> list[T]:
        return [message for message in self.heard if isinstance(message, kind)]

    @property
    def outcomes(self) -> list[Outcome]:
        return self._of(Outcome)

    @property
    def beats(self) -> list[Beat]:
        return self._of(Beat)

    @property
    def announced(self) -> list[Announce]:
        return self._of(Announce)

    @property
    def left(self) -> list[Leave]:
        return self._of(Leave)


def attempt(spec: ActionSpec, *args: Any, run: str = "r", number: int = 1, **kwargs: Any) -> Attempt:
    """Give an attempt of a call of this action."""
    serializer = Serializer()
    contents = tuple(serializer.encode(value) for value in args)
    keywords = {name: serializer.encode(value) for name, value in kwargs.items()}
    return Attempt(RunId(run), 1, CallName("1"), number, spec, contents, keywords)


def packet_of(call: Call) -> Packet:
    """Give the packet that carries a call."""
    return Packet(call.id, encode(call))


class Desk:
    """A node, as far as a worker sees it."""

    def __init__(self, broker: Broker, queue: str = "default") -> None:
        self.broker = broker
        self.queue = queue

    async def ask(self, spec: ActionSpec, *args: Any, run: str = "r", number: int = 1, **kwargs: Any) -> str:
        """Send a call; gives the attempt's id."""
        call = call_of(attempt(spec, *args, run=run, number=number, **kwargs), Sender(lease_ms=10_000), sent_us=0, version=spec.version)
        await self.put(spec, packet_of(call))
        return call.id

    async def put(self, spec: ActionSpec, packet: Packet) -> None:
        """Send a packet to an action's address."""
        await self.broker.send(calls_address(spec.queue or self.queue, spec.name, spec.version), [packet])

    def dead(self) -> list[str]:
        """Give the reasons of the dead letters."""
        return [packet.headers[REASON_HEADER] for packet in self.broker.queue(DEAD)]


_: type[Delivery] = BrokerDelivery
