"""The transport: how calls reach workers, and how what workers say comes back.

Two verbs, `send` and `handle`, and one word for each delivery: done, or not. Promises of every transport, proved by
``perdure.testing.conformance.transport``:

* After `send` returned, its packets survive the end of this process and a restart of the broker, as far as the transport's traits say.
* A packet is delivered at least once: again after its handler's process died, its connection broke, or it was given back. Never out of thin
  air, never to two addresses. No order is promised.
* At most ``slots`` deliveries of one `handle` are unsettled at a time; the rest waits where the transport keeps it.
* A packet given back `DELIVERIES_MAX` times, and one that is refused, goes to the address `DEAD`, with the reason; it blocks nothing.
* A transport that is away is reconnected to without end, with growing pauses: `send` raises `TransportUnavailable` meanwhile, a handling
  goes on when it is back.
* The transport is never the truth (G2): whoever sends must be able to send again, and sends with the same packet id.

All methods may be called from several tasks of one event loop.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct, field, structs

from perdure.model.duration import instant

NODES: Final = "perdure.nodes"
"""The address that all nodes handle: what workers say."""
DEAD: Final = "perdure.dead"
"""The address of packets that nobody could take."""
REASON_HEADER: Final = "perdure-reason"
"""The header of a dead letter that says why it is one."""
ORIGIN_HEADER: Final = "perdure-origin"
"""The header of a dead letter that names the address which it came from."""
DIED_HEADER: Final = "perdure-died"
"""The header of a dead letter with the instant since which it is one, as ISO 8601."""
ORIGIN_BYTES_MAX: Final = 240
"""A longer address is not named in a dead letter: transports keep so much room for it."""
DELIVERIES_MAX: Final = 10
"""A packet that comes back so often is a dead letter."""


def calls_address(queue: str, action: str, version: int) -> str:
    """Give the address of an action's calls; workers that perform it handle that."""
    return f"perdure.calls.{queue}.{action}.v{version}"


def queue_of(address: str, action: str, version: int) -> str:
    """Give the queue of the address of an action's calls."""
    return address.removeprefix("perdure.calls.").removesuffix(f".{action}.v{version}")


def worker_address(worker: str) -> str:
    """Give the address of one worker: what nodes say to it."""
    return f"perdure.worker.{worker}"


class Packet(Struct, frozen=True, gc=False):
    """A message on its way. ``id``: the same when it is sent again. ``headers``: lower-case names; whatever the transport's ecosystem has a
    header of its own for travels there too. ``priority``: 0 is the usual; higher goes first where the transport can.
    """

    id: str
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0


def dead_letter(packet: Packet, address: str, reason: str, now_us: int) -> Packet:
    """Give what lies at `DEAD` of a packet of that address; one that comes from there keeps its origin."""
    headers = {**packet.headers, REASON_HEADER: reason}
    if address != DEAD:
        headers[DIED_HEADER] = instant(now_us).isoformat()
        headers.pop(ORIGIN_HEADER, None)
        if len(address.encode("utf-8", "surrogatepass")) <= ORIGIN_BYTES_MAX:
            headers[ORIGIN_HEADER] = address
    return structs.replace(packet, headers=headers)


class Delivery(Protocol):
    """One delivery of a packet. It is settled once, by one of the three; settling it again does nothing."""

    @property
    def packet(self) -> Packet:
        """The packet."""
        ...

    @property
    def is_again(self) -> bool:
        """Tell whether it may have been delivered before."""
        ...

    async def ack(self) -> None:
        """It is received: it will not come again, unless the transport was away."""
        ...

    def ack_soon(self, then: Callable[[], None]) -> None:
        """As `ack`, together with others, for whoever has many: ``then`` is called when `ack` would have returned, or failed."""
        ...

    async def give_back(self) -> None:
        """It will come again, here or elsewhere."""
        ...

    async def refuse(self, reason: str) -> None:
        """It goes to the dead letters with that reason."""
        ...


Handler = Callable[[Sequence[Delivery]], Awaitable[None]]
"""Takes deliveries as they come, at least one, and settles each, now or later; while it does, it may be called with more.

What it raises is logged, and those left are given back.
"""


class Handling(Protocol):
    """A `Transport.handle` that goes on until it is closed."""

    async def stop(self) -> None:
        """Nothing more is delivered; what was delivered can still be settled."""
        ...

    async def close(self) -> None:
        """As `stop`; what is unsettled is given back."""
        ...


class TransportTraits(Struct, frozen=True, kw_only=True):
    """What a transport can do. ``packet_bytes_max``: the largest body. ``is_durable``: packets survive a restart of the broker.
    ``is_deduplicating``: a packet sent again soon is not delivered twice. ``tells_no_handler``: `send` raises `NoHandlers` where nobody has
    ever handled the address. ``shows_packets``: it has `look` and `drop`. ``sends_at_once``: how many `send` calls are worth having under
    way at a time; where many packets in one call cost little more than one, it is 1, and what comes meanwhile goes with the next.
    """

    packet_bytes_max: int
    is_durable: bool = True
    is_deduplicating: bool = False
    tells_no_handler: bool = False
    shows_packets: bool = True
    sends_at_once: int = 8


class Transport(Protocol):
    """``name`` is what errors call it: the URL without secrets."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def traits(self) -> TransportTraits:
        """What it can do."""
        ...

    async def open(self) -> None:
        """It is connected. Raises `TransportUnavailable`, and `InvalidOption` for an address or credentials that cannot be right."""
        ...

    async def close(self) -> None:
        """All handlings are closed, nothing is held any more; safe to call twice."""
        ...

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        """The packets are the transport's; safe to call again with the same.

        Raises `TransportUnavailable`, `NoHandlers`, `PacketTooLarge`; then some of them may have been sent all the same.
        """
        ...

    async def handle(self, address: str, handler: Handler, *, slots: int) -> Handling:
        """``handler`` gets what was sent to the address, from now on. ``slots``: how many deliveries may be unsettled at once.

        Several handlings of one address, in any processes, share what comes.
        """
        ...

    async def backlog(self, address: str) -> int:
        """Give how many packets lie there that are not delivered yet; 0 for an address that nobody has used."""
        ...

    def look(self, address: str) -> AsyncGenerator[Packet, None]:
        """Give the packets that lie there, and leave them there; nothing for an address that nobody has used. Close it.

        Those that are with a handler may be missing, until it is closed a handler may have to wait for what it has given, and but for
        `DEAD` it may count as a delivery. Raises `TransportUnavailable`, and `Unsupported` if the transport does not show packets.
        """
        ...

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        """For each of the ids, which may repeat, one packet with it lies there no longer; without, none does.

        What is with a handler may stay. Safe to call again if ids are those of different packets. Raises as `look`.
        """
        ...
