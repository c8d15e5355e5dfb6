"""What workers say by way of a broker. Protects an outcome from being acknowledged before it is durable (G2)."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from perdure.model.errors import InvalidMessage, Unavailable
from perdure.ports.transport import NODES, Delivery, Handling, Transport
from perdure.remote.reporting import StoreReporter
from perdure.wire.encoding import decode
from perdure.wire.messages import AnyWireMessage, Call, Cancel, Outcome

logger = logging.getLogger("perdure.remote")

SLOTS = 2_000


class Listener(Protocol):
    def hear(self, told: Outcome) -> "asyncio.Future[None] | None":
        """As `perdure.remote.performer.RemotePerformer.hear`."""
        ...


class Hearing:
    """Handles the address of nodes on one transport. Outcomes of runs that are here go to them, all else into the store."""

    def __init__(self, transport: Transport, listener: Listener, reporter: StoreReporter) -> None:
        self._transport = transport
        self._listener = listener
        self._reporter = reporter
        self._handling: Handling | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """What workers say is heard from now on. Raises `TransportUnavailable`."""
        self._handling = await self._transport.handle(NODES, self._take, slots=SLOTS)

    async def close(self) -> None:
        """Nothing more is heard here; what was not yet durable goes to another node."""
        if self._handling is not None:
            await self._handling.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        others: list[tuple[Delivery, AnyWireMessage]] = []
        told: list[tuple[Delivery, asyncio.Future[None]]] = []
        for delivery in deliveries:
            try:
                message = decode(delivery.packet.body, delivery.packet.content_type)
                if isinstance(message, Call | Cancel):
                    raise InvalidMessage(problem=f"a {type(message).__name__.lower()} is for workers, not for nodes")
                done = self._listener.hear(message) if isinstance(message, Outcome) else None
            except InvalidMessage as error:
                await delivery.refuse(str(error))
                continue
            if done is None:
                others.append((delivery, message))
            else:
                told.append((delivery, done))
        for delivery, done in told:
            done.add_done_callback(partial(self._settle, delivery))
        if others:
            await self._write(others)

    def _settle(self, delivery: Delivery, done: "asyncio.Future[None]") -> None:
        if done.cancelled() or isinstance(done.exception(), Unavailable):
            # Not durable here: another has the run now, or this node has ended.
            task = asyncio.get_running_loop().create_task(delivery.give_back())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        delivery.ack_soon(_nothing)  # One that was refused is settled too: the call has another.

    async def _write(self, others: Sequence[tuple[Delivery, AnyWireMessage]]) -> None:
        try:
            await self._reporter.take([message for _, message in others])
        except Unavailable as error:
            logger.warning("%s", error)
            for delivery, _ in others:
                await delivery.give_back()
        else:
            for delivery, _ in others:
                await delivery.ack()


def _nothing() -> None:
    pass
