"""Publishing with the stream's answers, many at a time."""

import asyncio
from collections.abc import Sequence
from typing import Final

import nats.errors
import nats.js.errors

from perdure.model.errors import NoHandlers, PacketTooLarge
from perdure.ports.transport import Packet
from perdure.transports.link import Link
from perdure.transports.nats.connection import NatsConnection, client_errors
from perdure.transports.nats.messages import headers_of
from perdure.transports.nats.streams import Lane, Place, lane_of

HEADERS_ROOM: Final = 16_384
_CHUNK: Final = 1_000
_LINE_BYTES: Final = 4


class Publisher:
    """Sends packets, each when its stream has it."""

    def __init__(self, link: Link[NatsConnection], place: Place) -> None:
        self._link = link
        self._place = place

    async def send(self, address: str, packets: Sequence[Packet], *, ids: Sequence[str] | None = None) -> None:
        """``ids``: what duplicates are found by, if not the packets' own. Raises as `perdure.ports.transport.Transport.send`."""
        lane = lane_of(self._place, address)
        for at in range(0, len(packets), _CHUNK):
            connection = self._link.current()
            chunk = packets[at : at + _CHUNK]
            names = ids[at : at + _CHUNK] if ids is not None else [packet.id for packet in chunk]
            messages = [(packet.body, headers_of(packet, name)) for packet, name in zip(chunk, names, strict=True)]
            # A letter has the reason besides: room was left for it when the packet was taken.
            room = HEADERS_ROOM // 2 if ids is None else 0
            for body, headers in messages:
                self._check_size(address, connection.bytes_max - room, body, headers)
            with client_errors(self._place):
                if lane.is_worker and await connection.waiting(lane) is None:
                    raise NoHandlers(address=address, transport=self._place.name)
                try:
                    await self._publish(connection, lane, messages)
                except nats.js.errors.NoStreamResponseError:
                    if await connection.exists(lane):
                        raise
                    raise NoHandlers(address=address, transport=self._place.name) from None

    async def _publish(self, connection: NatsConnection, lane: Lane, messages: list[tuple[bytes, dict[str, str]]]) -> None:
        answers = [await connection.publish(lane.subject, body, headers) for body, headers in messages]
        # Counted from when there was room for them: however much is sent at once, only a server that stands still is too slow.
        async with asyncio.timeout(self._place.answer_timeout_s):
            results = await asyncio.gather(*answers, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _check_size(self, address: str, bytes_max: int, body: bytes, headers: dict[str, str]) -> None:
        limit = self._link.current().bytes_max - HEADERS_ROOM
        lines = sum(len(name) + len(value) + _LINE_BYTES for name, value in headers.items())
        if len(body) > limit or len(body) + lines > bytes_max:
            raise PacketTooLarge(address=address, size=len(body), transport=self._place.name, limit=limit)
