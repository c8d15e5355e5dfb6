"""Asks a service for its own descriptors by server reflection: version v1, else v1alpha, whose messages are the same.

Source: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2 as messages

from perdure.model.errors import InvalidDescriptors, InvalidOption, NoReflection, ServiceUnavailable
from perdure.transports.grpc.descriptors import Descriptors, is_reflection

Metadata = Sequence[tuple[str, str]]

_VERSIONS: Final = ("v1", "v1alpha")
_ASKED_MAX: Final = 3
_OVERTAKEN: Final = "Internal error from Core"
"""So the client calls a question that the end of its stream has overtaken, and may forget how the stream ended: it is asked once more."""
_REFUSED: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


async def reflect(channel: grpc.aio.Channel, address: str, *, metadata: Metadata, timeout: float) -> tuple[Descriptors, list[str]]:
    """Give the descriptors of all services at an address, and the names of those that it lists without having a descriptor.

    Raises `NoReflection`, `ServiceUnavailable`, `InvalidOption` where the credentials are refused, `InvalidDescriptors`.
    """
    for version in _VERSIONS:
        method = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=messages.ServerReflectionRequest.SerializeToString,
            response_deserializer=messages.ServerReflectionResponse.FromString,
        )
        try:
            return await _converse(partial(method, metadata=tuple(metadata), timeout=timeout), address)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise _refusal(error, address) from error
    raise NoReflection(address=address)


async def _converse(begin: Callable[[], Any], address: str) -> tuple[Descriptors, list[str]]:
    left = _ASKED_MAX
    while True:
        left -= 1
        stream = begin()
        try:
            return await _Dialogue(stream, address).whole()
        except grpc.aio.AioRpcError as error:
            if error.details() != _OVERTAKEN or not left:
                raise
        finally:
            stream.cancel()


class _Dialogue:
    """One stream of questions, each answered before the next."""

    def __init__(self, stream: Any, address: str) -> None:
        self._stream = stream
        self._address = address
        self._files: dict[str, FileDescriptorProto] = {}

    async def whole(self) -> tuple[Descriptors, list[str]]:
        undescribed: list[str] = []
        listed = await self._ask(messages.ServerReflectionRequest(list_services="*"))
        if listed.HasField("error_response"):
            raise ServiceUnavailable(address=self._address, problem=f"its reflection says {listed.error_response.error_message!r}")
        for service in sorted(entry.name for entry in listed.list_services_response.service):
            if is_reflection(service):
                continue
            answer = await self._ask(messages.ServerReflectionRequest(file_containing_symbol=service))
            if answer.HasField("error_response"):
                undescribed.append(service)
                continue
            self._take(answer.file_descriptor_response.file_descriptor_proto)
        await self._complete()
        return Descriptors([self._files[name] for name in sorted(self._files)], self._address), undescribed

    async def _complete(self) -> None:
        """Some services send a file with all that it imports, others send it alone. What they do not have, perhaps we have."""
        asked: set[str] = set()
        while missing := self._imported() - self._files.keys() - asked:
            for name in sorted(missing):
                asked.add(name)
                answer = await self._ask(messages.ServerReflectionRequest(file_by_filename=name))
                self._take(answer.file_descriptor_response.file_descriptor_proto)

    def _imported(self) -> set[str]:
        return {name for file in self._files.values() for name in file.dependency}

    def _take(self, files: Iterable[bytes]) -> None:
        for data in files:
            try:
                file = FileDescriptorProto.FromString(data)
            except DecodeError as error:
                raise InvalidDescriptors(what=self._address, problem="its reflection sent something else") from error
            self._files.setdefault(file.name, file)

    async def _ask(self, request: messages.ServerReflectionRequest) -> messages.ServerReflectionResponse:
        try:
            await self._stream.write(request)
            answer = await self._stream.read()
        except grpc.aio.AioRpcError as error:
            # A question that the end of the stream has overtaken is called an internal error; the stream knows how it really ended.
            if error.code() is grpc.StatusCode.INTERNAL:
                await _raise_for_status(self._stream, self._address)
            raise
        if answer is grpc.aio.EOF:
            # An orderly end in the middle of the dialogue, or an error that read() leaves to whoever asks for the status.
            await _raise_for_status(self._stream, self._address)
        return answer  # type: ignore[no-any-return]  # Streams have no types of their messages.


async def _raise_for_status(stream: Any, address: str) -> None:
    code = await stream.code()
    if code is not grpc.StatusCode.OK:
        details = await stream.details()
        raise grpc.aio.AioRpcError(code, await stream.initial_metadata(), await stream.trailing_metadata(), details)
    raise ServiceUnavailable(address=address, problem="its reflection ended the conversation")


def _refusal(error: grpc.aio.AioRpcError, address: str) -> Exception:
    code = error.code()
    found = f"{code.name}: {error.details()}"
    if code in _REFUSED:
        return InvalidOption(option=f"the credentials for {address}", found=found, expected="a token or metadata that it accepts")
    return ServiceUnavailable(address=address, problem=found.rstrip("."))
