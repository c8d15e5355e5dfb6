"""What a service offers, as values: its methods, with JSON Schemas of what goes in and comes out."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor
from msgspec import Raw, Struct, json

from perdure.model.errors import InvalidDescriptors
from perdure.transports.grpc.descriptors import Descriptors, descriptors_in
from perdure.transports.grpc.schemas import input_schema, output_schema


class Kind(StrEnum):
    """How many messages go each way."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    BIDI = "bidi"

    @property
    def takes_many(self) -> bool:
        """Tell whether the client sends a stream."""
        return self in (Kind.CLIENT_STREAM, Kind.BIDI)

    @property
    def gives_many(self) -> bool:
        """Tell whether the server sends a stream."""
        return self in (Kind.SERVER_STREAM, Kind.BIDI)


class MethodDescription(Struct, frozen=True, kw_only=True):
    """One method. ``name``: in full, ``users.v1.Users/List``. The schemas are an action's: of its arguments by name, of its value."""

    name: str
    kind: Kind
    input_schema: Raw
    output_schema: Raw
    description: str = ""


class ServiceDescription(Struct, frozen=True, kw_only=True):
    """One service of those that an address has. ``name``: in full, ``users.v1.Users``."""

    name: str
    methods: list[MethodDescription]
    description: str = ""


class Description(Struct, frozen=True, kw_only=True):
    """All that an address offers. ``descriptors``: the serialized ``FileDescriptorSet`` behind it. ``undescribed``: services that it lists
    and could not describe.
    """

    services: list[ServiceDescription]
    descriptors: bytes
    undescribed: list[str]

    def methods(self) -> list[MethodDescription]:
        """Give the methods of all services."""
        return [method for service in self.services for method in service.methods]


def kind_of(method: MethodDescriptor) -> Kind:
    """Tell how many messages go each way."""
    match method.client_streaming, method.server_streaming:
        case False, False:
            return Kind.UNARY
        case False, True:
            return Kind.SERVER_STREAM
        case True, False:
            return Kind.CLIENT_STREAM
        case _:
            return Kind.BIDI


def full_name(method: MethodDescriptor) -> str:
    """Name a method as its action is named."""
    return f"{method.containing_service.full_name}/{method.name}"


def description_of(descriptors: Descriptors, undescribed: list[str]) -> Description:
    """Describe every service of the files."""
    comments = descriptors.comments()
    services = [
        ServiceDescription(
            name=service.full_name,
            methods=[_describe(method, comments) for method in service.methods],
            description=comments.get(service.full_name, ""),
        )
        for service in descriptors.services()
    ]
    return Description(services=services, descriptors=descriptors.serialized, undescribed=undescribed)


def describe_file(path: str | Path) -> Description:
    """Describe the services of a ``FileDescriptorSet``, as ``protoc --descriptor_set_out=FILE --include_imports`` writes it.

    Raises `InvalidDescriptors`.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InvalidDescriptors(what=str(path), problem=error.strerror or "the file cannot be read") from error
    return description_of(descriptors_in(data, str(path)), [])


def _describe(method: MethodDescriptor, comments: Mapping[str, str]) -> MethodDescription:
    kind, name = kind_of(method), full_name(method)
    taken = input_schema(method.input_type, is_list=kind.takes_many)
    given = output_schema(method.output_type, is_list=kind.gives_many)
    return MethodDescription(
        name=name,
        kind=kind,
        input_schema=Raw(json.encode(taken)),
        output_schema=Raw(json.encode(given)),
        description=comments.get(name, ""),
    )
