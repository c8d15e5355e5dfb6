"""Services that a node calls itself: workers with a URL, and registered gRPC services. Their products are imported when one is called."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from perdure.app.grpc import GrpcCalling
from perdure.control.receipts import receipt_secret
from perdure.model.codec import Serializer
from perdure.model.registry import ActionRecord
from perdure.ports.clock import Clock
from perdure.ports.store import Store
from perdure.wire.messages import Call, Outcome

if TYPE_CHECKING:
    from perdure.transports.http import HttpPush


class ClosableCaller(Protocol):
    """A caller, as a node's carriers take it, with what it holds."""

    async def perform(self, call: Call, address: str, record: ActionRecord | None) -> Outcome | None:
        """As `perdure.remote.carriers.Caller` says."""
        ...

    async def close(self) -> None:
        """No service is spoken to any more; safe to call twice."""
        ...


class PushCalling:
    """Calls workers that have a URL. ``api_url``: where they reach the HTTP API, if they answer later."""

    def __init__(self, store: Store, clock: Clock, api_url: str) -> None:
        self._store = store
        self._clock = clock
        self._api_url = api_url
        self._push: HttpPush | None = None

    async def perform(self, call: Call, address: str, record: ActionRecord | None) -> Outcome | None:
        """As `perdure.transports.http.HttpPush.perform`."""
        secret = await receipt_secret(self._store) if self._push is None else b""
        if self._push is None:
            from perdure.transports.http import HttpPush

            self._push = HttpPush(self._clock, secret=secret, api_url=self._api_url)
        return await self._push.perform(call, address, record)

    async def close(self) -> None:
        """No worker is spoken to any more; safe to call twice."""
        if self._push is not None:
            await self._push.close()


def service_callers(store: Store, clock: Clock, serializer: Serializer, api_url: str) -> dict[str, ClosableCaller]:
    """Give what calls services, by scheme; of those whose extra is not installed, calls wait for a node that has it."""
    callers: dict[str, ClosableCaller] = {}
    if find_spec("httpx") is not None:
        callers["http"] = PushCalling(store, clock, api_url)
    grpc = GrpcCalling(store, clock, serializer)
    if grpc.callers:
        callers["grpc"] = grpc
    return callers
