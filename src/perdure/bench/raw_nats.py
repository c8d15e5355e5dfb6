"""NATS JetStream by its bare client, nats-py: work-queue streams in files, pull consumers, an ack for each message and each publish."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig

BATCH = 200
UNACKED = 4_000


class NatsPipe:
    """As `perdure.bench.brokers.Pipe`."""

    def __init__(self, stream: Any, to: str) -> None:
        self._stream = stream
        self._to = to

    async def send(self, body: bytes) -> None:
        """The stream has it."""
        await (await self._stream.publish_async(self._to, body))


@asynccontextmanager
async def piped(url: str, to: str, by: str, took: Any) -> AsyncIterator[NatsPipe]:
    """Give the pipe."""
    client = await nats.connect(url)
    pulling: asyncio.Task[None] | None = None
    try:
        stream = client.jetstream(publish_async_max_pending=UNACKED)
        for name in (to, by):
            await stream.add_stream(StreamConfig(name=name, subjects=[name], retention=RetentionPolicy.WORK_QUEUE))
        config = ConsumerConfig(durable_name="takers", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=-1)
        taking = await stream.pull_subscribe(by, durable="takers", stream=by, config=config)
        pipe = NatsPipe(stream, to)

        async def one(message: Any) -> None:
            await took(message.data)
            await message.ack()

        async def pull() -> None:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        for message in await taking.fetch(BATCH, timeout=5):
                            group.create_task(one(message))
                    except nats.errors.TimeoutError:
                        continue

        pulling = asyncio.create_task(pull())
        yield pipe
    finally:
        if pulling is not None:
            pulling.cancel()
            await asyncio.wait([pulling])
        await client.close()


async def clear(url: str, prefix: str) -> None:
    """The streams of this prefix are gone."""
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        for info in await stream.streams_info():
            name = info.config.name or ""
            if name.startswith(prefix):
                await stream.delete_stream(name)
    finally:
        await client.close()
