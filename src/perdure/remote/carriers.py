"""How calls leave: through a queue, from which some worker takes them, or straight to a service, whose answer is the outcome."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from perdure.model.errors import PerdureError, RequestFailed, Unavailable
from perdure.model.failure import failure_of
from perdure.model.registry import ActionRecord
from perdure.ports.transport import Packet, Transport, worker_address
from perdure.remote.directory import Route
from perdure.wire.attempts import error_of
from perdure.wire.encoding import JSON, encode
from perdure.wire.headers import headers_of, names_of
from perdure.wire.messages import VERSION, Call, Cancel, Outcome

logger = logging.getLogger("perdure.remote")

Hear = Callable[[Outcome], object]


class Carrier(Protocol):
    @property
    def sends_at_once(self) -> int:
        """How many calls of `send` are worth having under way at a time."""
        ...

    async def send(self, route: Route, calls: Sequence[Call], hear: Hear) -> None:
        """The calls are on their way; a direct answer is told to ``hear``. Raises `Unavailable`: some may be on their way all the same."""
        ...

    async def is_waiting(self, route: Route) -> bool:
        """Tell whether calls lie there that nobody has taken yet, so that a silent one may be among them. Raises `Unavailable`."""
        ...

    async def cancel(self, worker: str, ids: Sequence[str], reason: str) -> None:
        """The worker hears, if it can, that nobody waits for these attempts. Raises `Unavailable`."""
        ...

    def is_under_way(self, id: str) -> bool:
        """Tell whether this process holds the attempt itself and will hear how it ends."""
        ...

    async def close(self) -> None:
        """What this process holds is given up."""
        ...


class QueueCarrier:
    """Sends through a transport. ``is_open``: somebody else opens it; else the first call does, for most nodes never send one.
    ``content_type``: the encoding of what it sends.
    """

    def __init__(self, transport: Transport, *, is_open: bool = False, content_type: str = JSON) -> None:
        self._transport = transport
        self._content_type = content_type
        self._is_open = is_open

    @property
    def sends_at_once(self) -> int:
        """As the transport's traits say."""
        return self._transport.traits.sends_at_once

    async def _open(self) -> None:
        if not self._is_open:
            await self._transport.open()
            self._is_open = True

    async def send(self, route: Route, calls: Sequence[Call], hear: Hear) -> None:
        await self._open()
        await self._transport.send(route.address, [self._packet(call.id, call, headers_of(names_of(call))) for call in calls])

    def _packet(self, id: str, message: Call | Cancel, headers: Mapping[str, str]) -> Packet:
        return Packet(id, encode(message, self._content_type), self._content_type, headers)

    async def is_waiting(self, route: Route) -> bool:
        if self._transport.traits.is_deduplicating:
            return False  # One that lies there still is not delivered twice.
        await self._open()
        return await self._transport.backlog(route.address) > 0

    async def cancel(self, worker: str, ids: Sequence[str], reason: str) -> None:
        await self._open()
        message = Cancel(v=VERSION, attempts=list(ids), reason=reason)
        await self._transport.send(worker_address(worker), [self._packet(f"cancel {ids[0]}", message, {})])

    def is_under_way(self, id: str) -> bool:
        return False

    async def close(self) -> None:
        """Nothing to do: whoever made the transport closes it."""


class Caller(Protocol):
    """Calls services of one kind."""

    async def perform(self, call: Call, address: str, record: ActionRecord | None) -> Outcome | None:
        """Give the answer; ``None`` if it comes later. Raises `Unavailable` if the service cannot be reached. Cancelled, it tells the
        service so.
        """
        ...


class DirectCarrier:
    """Calls services; what is under way is held by this process, and made again after its end."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def sends_at_once(self) -> int:
        """One: it returns at once."""
        return 1

    async def send(self, route: Route, calls: Sequence[Call], hear: Hear) -> None:
        for call in calls:
            if call.id not in self._tasks:
                task = asyncio.get_running_loop().create_task(self._perform(route, call, hear))
                self._tasks[call.id] = task
                task.add_done_callback(partial(self._end, call.id))

    def _end(self, id: str, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(id, None)

    async def _perform(self, route: Route, call: Call, hear: Hear) -> None:
        try:
            outcome = await self._caller.perform(call, route.address, route.record)
        except Exception as error:
            outcome = failed(call.id, call.key, route, error)
        if outcome is not None:
            hear(outcome)

    def is_under_way(self, id: str) -> bool:
        return id in self._tasks

    async def is_waiting(self, route: Route) -> bool:
        return False

    async def cancel(self, worker: str, ids: Sequence[str], reason: str) -> None:
        for id in ids:
            if id in self._tasks:
                self._tasks[id].cancel()

    async def close(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def failed(id: str, key: str, route: Route, error: Exception) -> Outcome:
    """Give the outcome of an attempt that did not get through; it is final unless trying again may mend it.

    What is none of our errors is a driver's, or a mistake: it is logged with its place, and may be better the next time.
    """
    if not isinstance(error, PerdureError):
        logger.error("%s could not be sent to %s", id, route.address, exc_info=error)
        error = RequestFailed(asked=f"Sending the call to {route.address}", found=f"{type(error).__name__}: {error}")
    failure = failure_of(error, is_final=not isinstance(error, Unavailable))
    types = [f"{kind.__module__}:{kind.__qualname__}" for kind in type(error).__mro__[:-1]]
    return Outcome(v=VERSION, id=id, key=key, worker=route.address, status="error", error=error_of(failure, types))
