"""Looking at a queue. AMQP shows messages only to those who take them: each is taken, and at the end all are given back at once.

Until then they are with whoever looks: a handler does not get them, and another who looks does not see them.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

import aiormq
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from perdure.model.errors import TransportUnavailable
from perdure.ports.transport import Packet
from perdure.transports.rabbitmq.connection import RabbitMQConnection, client_errors, quiet
from perdure.transports.rabbitmq.messages import packet_of
from perdure.transports.rabbitmq.queues import Place

_BACK_LOOKS_MAX: Final = 50
_BACK_PAUSE_S: Final = 0.01
_ALL: Final = 0
"""In a nack of several: everything on the channel."""


class Lying:
    """A packet that was taken for a look."""

    def __init__(self, packet: Packet, channel: aiormq.Channel, number: int) -> None:
        self.packet = packet
        self.is_removed = False
        self._channel = channel
        self._number = number

    async def remove(self) -> None:
        """It is not given back."""
        self.is_removed = True
        await self._channel.basic_ack(self._number, wait=False)


async def look_into(connection: RabbitMQConnection, place: Place, queue: str) -> AsyncGenerator[Lying, None]:
    """Give what is ready in the queue; nothing for one that is not there. Raises `TransportUnavailable`."""
    taken = 0
    async with connection.apart() as channel:
        try:
            while (message := await _next(channel, place, queue)) is not None:
                lying = Lying(packet_of(message), channel, message.delivery_tag or 0)
                taken += 1
                yield lying
                taken -= lying.is_removed
        finally:
            if taken and not channel.is_closed:
                with quiet(), client_errors(place):
                    await channel.basic_nack(_ALL, multiple=True, requeue=True, wait=False)
                    await _are_back(channel, place, queue, taken)


async def _are_back(channel: aiormq.Channel, place: Place, queue: str, count: int) -> None:
    """So many are ready again, or somebody else has taken some: the broker counts what was given back a little later."""
    for _ in range(_BACK_LOOKS_MAX):
        found = await channel.queue_declare(queue, passive=True, timeout=place.answer_timeout_s)
        if (found.message_count or 0) >= count:
            return
        await asyncio.sleep(_BACK_PAUSE_S)


async def _next(channel: aiormq.Channel, place: Place, queue: str) -> DeliveredMessage | None:
    try:
        with quiet(), client_errors(place):
            message = await channel.basic_get(queue, timeout=place.answer_timeout_s)
    except TransportUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            return None
        raise
    delivery: Any = message.delivery
    return None if isinstance(delivery, aiormq.spec.Basic.GetEmpty) else message


async def purge(connection: RabbitMQConnection, place: Place, queue: str) -> None:
    """Nothing is ready in the queue. Raises `TransportUnavailable`."""
    async with connection.apart() as channel:
        try:
            with quiet(), client_errors(place):
                await channel.queue_purge(queue, timeout=place.answer_timeout_s)
        except TransportUnavailable as error:
            if not isinstance(error.__cause__, ChannelNotFoundEntity):
                raise
