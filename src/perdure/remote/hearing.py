"""What workers say by way of a broker. Protects an outcome from being acknowledged before it is durable (G2)."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from perdure.model.errors import InvalidMessage, Unavailable
from perdure.ports.transport import NODES, Delivery, Handling, Transport
from perdure.remote.reporting import StoreReporter
from perdure.wire.bundles import unbundled
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
        others: list[tuple[_Letter, AnyWireMessage]] = []
        for delivery in deliveries:
            letter = _Letter(delivery)
            for body, content_type in unbundled(delivery.packet.body, delivery.packet.content_type):
                self._hear(letter, body, content_type, others)
            self._end_part(letter)
        if others:
            await self._write(others)

    def _hear(self, letter: "_Letter", body: bytes, content_type: str, others: "list[tuple[_Letter, AnyWireMessage]]") -> None:
        try:
            message = decode(body, content_type)
            if isinstance(message, Call | Cancel):
                raise InvalidMessage(problem=f"a {type(message).__name__.lower()} is for workers, not for nodes")
            done = self._listener.hear(message) if isinstance(message, Outcome) else None
        except InvalidMessage as error:
            # Its neighbours are heard all the same.
            letter.problem = str(error)
            return
        letter.left += 1
        if done is None:
            others.append((letter, message))
        else:
            done.add_done_callback(partial(self._settle, letter))

    def _settle(self, letter: "_Letter", done: "asyncio.Future[None]") -> None:
        # Where it is not durable here, another has the run now, or this node has ended; one that was refused is settled too: the call has
        # another.
        self._end_part(letter, is_heard=not done.cancelled() and not isinstance(done.exception(), Unavailable))

    def _end_part(self, letter: "_Letter", *, is_heard: bool = True) -> None:
        letter.left -= 1
        letter.is_heard &= is_heard
        if letter.left:
            return
        if not letter.is_heard:
            self._begin(letter.delivery.give_back())
        elif letter.problem is not None:
            self._begin(letter.delivery.refuse(letter.problem))
        else:
            letter.delivery.ack_soon(_nothing)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, others: "Sequence[tuple[_Letter, AnyWireMessage]]") -> None:
        try:
            await self._reporter.take([message for _, message in others])
        except Unavailable as error:
            logger.warning("%s", error)
            for letter, _ in others:
                self._end_part(letter, is_heard=False)
        else:
            for letter, _ in others:
                self._end_part(letter)


class _Letter:
    """A delivery, settled when nothing of it may be lost. ``left``: its messages that are not durable yet, and one while it is read."""

    __slots__ = ("delivery", "is_heard", "left", "problem")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.left = 1
        self.is_heard = True
        self.problem: str | None = None


def _nothing() -> None:
    pass
