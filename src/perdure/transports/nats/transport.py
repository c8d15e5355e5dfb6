"""The transport on NATS JetStream, server 2.9 or newer.

connection
    nats-py: one connection, which comes back by itself, to any of several servers (``nats://a:4222,b:4222``). TLS by ``tls://`` or where
    the server wants it; user and password, or a token, by the URL; files of credentials or an nkey by options.
delivery
    At least once. An address is a work-queue stream ``PREFIX--…``, made by whoever handles it first, with one durable consumer that all
    its handlings share. Packets are published many at a time, each answered by its stream; the packet's id is ``Nats-Msg-Id``, so one that
    is sent again within ``dedupe`` seconds is not delivered twice. What is unsettled is kept by in-progress acks; what lay with a process
    that died comes again after ``ack_wait`` seconds. An address that nobody has ever handled is told (`NoHandlers`). What is said to one
    worker is kept in memory, and only while its consumer exists: until five minutes after it was last used.
    JetStream answers before it syncs: packets survive a restart and a crash of the server; the last ones do not survive a loss of power.
limits
    A body: the server's ``max_payload`` less 16 KiB for headers. A stream: ``packets_max`` packets, then `send` raises
    `TransportUnavailable`. 4,000 packets unanswered at a time. Priorities are carried, not sorted by.
options
    In the URL ``nats://USER:PASSWORD@HOST:4222?…``: ``prefix`` (perdure), ``storage`` (file or memory), ``replicas`` (1), ``packets_max``
    (1,000,000), ``dedupe`` (20) and ``ack_wait`` (10) in seconds; ``letters_max`` (10,000) dead letters are kept for ``letters_keep``
    (2,592,000) seconds, the oldest go first; a stream keeps what it was made with, its consumer has the ``ack_wait`` of whoever
    handled last. ``connect_timeout`` and
    ``answer_timeout`` in seconds (10). ``credentials`` and ``nkey`` name files, and so do ``cafile``, ``certfile`` and ``keyfile`` for TLS.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from perdure.model.errors import InvalidOption
from perdure.ports.transport import DEAD, Handler, Packet, TransportTraits
from perdure.transports.link import Link, Lost
from perdure.transports.nats.connection import NatsConnection, client_errors, connect
from perdure.transports.nats.handling import NatsHandling
from perdure.transports.nats.messages import packet_lying
from perdure.transports.nats.publisher import HEADERS_ROOM, Publisher
from perdure.transports.nats.streams import lane_of, place_of

_USUAL_BYTES_MAX: Final = 1_048_576


class NatsTransport:
    """Give it a URL. Not open yet."""

    def __init__(self, url: str) -> None:
        self._place = place_of(url)
        self._link: Link[NatsConnection] = Link(self._place.name, self._connect, timeout_s=self._place.connect_timeout_s)
        self._publisher = Publisher(self._link, self._place)
        self._handlings: set[NatsHandling] = set()
        self._bytes_max = _USUAL_BYTES_MAX

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def traits(self) -> TransportTraits:
        return TransportTraits(
            packet_bytes_max=self._bytes_max - HEADERS_ROOM,
            is_durable=self._place.storage == "file",
            is_deduplicating=True,
            tells_no_handler=True,
        )

    async def open(self) -> None:
        await self._link.open()

    async def close(self) -> None:
        handlings, self._handlings = self._handlings, set()
        await asyncio.gather(*(handling.close() for handling in handlings))
        await self._link.close()

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        await self._publisher.send(address, packets)

    async def handle(self, address: str, handler: Handler, *, slots: int) -> NatsHandling:
        if slots < 1:
            raise InvalidOption(option="slots", found=slots, expected="at least 1")
        handling = NatsHandling(self._link, self._place, lane_of(self._place, address), told=(address, handler, self._bury, slots))
        self._handlings = {one for one in self._handlings if not one.is_closed}
        self._handlings.add(handling)
        try:
            await handling.start()
        except BaseException:
            self._handlings.discard(handling)
            await handling.close()
            raise
        return handling

    async def backlog(self, address: str) -> int:
        with client_errors(self._place):
            return await self._link.current().waiting(lane_of(self._place, address)) or 0

    async def look(self, address: str) -> AsyncGenerator[Packet, None]:
        async with aclosing(self._look(address)) as found:
            async for _, packet in found:
                yield packet

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        lane = lane_of(self._place, address)
        if ids is None:
            with client_errors(self._place):
                await self._link.current().purge(lane)
            return
        left = Counter(ids)
        async with aclosing(self._look(address)) as found:
            async for number, packet in found:
                if left[packet.id] > 0:
                    with client_errors(self._place):
                        await self._link.current().delete(lane, number)
                    left[packet.id] -= 1
                if not +left:
                    return

    async def _look(self, address: str) -> AsyncGenerator[tuple[int, Packet], None]:
        """Reads the stream past its consumer, to whom nothing is delivered by it."""
        lane, number = lane_of(self._place, address), 0
        while True:
            with client_errors(self._place):
                message = await self._link.current().next_after(lane, number)
            if message is None:
                return
            number = message.seq or 0
            yield number, packet_lying(message)

    async def _connect(self, lost: Lost) -> NatsConnection:
        connection = await connect(self._place, lost)
        try:
            with client_errors(self._place):
                await connection.make(lane_of(self._place, DEAD))
        except BaseException:
            await connection.close()
            raise
        self._bytes_max = connection.bytes_max
        return connection

    async def _bury(self, letter: Packet, address: str) -> None:
        # One id may die at two addresses; and the id itself travels besides.
        name = hashlib.sha256(f"{address} {letter.id}".encode("utf-8", "surrogatepass")).hexdigest()
        await self._publisher.send(DEAD, [letter], ids=[name])
