"""RabbitMQ by its bare client, aiormq: quorum queues, persistent messages, a confirm for each, a connection to send and one to take."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiormq
from aiormq.abc import DeliveredMessage

PREFETCH = 400
_QUORUM: Final[Mapping[str, Any]] = {"x-queue-type": "quorum"}


class RabbitMQPipe:
    """As `perdure.bench.brokers.Pipe`."""

    def __init__(self, channel: Any, to: str) -> None:
        self._channel = channel
        self._to = to
        self._properties = aiormq.spec.Basic.Properties(delivery_mode=2, content_type="application/json")

    async def send(self, body: bytes) -> None:
        """The broker has confirmed it."""
        await self._channel.basic_publish(body, routing_key=self._to, properties=self._properties, wait=False)


@asynccontextmanager
async def piped(url: str, to: str, by: str, took: Any) -> AsyncIterator[RabbitMQPipe]:
    """Give the pipe."""
    sender, taker = await aiormq.connect(url), await aiormq.connect(url)
    try:
        sending, taking = await sender.channel(publisher_confirms=True), await taker.channel(publisher_confirms=False)
        for queue in (to, by):
            await sending.queue_declare(queue, durable=True, arguments=dict(_QUORUM))

        async def consume(message: DeliveredMessage) -> None:
            await took(message.body)
            await taking.basic_ack(message.delivery_tag or 0, wait=False)

        await taking.basic_qos(prefetch_count=PREFETCH)
        pipe = RabbitMQPipe(sending, to)
        await taking.basic_consume(by, consume)
        yield pipe
    finally:
        await sender.close()
        await taker.close()


async def clear(url: str, prefix: str) -> None:
    """The queues of this prefix are gone."""
    from perdure.bench.workflows import distant
    from perdure.ports.transport import DEAD, NODES, calls_address

    spec = distant.spec
    ours = [f"{prefix}:{address}" for address in (NODES, DEAD, calls_address(spec.queue or "", spec.name, spec.version))]
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for queue in (*ours, f"{prefix}-calls", f"{prefix}-answers"):
            await channel.queue_delete(queue)
    finally:
        await connection.close()
