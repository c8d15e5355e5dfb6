"""Descriptors of one service, in a pool of their own: two services may have files of one name and other content."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from perdure.model.errors import InvalidDescriptors

# What every installation of protobuf has; some services and some sets leave it out.
_WELL_KNOWN: Final = (
    descriptor_pb2, any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2,
    source_context_pb2, type_pb2, api_pb2,
)  # fmt: skip
_SERVICES_FIELD: Final = FileDescriptorProto.SERVICE_FIELD_NUMBER
_METHODS_FIELD: Final = descriptor_pb2.ServiceDescriptorProto.METHOD_FIELD_NUMBER


class Descriptors:
    """The files of one service and all that they import, whole and consistent. ``what`` is what errors call it."""

    def __init__(self, files: Iterable[FileDescriptorProto], what: str) -> None:
        self._what = what
        self._files = {file.name: file for file in files}
        self.pool = DescriptorPool()
        self._order: list[FileDescriptorProto] = []
        for name in self._files:
            self._add(name, [])

    @property
    def serialized(self) -> bytes:
        """The files as a ``FileDescriptorSet``, what is imported before what imports it; the same files give the same bytes."""
        return FileDescriptorSet(file=self._order).SerializeToString(deterministic=True)

    def services(self) -> Iterator[ServiceDescriptor]:
        """Give every service of the files, but reflection itself."""
        for file in self._order:
            for service in self.pool.FindFileByName(file.name).services_by_name.values():
                if not is_reflection(service.full_name):
                    yield service

    def message_class(self, descriptor: Descriptor) -> type[Message]:
        """Give the class of a message, made at run time."""
        found: type[Message] = GetMessageClass(descriptor)
        return found

    def comments(self) -> dict[str, str]:
        """Give the comments of services and methods by full name, where the files have kept them."""
        return {name: text for file in self._order for name, text in _comments(file)}

    def _add(self, name: str, path: list[str]) -> None:
        if any(file.name == name for file in self._order):
            return
        if name in path:
            raise self._unusable(f"its files import each other: {' -> '.join([*path, name])}")
        file = self._files.get(name) or _well_known(name)
        if file is None:
            raise self._unusable(f"{path[-1] if path else 'it'} imports {name}, which is not among them")
        for imported in file.dependency:
            self._add(imported, [*path, name])
        self._order.append(file)
        try:
            self.pool.Add(file)
            self.pool.FindFileByName(name)
        except (TypeError, KeyError) as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, problem: str) -> InvalidDescriptors:
        return InvalidDescriptors(what=self._what, problem=problem.rstrip("."))


def is_reflection(service: str) -> bool:
    """Tell whether a service is server reflection."""
    return service.startswith("grpc.reflection.")


def descriptors_in(data: bytes, what: str) -> Descriptors:
    """Read a serialized ``FileDescriptorSet``. Raises `InvalidDescriptors`."""
    found = FileDescriptorSet()
    try:
        found.ParseFromString(data)
    except DecodeError as error:
        raise InvalidDescriptors(what=what, problem="it is no FileDescriptorSet") from error
    if not any(file.service for file in found.file):
        raise InvalidDescriptors(what=what, problem="there is no service in it")
    return Descriptors(found.file, what)


def _well_known(name: str) -> FileDescriptorProto | None:
    for module in _WELL_KNOWN:
        descriptor: Any = module.DESCRIPTOR
        if descriptor.name == name:
            return FileDescriptorProto.FromString(descriptor.serialized_pb)
    return None


def _comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    prefix = f"{file.package}." if file.package else ""
    for location in file.source_code_info.location:
        text = "\n".join(line.strip() for line in location.leading_comments.strip().splitlines())
        if not text:
            continue
        match [*location.path]:
            case [field, service] if field == _SERVICES_FIELD:
                yield prefix + file.service[service].name, text
            case [field, service, inner, method] if field == _SERVICES_FIELD and inner == _METHODS_FIELD:
                yield f"{prefix}{file.service[service].name}/{file.service[service].method[method].name}", text
            case _:
                pass
