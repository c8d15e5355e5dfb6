"""The transport in the store itself: a queue table in SQLite or PostgreSQL, and nothing else to install.

connection
    The store's, whom whoever made it opens and closes. `open` only asks whether it answers.
delivery
    At least once. A packet is taken until its claim ends (``claim_us``) and then by another, unless it was settled; so a handler settles
    within that span. Sends of many tasks go out together, and so do settlements. Handlers hear of new packets by the store's news, and
    otherwise look as often as its traits say. Highest priority first, then by arrival.
limits
    Packets of 16 MiB. Ids, addresses and headers as the store takes them (no NUL character in ids and addresses). Dead letters lie
    there until the nodes' retention ends, packets for workers that never come back until somebody drops them (`perdure.ports.packets`).
options
    ``clock``; ``claim_us``: the span of a claim.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from perdure.model.errors import PacketTooLarge, TransportUnavailable, Unavailable
from perdure.ports.clock import Clock
from perdure.ports.packets import Claim, Place
from perdure.ports.store import Hint, Store
from perdure.ports.transport import DEAD, DELIVERIES_MAX, Handler, Packet, TransportTraits
from perdure.transports.gathering import Gathering
from perdure.transports.reception import Reception
from perdure.transports.settling import Kind, Settling, Verdict
from perdure.transports.taking import Taker

CLAIM_US: Final = 10_000_000
PACKET_BYTES_MAX: Final = 16 * 1024 * 1024
_SENT_BYTES_MAX: Final = 32 * 1024 * 1024
"""About so much is written at once; each packet counts for something even if it is empty."""
_PACKET_BYTES: Final = 8 * 1024
_LOOK_TOGETHER: Final = 32

T = TypeVar("T")


class TakenDelivery:
    """A packet that was taken from the store for a handler."""

    def __init__(self, transport: "DatabaseTransport", reception: "Reception[TakenDelivery]", claim: Claim, until_us: int) -> None:
        self._transport = transport
        self._reception = reception
        self._claim = claim
        self._until_us = until_us
        self._is_settled = False

    @property
    def packet(self) -> Packet:
        return self._claim.packet

    @property
    def is_again(self) -> bool:
        return self._claim.deliveries > 1

    async def ack(self) -> None:
        await self._settle(Kind.ACK)

    def ack_soon(self, then: Callable[[], None]) -> None:
        if self._is_settled:
            then()
        else:
            self._is_settled = True
            self._transport.settle_soon(self, self._reception, Verdict(Kind.ACK, self._claim, self._until_us), then)

    async def give_back(self) -> None:
        if self._claim.deliveries < DELIVERIES_MAX or self._claim.address == DEAD:
            await self._settle(Kind.BACK)
        else:
            await self._settle(Kind.REFUSE, f"given back {DELIVERIES_MAX} times")

    async def refuse(self, reason: str) -> None:
        await self._settle(Kind.REFUSE, reason)

    async def _settle(self, kind: Kind, reason: str = "") -> None:
        if not self._is_settled:
            self._is_settled = True
            await self._transport.settle(self, self._reception, Verdict(kind, self._claim, self._until_us, reason))


class _Handling:
    def __init__(self, transport: "DatabaseTransport", reception: Reception[TakenDelivery]) -> None:
        self._transport = transport
        self._reception = reception

    async def stop(self) -> None:
        self._reception.is_open = False

    async def close(self) -> None:
        await self._reception.close()
        self._transport.forget(self._reception)


class DatabaseTransport:
    """Packets in the tables of a store. Any number of them, in any processes, share a store."""

    def __init__(self, store: Store, clock: Clock, *, claim_us: int = CLAIM_US) -> None:
        self._store = store
        self._clock = clock
        self._claim_us = claim_us
        self._is_open = False
        self._receptions: list[Reception[TakenDelivery]] = []
        self._sending = Gathering(self._put, weight_max=_SENT_BYTES_MAX)
        self._settling = Settling(store, clock)
        self._taker = self._make_taker()

    def _make_taker(self) -> Taker:
        return Taker(self._store, self._clock, claim_us=self._claim_us, wanted=self._wanted, hand_out=self._hand_out)

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def traits(self) -> TransportTraits:
        return TransportTraits(packet_bytes_max=PACKET_BYTES_MAX, sends_at_once=1)

    async def open(self) -> None:
        await self._ask_backlog("")
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        await self._taker.close()
        for reception in tuple(self._receptions):
            await reception.close()
        self._receptions.clear()
        await self._sending.close()
        await self._settling.close()
        self._taker = self._make_taker()

    def _check_open(self) -> None:
        if not self._is_open:
            raise TransportUnavailable(transport=self.name, problem="it is not open")

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        self._check_open()
        for packet in packets:
            if (size := len(packet.body)) > PACKET_BYTES_MAX:
                raise PacketTooLarge(address=address, size=size, transport=self.name, limit=PACKET_BYTES_MAX)
        parts = _parts(packets)
        await asyncio.gather(*(self._sending.add([(address, packet) for packet in part], _weight(part)) for part in parts))

    async def _put(self, packets: list[tuple[str, Packet]]) -> None:
        await self._tried(self._store.put_packets(packets, self._clock.now_us()))
        self._store.announce(Hint(called=frozenset(address for address, _ in packets)))

    async def handle(self, address: str, handler: Handler, *, slots: int) -> _Handling:
        self._check_open()
        reception: Reception[TakenDelivery] = Reception(address, handler, slots)
        self._receptions.append(reception)
        self._taker.start()
        self._taker.look_at(address)
        return _Handling(self, reception)

    def forget(self, reception: Reception[TakenDelivery]) -> None:
        """The handling was closed."""
        if reception in self._receptions:
            self._receptions.remove(reception)

    async def backlog(self, address: str) -> int:
        self._check_open()
        return await self._ask_backlog(address)

    async def _ask_backlog(self, address: str) -> int:
        return await self._tried(self._store.count_packets(address, self._clock.now_us()))

    async def _tried(self, asking: Awaitable[T]) -> T:
        try:
            return await asking
        except Unavailable as error:
            raise TransportUnavailable(transport=self.name, problem=str(error)) from error

    async def look(self, address: str) -> AsyncGenerator[Packet, None]:
        self._check_open()
        after: Place | None = None
        while found := await self._tried(self._store.look_packets(address, after, _LOOK_TOGETHER)):
            for place, packet in found:
                after = place
                yield packet

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        self._check_open()
        await self._tried(self._store.drop_packets(address, ids))

    # From the store to handlers.

    def _wanted(self) -> dict[str, int]:
        wanted: dict[str, int] = {}
        for reception in self._receptions:
            if (room := reception.room) > 0:
                wanted[reception.address] = wanted.get(reception.address, 0) + room
        return wanted

    def _hand_out(self, claims: list[Claim], until_us: int) -> None:
        """Each goes to the handler with the most room; what nobody has room for any more is given back."""
        shares: dict[Reception[TakenDelivery], list[TakenDelivery]] = {}
        left: list[Verdict] = []
        for claim in claims:
            if claim.deliveries > DELIVERIES_MAX and claim.address != DEAD:
                reason = f"delivered {DELIVERIES_MAX} times, and never settled"
                left.append(Verdict(Kind.REFUSE, claim, until_us, reason))
                continue
            fitting = [one for one in self._receptions if one.address == claim.address and one.room > len(shares.get(one, ()))]
            if fitting:
                chosen = max(fitting, key=lambda one: one.room - len(shares.get(one, ())))
                shares.setdefault(chosen, []).append(TakenDelivery(self, chosen, claim, until_us))
            else:
                left.append(Verdict(Kind.BACK, claim, until_us))
        for reception, deliveries in shares.items():
            reception.receive(deliveries)
        self._settling.put(left)

    async def settle(self, delivery: TakenDelivery, reception: Reception[TakenDelivery], verdict: Verdict) -> None:
        """The store knows what became of a delivery, or will be told when it is back; with that the slot is free."""

        def free() -> None:
            reception.release(delivery)
            self._taker.ring()

        await self._settling.settle(verdict, free)

    def settle_soon(self, delivery: TakenDelivery, reception: Reception[TakenDelivery], verdict: Verdict, then: Callable[[], None]) -> None:
        """As `settle`, without a wait; then ``then`` is called."""

        def free() -> None:
            reception.release(delivery)
            self._taker.ring()
            then()

        self._settling.settle_soon(verdict, free)


def _parts(packets: Sequence[Packet]) -> list[list[Packet]]:
    """Cut what is sent into parts that can be written at once."""
    parts: list[list[Packet]] = []
    room = 0
    for packet in packets:
        weight = _weight([packet])
        if not parts or room < weight:
            parts.append([])
            room = _SENT_BYTES_MAX
        parts[-1].append(packet)
        room -= weight
    return parts


def _weight(packets: Sequence[Packet]) -> int:
    return sum(len(packet.body) + _PACKET_BYTES for packet in packets)
