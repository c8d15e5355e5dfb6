"""All that an engine needs to have calls performed elsewhere: transports, who hears what workers say, and a performer for each node."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from perdure.app.services import service_callers
from perdure.app.transports import make_transport, scheme_of
from perdure.callbacks.performer import CallbackPerformer
from perdure.config import settings
from perdure.model.codec import Serializer
from perdure.model.errors import PerdureError, Unavailable
from perdure.model.limits import Limits
from perdure.permits.performer import LimitedPerformer
from perdure.permits.turnstile import Place
from perdure.ports.clock import Clock, pause
from perdure.ports.performer import Performer
from perdure.ports.store import Store
from perdure.ports.transport import Transport
from perdure.remote.carriers import Carrier, DirectCarrier, QueueCarrier
from perdure.remote.directory import STORE, Directory
from perdure.remote.hearing import Hearing
from perdure.remote.performer import RemotePerformer
from perdure.remote.reporting import StoreReporter
from perdure.remote.routed import RoutedPerformer
from perdure.wire.attempts import Sender
from perdure.wire.messages import Outcome

logger = logging.getLogger("perdure")

PAUSE_FIRST_US = 200_000
PAUSE_MAX_US = 10_000_000
FIRST_TRY_S = 2.0
"""A node waits so long for a broker's first answer before it begins."""


class Outfit(Struct, frozen=True):
    """With what calls leave. ``transports``: of brokers, beside the store itself. ``content_type``: the encoding of messages.
    ``api_url``: as `perdure.config.Settings` has it, unless it is given.
    """

    transports: Sequence[str | Transport]
    content_type: str
    serializer: Serializer
    limits: Limits
    api_url: str | None = None


class Calling:
    def __init__(self, store: Store, clock: Clock, sender: Sender, outfit: Outfit) -> None:
        self._store = store
        self._clock = clock
        self._sender = sender
        self._serializer = outfit.serializer
        self._inline_max = outfit.limits.payload_inline_max
        self._content_type = outfit.content_type
        self._brokers: dict[str, Transport] = {}
        for given in outfit.transports:
            transport = make_transport(given) if isinstance(given, str) else given
            self._brokers[scheme_of(transport.name)] = transport
        self._api_url = settings().api_url if outfit.api_url is None else outfit.api_url
        self._callers = service_callers(store, clock, outfit.serializer, self._api_url)
        self._hearings: list[Hearing] = []
        self._opening: list[asyncio.Task[None]] = []
        self._queue: Transport | None = None
        self._performer: RemotePerformer | None = None

    def performer(self, here: Performer, *, is_serving: bool) -> Performer:
        """Give the performer of a new node, whose own actions ``here`` performs."""
        carriers = self._carriers()
        directory = Directory(self._store, self._clock, list(carriers))
        self._performer = RemotePerformer(directory, carriers, self._clock, self._sender)
        routed = RoutedPerformer(here, self._performer, is_serving=is_serving)
        place = Place(self._store, self._clock, node=self._sender.node, lease_us=self._sender.lease_ms * 1_000)
        limited = LimitedPerformer(routed, place, self._serializer, directory.limit)
        return CallbackPerformer(limited, self._store, self._clock, serializer=self._serializer, api_url=self._api_url)

    def _carriers(self) -> Mapping[str, Carrier]:
        queues = {
            scheme: QueueCarrier(transport, is_open=scheme in self._brokers, content_type=self._content_type)
            for scheme, transport in self._transports().items()
        }
        return {**queues, **{scheme: DirectCarrier(caller) for scheme, caller in self._callers.items()}}

    def _transports(self) -> dict[str, Transport]:
        from perdure.transports.database import DatabaseTransport

        if self._queue is None:
            self._queue = DatabaseTransport(self._store, self._clock)
        return {STORE: self._queue, **self._brokers}

    def hear(self, told: Outcome) -> "asyncio.Future[None] | None":
        """As `RemotePerformer.hear`; nothing is here while there is no node."""
        return None if self._performer is None else self._performer.hear(told)

    async def open(self, *, if_refused: Callable[[], Awaitable[None]]) -> None:
        """Brokers are connected, or being connected to: one that is away is tried again until it is there. Raises `InvalidOption` for one
        that refuses at once what its URL says, after ``if_refused`` has closed what was open.
        """
        try:
            if self._brokers:
                await self._try_each()
        except BaseException:
            await if_refused()
            raise

    async def _try_each(self) -> None:
        loop = asyncio.get_running_loop()
        first: list[asyncio.Future[None]] = [loop.create_future() for _ in self._brokers]
        for (scheme, transport), tried in zip(self._brokers.items(), first, strict=True):
            self._opening.append(loop.create_task(self._open(scheme, transport, tried)))
        # A broker that does not even refuse holds up nobody: the others, and what needs no broker, go on.
        done, late = await asyncio.wait(first, timeout=FIRST_TRY_S)
        for tried in late:
            tried.cancel()
        for error in [tried.exception() for tried in done]:
            if error is not None:
                raise error

    async def _open(self, scheme: str, transport: Transport, tried: "asyncio.Future[None]") -> None:
        pause_us, complaint = PAUSE_FIRST_US, ""
        while True:
            try:
                await self._connect(scheme, transport)
            except PerdureError as error:
                if not isinstance(error, Unavailable) and not tried.done():
                    tried.set_exception(error)
                    return
                complaint = _complain(error, complaint)
            else:
                if complaint:
                    logger.info("the transport %s is there", transport.name)
                break
            finally:
                if not tried.done():
                    tried.set_result(None)
            await pause(self._clock, pause_us)
            pause_us = min(2 * pause_us, PAUSE_MAX_US)

    async def _connect(self, scheme: str, transport: Transport) -> None:
        await transport.open()
        reporter = StoreReporter(self._store, self._clock, inline_max=self._inline_max, transport=scheme)
        hearing = Hearing(transport, self, reporter)
        await hearing.open()
        self._hearings.append(hearing)

    async def close(self) -> None:
        """Nothing is sent or heard any more."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        self._opening.clear()
        for hearing in self._hearings:
            await hearing.close()
        self._hearings.clear()
        for caller in self._callers.values():
            await caller.close()
        for transport in self._transports().values():
            await transport.close()


def _complain(error: PerdureError, before: str) -> str:
    """Log what is wrong, once for as long as it is the same; gives it."""
    said = str(error)
    level = logging.DEBUG if said == before else logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
    logger.log(level, "not connected, and tried again until it is: %s", said)
    return said
