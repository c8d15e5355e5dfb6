"""One service that is spoken to: its channel, and the methods that are known of it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from msgspec import Struct

from perdure.model.errors import ActionNotFound, ServiceUnavailable
from perdure.transports.grpc.addresses import Address, GrpcOptions
from perdure.transports.grpc.channels import Secrets, open_channel, standing_metadata
from perdure.transports.grpc.descriptions import Description, Kind, description_of, full_name, kind_of
from perdure.transports.grpc.descriptors import Descriptors, descriptors_in
from perdure.transports.grpc.invoking import Terms, invoke
from perdure.transports.grpc.json_mapping import to_message, to_value
from perdure.transports.grpc.reflection import reflect

DESCRIBE_S = 10.0
"""How long a service may take to describe itself."""
_HIDDEN = "•••"


class Method(Struct, frozen=True):
    """A method and the pool in which its messages are made."""

    descriptor: MethodDescriptor
    kind: Kind
    descriptors: Descriptors

    @property
    def name(self) -> str:
        """In full: ``users.v1.Users/List``."""
        return full_name(self.descriptor)


class Peer:
    """The channel connects when it is first used, and is used for every call until it is closed."""

    def __init__(self, address: Address, options: GrpcOptions, secrets: Secrets) -> None:
        options.check(address)
        self.address = address
        self.options = options
        self._secrets = secrets
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Method] = {}
        self._learned: set[bytes] = set()
        self._asking = asyncio.Lock()
        self._told: set[str] = set()

    def learn(self, data: bytes) -> None:
        """Methods of these descriptors are known. Raises `InvalidDescriptors`."""
        if data not in self._learned:
            self._take(descriptors_in(data, self.address.url))
            self._learned.add(data)

    async def describe(self) -> Description:
        """Ask the service for all that it offers, which is known from now on. Raises as `perdure.transports.grpc.reflection.reflect`."""
        found, undescribed = await reflect(self._open(), self.address.url, metadata=self._metadata({}), timeout=DESCRIBE_S)
        self._take(found)
        return description_of(found, undescribed)

    async def method(self, name: str) -> Method:
        """Give a method. A service of which nothing is known is asked. Raises `ActionNotFound`, and as `describe`."""
        if not self._methods:
            async with self._asking:
                if not self._methods:
                    await self.describe()
        found = self._methods.get(name)
        if found is None:
            known = ", ".join(sorted(self._methods)[:20]) or "none"
            raise ActionNotFound(name=name, where=f" at {self.address.url}", known=known)
        return found

    async def call(self, method: Method, requests: Sequence[Any], *, metadata: Mapping[str, str], timeout: float | None) -> Any:
        """Give the value of the answer: of one message, or a list of them. Raises ``grpc.aio.AioRpcError`` and errors of ours."""
        taken, given = method.descriptor.input_type, method.descriptor.output_type
        data = [to_message(value, taken, method.descriptors, what=_place(method, number)) for number, value in enumerate(requests)]
        terms = Terms(self.options, self._metadata(metadata), timeout)
        answers = await invoke(self._open(), method.name, method.kind, data, terms)
        values = [to_value(answer, given, method.descriptors, what=f"The answer of {method.name}") for answer in answers]
        return values if method.kind.gives_many else values[0]

    def hide(self, text: str) -> str:
        """Give the text without the secrets that were sent as metadata."""
        for secret in sorted(self._told, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return text

    async def close(self) -> None:
        """The channel is closed; calls under way end as unavailable."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _take(self, descriptors: Descriptors) -> None:
        for service in descriptors.services():
            for method in service.methods:
                self._methods[full_name(method)] = Method(method, kind_of(method), descriptors)

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            try:
                self._channel = open_channel(self.address, self.options, self._secrets)
            except (grpc.RpcError, ValueError, RuntimeError) as error:
                raise ServiceUnavailable(address=self.address.url, problem=str(error)) from error
        return self._channel

    def _metadata(self, own: Mapping[str, str]) -> list[tuple[str, str]]:
        return [*{**dict(standing_metadata(self.options, self._reveal)), **own}.items()]

    def _reveal(self, reference: str) -> str:
        secret = self._secrets(reference)
        if secret:
            self._told.add(secret)
        return secret


def _place(method: Method, number: int) -> str:
    return f"{method.name} (message {number})" if method.kind.takes_many else method.name
