"""gRPC services as nodes and commands reach them: the way to that adapter, which needs the extra ``grpc``."""

import asyncio
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from perdure.config import secret_of
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidOption, Unsupported
from perdure.model.registry import ActionRecord, ServiceRecord
from perdure.ports.clock import Clock
from perdure.ports.records import Records
from perdure.wire.messages import Call, Outcome

if TYPE_CHECKING:
    from perdure.transports import grpc as adapter


class GrpcService(Struct, frozen=True, kw_only=True):
    """A service that somebody names. ``descriptor_set``: the file that describes it, where it has no reflection. ``channel``: the options
    of `perdure.transports.grpc.GrpcOptions` that are not the default.
    """

    address: str
    descriptor_set: str | Path | None = None
    channel: Mapping[str, Any] = field(default_factory=dict)


def open_grpc_services(clock: Clock, serializer: Serializer) -> "adapter.GrpcServices":
    """Give what performs calls of gRPC methods. Raises `Unsupported` without the extra."""
    _require()
    from perdure.transports import grpc as adapter

    return adapter.GrpcServices(clock, serializer, secrets=secret_of)


async def describe_grpc_service(service: GrpcService, clock: Clock) -> "adapter.Description":
    """Give what a service offers. Raises `NoReflection`, `ServiceUnavailable`, `InvalidDescriptors`, `InvalidOption`, `Unsupported`."""
    options = _options(service)
    from perdure.transports import grpc as adapter

    options.check(adapter.address_of(service.address))
    if service.descriptor_set is not None:
        return adapter.describe_file(service.descriptor_set)
    services = open_grpc_services(clock, Serializer())
    try:
        return await services.describe(service.address, options)
    finally:
        await services.close()


async def register_grpc_service(
    records: Records, service: GrpcService, clock: Clock, *, name: str = "", has_precedence: bool = False
) -> tuple["adapter.Registered", list[str]]:
    """The service's methods are actions; gives what was registered, and the services that it lists and could not describe.

    ``name``: of the service, its address if empty; a service of that name is replaced. ``has_precedence``: actions are taken from
    services of other names. Raises as `describe_grpc_service`, and `ActionConflict`.
    """
    description = await describe_grpc_service(service, clock)
    from perdure.transports import grpc as adapter

    given = adapter.Registration(
        address=service.address, description=description, name=name, options=_options(service), has_precedence=has_precedence
    )
    return await adapter.register(records, given, now_us=clock.now_us()), description.undescribed


async def registered_grpc_services(records: Records) -> list[ServiceRecord]:
    """Give every service that was ever registered, by name."""
    _require()
    from perdure.transports import grpc as adapter

    return await adapter.registered_services(records)


async def call_grpc_method(service: GrpcService, clock: Clock, method: str, *, arguments: Sequence[Any], timeout: float | None) -> Any:
    """Call a method once, outside of any run, and give its value. Raises `ActionFailed` with the status, and as `describe_grpc_service`."""
    services = open_grpc_services(clock, Serializer())
    try:
        await services.open()
        description = await describe_grpc_service(service, clock)
        options = msgspec.Raw(msgspec.json.encode(_options(service)))
        services.learn(
            ServiceRecord(name=service.address, address=service.address, descriptors=description.descriptors, methods=[], options=options)
        )
        return await services.call(service.address, method, arguments=arguments, timeout=timeout)
    finally:
        await services.close()


def _options(service: GrpcService) -> "adapter.GrpcOptions":
    _require()
    from perdure.transports import grpc as adapter

    try:
        return msgspec.convert({**service.channel}, adapter.GrpcOptions)
    except msgspec.ValidationError as error:
        raise InvalidOption(option="channel", found=str(error), expected="the options of perdure.transports.grpc.GrpcOptions") from error


def _require() -> None:
    try:
        import perdure.transports.grpc  # noqa: F401 — only whether it can be imported matters here.
    except ImportError as error:
        why = "its packages are not installed; pip install 'perdure[grpc]' brings them"
        raise Unsupported(what="gRPC", why=why) from error


class GrpcCalling:
    """What a node needs to call registered services itself. ``callers``: by scheme, as the node's carriers take them; none without the
    extra. The library is loaded by the first call, in a thread: a node that calls no such service does not pay for it.
    """

    callers: "dict[str, GrpcCalling]"
    _services: "adapter.GrpcServices | None"
    _registered: "adapter.RegisteredServices"

    def __init__(self, records: Records, clock: Clock, serializer: Serializer) -> None:
        self._records = records
        self._clock = clock
        self._serializer = serializer
        self._services = None
        self._is_closed = False
        # Without the extra nothing is lost: calls of such actions wait for a node that has it.
        self.callers = dict.fromkeys(("grpc", "grpcs"), self) if _is_installed() else {}

    async def perform(self, call: Call, address: str, record: ActionRecord | None) -> Outcome:
        """As `perdure.transports.grpc.RegisteredServices.perform`."""
        if self._services is None:
            await asyncio.to_thread(_require)
        from perdure.transports import grpc as adapter

        if self._services is None:
            self._services = open_grpc_services(self._clock, self._serializer)
            self._registered = adapter.RegisteredServices(self._records, self._services)
        if self._is_closed:
            await self._services.close()
        return await self._registered.perform(call, address, record)

    async def close(self) -> None:
        """No service is spoken to any more; safe to call twice."""
        self._is_closed = True
        if self._services is not None:
            await self._services.close()


def _is_installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("grpc", "grpc_reflection"))
