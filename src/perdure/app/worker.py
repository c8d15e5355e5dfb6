"""The worker as applications open it: the composition root."""

import os
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from perdure.app.connecting import Connection, Terms, connection_of
from perdure.app.wires import Wire, content_type_of
from perdure.deciders.code.authoring import Action
from perdure.model.codec import Codec, Serializer
from perdure.model.duration import Span, span_us
from perdure.model.limits import Limits
from perdure.ports.clock import Clock, Entropy
from perdure.ports.system import SystemClock, SystemEntropy
from perdure.workers.executors import LocalPerformer
from perdure.workers.worker import Surroundings, WorkerOptions, WorkerService


class Worker:
    """Performs actions for nodes elsewhere. ``async with Worker("amqp://broker", [crop, upload]) as worker: await stop.wait()``

    The actions are those of the queues that they name, ``"default"`` for those that name none. ``slots``: attempts at once, of all actions
    together. ``namespace``: that of the nodes, when ``connect`` is the URL of their store. ``token``: when it is that of the HTTP API,
    ``env:NAME`` or ``file:PATH`` of its token, if not ``PERDURE_API_TOKEN``.
    ``wire``: the encoding of what it says; it reads both. ``processes``: how many of the actions that run in processes do so at once; as
    many as there are processors if not said. ``interval``: between two beats; a worker that was not heard of for three is stale.
    ``drain``: how long `close` waits for attempts under way. ``blocked_max``: an event loop that is blocked for longer loses its attempts
    to other workers. ``name``: its id begins so. ``codecs`` and ``known_codecs``: as those of the engine whose calls it takes.
    """

    def __init__(
        self,
        connect: str | Connection,
        actions: Sequence[Action[..., Any]],
        *,
        namespace: str | None = None,
        token: str | None = None,
        wire: Wire = "json",
        slots: int = 32,
        processes: int | None = None,
        interval: Span = "3s",
        drain: Span = "30s",
        blocked_warn: Span = "1s",
        blocked_max: Span = "1m",
        name: str | None = None,
        codecs: Sequence[Codec] = (),
        known_codecs: Sequence[Codec] = (),
        limits: Limits | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        own_clock, own_limits = clock or SystemClock(), limits or Limits()
        terms = Terms(limits=own_limits, namespace=namespace, token=token, content_type=content_type_of(wire))
        connection = connection_of(connect, own_clock, terms) if isinstance(connect, str) else connect
        serializer = Serializer(codecs, known_codecs, own_limits.payload_bytes_max)
        performer = LocalPerformer(own_clock, serializer, slots, processes_max=processes, records=connection.store)
        options = WorkerOptions(
            name=name or f"{socket.gethostname()}-{os.getpid()}",
            slots=slots,
            interval_us=span_us(interval),
            drain_us=span_us(drain),
            blocked_warn_us=span_us(blocked_warn),
            blocked_max_us=span_us(blocked_max),
            content_type=terms.content_type,
        )
        around = Surroundings(
            connection.transport, connection.reporter, performer, own_clock, entropy or SystemEntropy(), connection.connect
        )
        self._service = WorkerService(around, [action.spec for action in actions], options)
        self._connection = connection

    @property
    def id(self) -> str:
        """Names this worker, and no other one ever."""
        return self._service.id

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return self._service.running

    @property
    def is_away(self) -> bool:
        """Tell whether the nodes cannot be told anything now; it is tried again without end."""
        return self._service.is_away

    @property
    def place(self) -> str:
        """What it is connected to, without secrets."""
        return self._connection.transport.name

    async def open(self) -> Self:
        """The worker takes calls, and the nodes hear of it. Raises `TransportUnavailable`, `StoreUnavailable`, `InvalidOption`,
        `NamespaceNotFound`.
        """
        if self._connection.check is not None:
            await self._connection.check()
        store = self._connection.store
        if store is not None:
            await store.open()
        try:
            await self._service.open()
        except BaseException:
            if store is not None:
                await store.close()
            raise
        return self

    async def close(self) -> int:
        """Nothing new was begun, attempts under way have ended or their ``drain`` time has, and the nodes know what came of them and that
        this worker has left. Gives how many attempts were given up.
        """
        left = await self._service.close()
        if self._connection.store is not None:
            await self._connection.store.close()
        return left

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
