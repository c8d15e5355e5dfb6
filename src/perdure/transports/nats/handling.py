"""A handling: pulls as many packets as it has free slots, and tells the server of those that take their time."""

import asyncio
import logging
from typing import Final

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from perdure.model.errors import PerdureError, TransportUnavailable
from perdure.ports.transport import Handler
from perdure.transports.handling import BrokerHandling, Bury, Held
from perdure.transports.link import Link
from perdure.transports.nats.connection import NatsConnection, client_errors, header
from perdure.transports.nats.messages import deliveries_of, is_packet, packet_of
from perdure.transports.nats.streams import ACK_WAIT_USUAL_S, Lane, Place

logger = logging.getLogger("perdure.transports")

_ACK, _NAK, _IN_PROGRESS = b"+ACK", b"-NAK", b"+WPI"
_PULL_S: Final = 30.0
_PULL_GRACE_S: Final = 5.0
_MAKE_AGAIN_S: Final = 0.5
_NO_RESPONDERS: Final = "503"
_DELETED: Final = "Deleted"
BEATS: Final = 3
"""So often within the wait for acks the server is told of what is held."""
_PULLS_MAX: Final = 4
"""About how many pulls of one handling wait at the server at a time."""

_encode = msgspec.json.Encoder().encode


class NatsHandling(BrokerHandling[str]):
    """A delivery's token is the subject that its ack goes to, which is good on any connection: what is held survives a reconnection."""

    def __init__(self, link: Link[NatsConnection], place: Place, lane: Lane, *, told: tuple[str, Handler, Bury, int]) -> None:
        address, handler, bury, self._slots = told
        super().__init__(address, handler, bury)
        self._link = link
        self._place = place
        self._lane = lane
        self._connection: NatsConnection | None = None
        self._subscription: Subscription | None = None
        self._wanted = 0
        self._wanted_until = 0.0
        self._is_unmade = False
        self._has_room = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """It gets deliveries from now on; raises `TransportUnavailable`, `InvalidOption`."""
        await self.restore(self._link.current())
        self._link.follow(self, self.restore)
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"handling of {self.address}")

    async def restore(self, connection: NatsConnection) -> None:
        """It goes on, on this connection."""
        if self.is_stopped:
            return
        with client_errors(self._place):
            await connection.make(self._lane)
            # A new inbox: what the server still has for the old one must not come besides.
            self._subscription = await connection.subscribe(self._take)
        self._connection = connection
        self._wanted = 0
        self._has_room.set()

    async def _take(self, message: Msg) -> None:
        if not is_packet(message):
            self._hear(message)
        elif self.busy >= self._slots:
            await self._tell(message.reply, _NAK)
        else:
            self._wanted = max(self._wanted - 1, 0)
            if not self.arrive(packet_of(message), message.reply, deliveries_of(message)):
                await self._tell(message.reply, _NAK)
        self._has_room.set()

    def _hear(self, message: Msg) -> None:
        """A pull ended without all that was wanted: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md."""
        status, description = header(message, "Status"), header(message, "Description")
        if status == _NO_RESPONDERS or _DELETED in description:
            self._is_unmade = True
        left = header(message, "Nats-Pending-Messages")
        self._wanted = max(self._wanted - int(left), 0) if left.isdecimal() else 0

    async def _keep(self) -> None:
        """Pulls when there is room, and keeps what is held."""
        loop = asyncio.get_running_loop()
        # The consumer is everybody's: one with a shorter ack_wait than this may have made it last.
        beat_s = min(self._place.ack_wait_s, ACK_WAIT_USUAL_S) / BEATS
        beat_at = loop.time() + beat_s
        while True:
            try:
                async with asyncio.timeout_at(beat_at):
                    await self._has_room.wait()
            except TimeoutError:
                beat_at = loop.time() + beat_s
                for held in tuple(self._held):
                    await self._tell(held.token, _IN_PROGRESS)
            self._has_room.clear()
            if self._is_unmade and not self.is_stopped:
                await self._make_again()
            if not self.is_stopped:
                await self._pull()

    async def _make_again(self) -> None:
        """Somebody has deleted the stream or its consumer, or no server leads it at present."""
        await asyncio.sleep(_MAKE_AGAIN_S)
        self._wanted = 0
        self._has_room.set()
        try:
            with client_errors(self._place):
                await self._link.current().make(self._lane, is_gone=True)
        except PerdureError as error:
            logger.debug("%s cannot be made: %s", self.address, error)
        else:
            self._is_unmade = False

    async def _pull(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._wanted and now > self._wanted_until:
            # The server has forgotten the pulls without a word.
            self._wanted = 0
        room = self._slots - self.busy - self._wanted
        if room <= 0 or self._subscription is None or (self._wanted and room < self._slots / _PULLS_MAX):
            return
        self._wanted += room
        self._wanted_until = now + _PULL_S + _PULL_GRACE_S
        request = _encode({"batch": room, "expires": int(_PULL_S * 1_000_000_000)})
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._lane.stream}.{self._lane.consumer}"
        await self._tell(subject, request, self._subscription.subject)

    async def _tell(self, subject: str, word: bytes, reply: str = "") -> None:
        try:
            connection = self._link.current()
        except TransportUnavailable as error:
            logger.debug("not told: %s", error)
        else:
            await connection.say(subject, word, reply)

    def _settled(self) -> None:
        self._has_room.set()

    async def _ack(self, held: Held[str]) -> None:
        await self._tell(held.token, _ACK)

    async def _return(self, held: Held[str]) -> None:
        await self._tell(held.token, _NAK)

    async def _halt(self) -> None:
        self._link.forget(self)
        if self._connection is not None and self._subscription is not None:
            # What was on its way comes, and is given back.
            await self._connection.drain(self._subscription)

    async def _end(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        for held in tuple(self._held):
            await self._return(held)
