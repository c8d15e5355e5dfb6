"""Publishing with confirms, many at a time: a packet is sent when the broker has it, and none waits for the one before it."""

import asyncio
from collections.abc import Sequence
from typing import Final

import aiormq
from aiormq.exceptions import DeliveryError, PublishError

from perdure.model.errors import InvalidOption, NoHandlers, PacketTooLarge, TransportUnavailable
from perdure.ports.transport import DEAD, Packet
from perdure.transports.link import Link, Lost
from perdure.transports.rabbitmq.connection import RabbitMQConnection, client_errors, connect
from perdure.transports.rabbitmq.messages import HEADERS_BYTES_MAX, header_bytes, properties_of
from perdure.transports.rabbitmq.queues import Place, Queue, queue_of

_UNCONFIRMED_MAX: Final = 1_000


class Publisher:
    """A connection of its own: the broker stops reading from those that publish too much, and acks must not wait then."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._link: Link[_Sending] = Link(place.name, self._connect, timeout_s=place.connect_timeout_s)
        self._window = asyncio.Semaphore(_UNCONFIRMED_MAX)
        self._flying: dict[str, asyncio.Future[None]] = {}

    async def open(self) -> None:
        await self._link.open()

    async def close(self) -> None:
        await self._link.close()

    async def _connect(self, lost: Lost) -> "_Sending":
        connection = await connect(self._place, lost)
        try:
            channel = await connection.channel(confirms=True)
            await connection.declare(channel, queue_of(self._place, DEAD))
        except BaseException:
            await connection.close()
            raise
        return _Sending(connection, channel)

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        """All of them are confirmed; raises as `perdure.ports.transport.Transport.send`."""
        for packet in packets:
            self._check_size(address, len(packet.body), self._place.packet_bytes_max)
            # A letter has the reason besides.
            self._check_size(address, header_bytes(packet), HEADERS_BYTES_MAX if address != DEAD else 2 * HEADERS_BYTES_MAX)
        queue = queue_of(self._place, address)
        for at in range(0, len(packets), _UNCONFIRMED_MAX):
            sending = self._link.current()
            publishes = [self._publish(sending.channel, queue, packet) for packet in packets[at : at + _UNCONFIRMED_MAX]]
            results = await asyncio.gather(*publishes, return_exceptions=True) if len(publishes) > 1 else [await publishes[0]]
            for result in results:
                if isinstance(result, PublishError):
                    raise NoHandlers(address=address, transport=self._place.name) from result
                if isinstance(result, BaseException):
                    raise result

    def _check_size(self, address: str, size: int, limit: int) -> None:
        if size > limit:
            raise PacketTooLarge(address=address, size=size, transport=self._place.name, limit=limit)

    async def _publish(self, channel: aiormq.Channel, queue: Queue, packet: Packet) -> PublishError | None:
        async with self._window:
            # The client tells returned messages apart by their ids: no two of one id may be on their way at once.
            while (before := self._flying.get(packet.id)) is not None:
                await asyncio.wait([before])
            over = self._flying[packet.id] = asyncio.get_running_loop().create_future()
            try:
                with client_errors(self._place):
                    properties = properties_of(packet, is_lasting=queue.is_lasting)
                    # Counted from when there is room for it: however much is sent at once, only a broker that stands still is too slow.
                    span_s, name = self._place.answer_timeout_s, queue.name
                    await channel.basic_publish(
                        packet.body, routing_key=name, properties=properties, mandatory=True, timeout=span_s, wait=False
                    )
            except TransportUnavailable as error:
                if isinstance(error.__cause__, PublishError):
                    return error.__cause__
                if isinstance(error.__cause__, TimeoutError):
                    raise self._link.unavailable(f"no confirm within {self._place.answer_timeout_s:g} s") from error
                if isinstance(error.__cause__, DeliveryError):
                    problem = f"the queue {queue.name!r} takes no more; its limit packets_max is {self._place.packets_max}"
                    raise self._link.unavailable(problem) from error
                raise
            except InvalidOption as error:
                raise self._link.unavailable(str(error)) from error
            finally:
                del self._flying[packet.id]
                over.set_result(None)
        return None


class _Sending:
    def __init__(self, connection: RabbitMQConnection, channel: aiormq.Channel) -> None:
        self._connection = connection
        self.channel = channel

    async def close(self) -> None:
        """It is closed."""
        await self._connection.close()
