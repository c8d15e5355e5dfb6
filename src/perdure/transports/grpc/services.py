"""Performs calls whose actions are methods of gRPC services. Protects from services that are slow, away, or not what they were."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from msgspec import convert, json, structs

from perdure.model import call as model
from perdure.model.codec import Serializer
from perdure.model.errors import ActionFailed, PerdureError, ServiceUnavailable
from perdure.model.failure import Failure, error_types, failure_of
from perdure.model.registry import ServiceRecord
from perdure.ports.clock import Clock
from perdure.transports.grpc.addresses import GrpcOptions, address_of
from perdure.transports.grpc.arguments import Arguments, arguments_of
from perdure.transports.grpc.channels import Secrets
from perdure.transports.grpc.descriptions import Description
from perdure.transports.grpc.peers import Peer
from perdure.transports.grpc.statuses import outcome_of_status
from perdure.wire.attempts import attempt_of, wire_outcome
from perdure.wire.headers import grpc_metadata, headers_of
from perdure.wire.messages import Call, Outcome

_SECOND_US = 1_000_000


class GrpcServices:
    """All services that a process calls, by address, each over one channel. ``serializer``: reads arguments and writes values, codecs
    included. All methods may be called from several tasks of one event loop.
    """

    def __init__(self, clock: Clock, serializer: Serializer, *, secrets: Secrets) -> None:
        self._clock = clock
        self._serializer = serializer
        self._secrets = secrets
        self._peers: dict[str, Peer] = {}
        self._retired: list[Peer] = []
        self._is_closed = False

    async def open(self) -> None:
        """Calls can be made, also after `close`. Nothing is connected yet: each channel is opened by its first call."""
        self._is_closed = False

    async def close(self) -> None:
        """All channels are closed, calls under way have ended as unavailable; safe to call twice."""
        self._is_closed = True
        peers = [*self._peers.values(), *self._retired]
        self._peers.clear()
        self._retired.clear()
        for peer in peers:
            await peer.close()

    def learn(self, service: ServiceRecord) -> None:
        """The methods of a registered service can be called without asking it first. Safe to call again; new options take effect.

        Raises `InvalidDescriptors` and `InvalidOption` for a record that cannot be used.
        """
        options = convert(json.decode(service.options), GrpcOptions) if service.options else GrpcOptions()
        self._peer(service.address, options).learn(service.descriptors)

    async def describe(self, address: str, options: GrpcOptions | None = None) -> Description:
        """Ask the service at an address for all that it offers. Raises `NoReflection`, `ServiceUnavailable`, `InvalidOption` for an
        address or credentials that cannot be right, `InvalidDescriptors`.
        """
        return await self._peer(address, options or GrpcOptions()).describe()

    async def perform(self, call: Call, address: str, method: str) -> Outcome:
        """Perform an attempt and give its outcome, whatever the service does: only cancellation is raised, and reaches the service.

        The deadline is that of the attempt, and none if it has none.
        """
        started_us = self._clock.now_us()
        try:
            attempt = attempt_of(call, model.ActionSpec(name=method))
            value = await self._exchange(attempt, dict(grpc_metadata(headers_of(call))), address, method)
            outcome = model.Outcome(content=self._serializer.encode(value, "the value", method))
        except grpc.aio.AioRpcError as error:
            outcome = outcome_of_status(error, method, address)
        except PerdureError as error:
            failure = failure_of(error, is_final=error.kind != "unavailable")
            outcome = model.Outcome(failure=failure, error_types=error_types(error))
        took_us = max(0, self._clock.now_us() - started_us)
        return wire_outcome(call.id, structs.replace(self._hidden(outcome), took_us=took_us), worker=address)

    async def call(self, address: str, method: str, *, arguments: Sequence[Any], timeout: float | None) -> Any:
        """Call a method once, outside of any run, and give its value. Raises `ActionFailed` with the status, and errors of ours."""
        peer = self._peer(address, None)
        found = await peer.method(method)
        given = arguments_of(method, found.kind, arguments, {})
        try:
            return await _guarded(peer.call(found, given.requests, metadata=given.metadata, timeout=timeout), address)
        except grpc.aio.AioRpcError as error:
            failure = self._hidden(outcome_of_status(error, method, address)).failure
            assert failure is not None
            raise ActionFailed(type=failure.type, message=failure.message) from error

    async def _exchange(self, attempt: model.Attempt, metadata: Mapping[str, str], address: str, method: str) -> Any:
        if self._is_closed:
            raise ServiceUnavailable(address=address, problem="this node is closing")
        peer = self._peer(address, None)
        found = await _guarded(peer.method(method), address)
        args = [self._serializer.decode(content, what="an argument", of=method) for content in attempt.args]
        kwargs = {
            name: self._serializer.decode(content, what=f"the argument {name}", of=method) for name, content in attempt.kwargs.items()
        }
        given: Arguments = arguments_of(method, found.kind, args, kwargs)
        timeout = self._timeout(attempt)
        if timeout is not None and timeout <= 0:
            # For the library, 0 is no deadline at all.
            raise _overdue()
        return await _guarded(peer.call(found, given.requests, metadata={**given.metadata, **metadata}, timeout=timeout), address)

    def _hidden(self, outcome: model.Outcome) -> model.Outcome:
        """A service may repeat in an error what it was sent: secrets do not come back with it."""
        failure = outcome.failure
        if failure is None:
            return outcome
        message = failure.message
        for peer in self._peers.values():
            message = peer.hide(message)
        shown = failure if message == failure.message else Failure(failure.type, message, is_final=failure.is_final)
        return structs.replace(outcome, failure=shown)

    def _timeout(self, attempt: model.Attempt) -> float | None:
        ends = [attempt.end_us - self._clock.now_us()] if attempt.end_us is not None else []
        if attempt.spec.timeout_us is not None:
            ends.append(attempt.spec.timeout_us)
        return min(ends) / _SECOND_US if ends else None

    def _peer(self, address: str, options: GrpcOptions | None) -> Peer:
        """Other options than before take a new channel; the old one serves the calls that it has, until all is closed."""
        found = address_of(address)
        known = self._peers.get(found.url)
        if known is not None and options in (None, known.options):
            return known
        if known is not None:
            self._retired.append(known)
        self._peers[found.url] = Peer(found, options or GrpcOptions(), self._secrets)
        return self._peers[found.url]


def _overdue() -> grpc.aio.AioRpcError:
    details = "its time was over before it could be sent"
    return grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


async def _guarded(exchange: Any, address: str) -> Any:
    """Give what the exchange gives. A channel that is closed under it cancels it: that is not its caller's own cancellation."""
    task = asyncio.current_task()
    try:
        return await exchange
    except asyncio.CancelledError:
        if task is not None and task.cancelling():
            raise
        raise ServiceUnavailable(address=address, problem="the channel was closed") from None
    except grpc.aio.UsageError as error:
        raise ServiceUnavailable(address=address, problem=str(error).rstrip(".")) from error
