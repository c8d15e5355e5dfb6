"""A handling: a consumer on a channel of its own, whose prefetch is its slots."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage

from perdure.model.errors import PerdureError
from perdure.ports.transport import Handler
from perdure.transports.handling import BrokerHandling, Bury, Held
from perdure.transports.link import Link
from perdure.transports.rabbitmq.connection import RabbitMQConnection, client_errors, quiet
from perdure.transports.rabbitmq.messages import deliveries_of, packet_of
from perdure.transports.rabbitmq.queues import Place, Queue

logger = logging.getLogger("perdure.transports")

_PREFETCH_MAX: Final = 65_535
_COUNTED_MAX: Final = 10_000


class Tag(NamedTuple):
    """What the broker knows a delivery by: a number that counts on its channel only."""

    channel: AbstractChannel
    number: int


class RabbitMQHandling(BrokerHandling[Tag]):
    """Declares its queue and consumes from it, again on each new connection."""

    def __init__(self, link: Link[RabbitMQConnection], place: Place, queue: Queue, *, told: tuple[str, Handler, Bury, int]) -> None:
        address, handler, bury, self._slots = told
        super().__init__(address, handler, bury)
        self._link = link
        self._place = place
        self._queue = queue
        self._channel: aiormq.Channel | None = None
        self._connection: RabbitMQConnection | None = None
        self._tag = ""
        # Classic queues do not count deliveries.
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def start(self) -> None:
        """It gets deliveries from now on; raises `TransportUnavailable`, `InvalidOption`."""
        await self.restore(self._link.current())
        self._link.follow(self, self.restore)

    async def restore(self, connection: RabbitMQConnection) -> None:
        """It goes on, on this connection."""
        self.lose()
        if self.is_stopped:
            return
        channel = await connection.channel(confirms=False)
        await connection.declare(channel, self._queue)
        self._channel, self._connection = channel, connection
        with quiet(), client_errors(self._place):
            await channel.basic_qos(prefetch_count=min(self._slots, _PREFETCH_MAX), timeout=self._place.answer_timeout_s)
            channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
            consuming = await channel.basic_consume(self._queue.name, self._take, timeout=self._place.answer_timeout_s)
        self._tag = consuming.consumer_tag or ""

    async def _take(self, message: DeliveredMessage) -> None:
        tag = Tag(message.channel, message.delivery_tag or 0)
        packet = packet_of(message)
        count = max(deliveries_of(message), self._counts.get(packet.id, 0))
        if message.channel is not self._channel or not self.arrive(packet, tag, count):
            await self._nack(tag)

    async def _on_cancelled(self, _: object) -> None:
        # Its queue was deleted: it is made again with everything else.
        if self._connection is not None and not self.is_stopped:
            await self._connection.give_up(f"the queue {self._queue.name!r} was deleted")

    async def _ack(self, held: Held[Tag]) -> None:
        self._counts.pop(held.packet.id, None)
        channel, number = held.token
        if not channel.is_closed:
            with _if_it_hears(self._place):
                await channel.basic_ack(number, wait=False)

    async def _return(self, held: Held[Tag]) -> None:
        self._counts[held.packet.id] = held.count + 1
        if len(self._counts) > _COUNTED_MAX:
            self._counts.popitem(last=False)
        await self._nack(held.token)

    async def _nack(self, tag: Tag) -> None:
        if not tag.channel.is_closed:
            with _if_it_hears(self._place):
                await tag.channel.basic_nack(tag.number, requeue=True, wait=False)

    async def _halt(self) -> None:
        self._link.forget(self)
        if self._channel is not None and not self._channel.is_closed:
            with _if_it_hears(self._place):
                await self._channel.basic_cancel(self._tag, timeout=self._place.answer_timeout_s)

    async def _end(self) -> None:
        if self._channel is not None and self._connection is not None:
            await self._connection.release(self._channel)


@contextmanager
def _if_it_hears(place: Place) -> Iterator[None]:
    """What is said in this block is said in vain if the connection is gone: the broker delivers again whatever was unsettled."""
    try:
        with client_errors(place):
            yield
    except PerdureError as error:
        logger.debug("not heard: %s", error)
