"""Makes one call of one method, of any of the four kinds: bytes in, bytes out."""

import re
from collections.abc import Sequence
from typing import Any, Final

import grpc
from msgspec import Struct

from perdure.model.errors import MessageTooLarge, TooManyMessages
from perdure.transports.grpc.addresses import GrpcOptions
from perdure.transports.grpc.descriptions import Kind

Metadata = Sequence[tuple[str, str]]

# How the library says that it would not take an answer; what a server would not take begins with SERVER.
_REFUSED: Final = re.compile(r"CLIENT: .*larger than max \((\d+) vs")


class Terms(Struct, frozen=True):
    """Under which terms a call is made. ``timeout``: seconds, ``None`` for no end."""

    options: GrpcOptions
    metadata: Metadata
    timeout: float | None


async def invoke(channel: grpc.aio.Channel, method: str, kind: Kind, requests: Sequence[bytes], terms: Terms) -> list[bytes]:
    """Give the messages of the answer: one, or those of the stream. A caller that is cancelled cancels the call at the server too.

    Raises ``grpc.aio.AioRpcError`` with the status, `MessageTooLarge` and `TooManyMessages`.
    """
    _check_sizes(requests, terms.options, method)
    stub: Any = _stub(channel, kind)(f"/{method}")
    given: Any = iter(requests) if kind.takes_many else requests[0]
    call = stub(given, metadata=tuple(terms.metadata), timeout=terms.timeout)
    try:
        return await _collect(call, terms.options, method) if kind.gives_many else [await call]
    except grpc.aio.AioRpcError as error:
        if found := _REFUSED.search(error.details() or ""):
            raise MessageTooLarge(what=f"An answer of {method}", size=int(found[1]), limit=terms.options.message_bytes_max) from error
        raise
    finally:
        # After its end this does nothing. Before, it tells the server that nobody listens any more.
        call.cancel()


def _stub(channel: grpc.aio.Channel, kind: Kind) -> Any:
    match kind:
        case Kind.UNARY:
            return channel.unary_unary
        case Kind.SERVER_STREAM:
            return channel.unary_stream
        case Kind.CLIENT_STREAM:
            return channel.stream_unary
        case Kind.BIDI:
            return channel.stream_stream


def _check_sizes(requests: Sequence[bytes], options: GrpcOptions, method: str) -> None:
    largest = max(map(len, requests), default=0)
    if largest > options.message_bytes_max:
        raise MessageTooLarge(what=f"A message for {method}", size=largest, limit=options.message_bytes_max)


async def _collect(call: Any, options: GrpcOptions, method: str) -> list[bytes]:
    found: list[bytes] = []
    size = 0
    async for data in call:
        size += len(data)
        if len(found) == options.messages_max:
            raise TooManyMessages(method=method, limit=options.messages_max)
        if size > options.message_bytes_max:
            raise MessageTooLarge(what=f"The stream of {method}", size=size, limit=options.message_bytes_max)
        found.append(data)
    return found
