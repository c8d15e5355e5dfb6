"""The transport on RabbitMQ, 3.10 or newer.

connection
    aiormq (AMQP 0-9-1): one connection that publishes, and one that consumes once something is handled. Each comes back by itself, with
    its queues and consumers. TLS by ``amqps://``; user and password by the URL.
delivery
    At least once. An address is a durable quorum queue ``PREFIX:ADDRESS``, made by whoever handles it first; packets are persistent and
    confirmed by the broker before `send` returns, many at a time. ``mandatory``: an address that nobody has ever handled is told
    (`NoHandlers`). The queue of one worker is a classic one that goes when it was unused for five minutes; its packets do not survive a
    restart. ``slots`` is the prefetch of the consumer. Dead letters keep id, body and headers.
limits
    A body: ``packet_bytes_max`` (16 MiB; the broker's own limit is ``max_message_size``). An id with its headers: 64 KiB. A queue:
    ``packets_max`` packets, then `send` raises `TransportUnavailable`. ``slots``: 65,535 a handling. 1,000 packets unconfirmed at a time.
    Priorities are carried; quorum queues of RabbitMQ before 4.0 do not sort by them. Where a delivery is not settled for 30 minutes, the
    broker closes the channel.
options
    In the URL ``amqp://USER:PASSWORD@HOST:5672/VHOST?…``: ``prefix`` (perdure), ``packet_bytes_max``, ``packets_max`` (1,000,000) and
    ``queues_expire`` (0: never; else seconds without use after which a queue goes with its packets; a queue keeps what it was declared
    with), ``letters_max`` (10,000) dead letters, which are kept for ``letters_keep`` (2,592,000) seconds, and of which the oldest go
    first, ``connect_timeout`` and ``answer_timeout`` in seconds (10), ``heartbeat`` in seconds (20), ``name`` of the connection; for TLS
    ``cafile``, ``capath``, ``cadata``, ``certfile``, ``keyfile``, ``no_verify_ssl=1``, ``auth=external``.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from perdure.model.errors import InvalidOption
from perdure.ports.transport import DEAD, Handler, Packet, TransportTraits
from perdure.transports.link import Link
from perdure.transports.rabbitmq.connection import RabbitMQConnection, connect
from perdure.transports.rabbitmq.handling import RabbitMQHandling
from perdure.transports.rabbitmq.looking import look_into, purge
from perdure.transports.rabbitmq.publisher import Publisher
from perdure.transports.rabbitmq.queues import place_of, queue_of


class RabbitMQTransport:
    """Give it a URL. Not open yet."""

    def __init__(self, url: str) -> None:
        self._place = place_of(url)
        self._publisher = Publisher(self._place)
        self._link: Link[RabbitMQConnection] = Link(
            self._place.name, lambda lost: connect(self._place, lost), timeout_s=self._place.connect_timeout_s
        )
        self._handlings: set[RabbitMQHandling] = set()
        self._is_open = False

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def traits(self) -> TransportTraits:
        return TransportTraits(packet_bytes_max=self._place.packet_bytes_max, tells_no_handler=True)

    async def open(self) -> None:
        await self._publisher.open()
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        handlings, self._handlings = self._handlings, set()
        await asyncio.gather(*(handling.close() for handling in handlings))
        await self._link.close()
        await self._publisher.close()

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        await self._publisher.send(address, packets)

    async def handle(self, address: str, handler: Handler, *, slots: int) -> RabbitMQHandling:
        if slots < 1:
            raise InvalidOption(option="slots", found=slots, expected="at least 1")
        await self._connected()
        handling = RabbitMQHandling(self._link, self._place, queue_of(self._place, address), told=(address, handler, self._bury, slots))
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
        await self._connected()
        return await self._link.current().count(queue_of(self._place, address).name) or 0

    async def look(self, address: str) -> AsyncGenerator[Packet, None]:
        await self._connected()
        async with aclosing(look_into(self._link.current(), self._place, queue_of(self._place, address).name)) as lying:
            async for one in lying:
                yield one.packet

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        await self._connected()
        queue, connection = queue_of(self._place, address).name, self._link.current()
        if ids is None:
            await purge(connection, self._place, queue)
            return
        left = Counter(ids)
        async with aclosing(look_into(connection, self._place, queue)) as lying:
            async for one in lying:
                if left[one.packet.id] > 0:
                    left[one.packet.id] -= 1
                    await one.remove()
                if not +left:
                    return

    async def _connected(self) -> None:
        if not self._is_open:
            raise self._link.unavailable("it is not open")
        await self._link.open()

    async def _bury(self, letter: Packet, _: str) -> None:
        await self._publisher.send(DEAD, [letter])
