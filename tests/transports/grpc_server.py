"""Real gRPC servers for the tests, made at run time from a text in the language of .proto files."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha import reflection_pb2 as messages

USERS = """
syntax = "proto3";
package users.v1;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "users/roles.proto";

// People who can
// log in.
service Users {
  // Gives one user.
  rpc Get(Query) returns (User);
  rpc Watch(Query) returns (stream User);
  rpc Load(stream User) returns (Loaded);
  rpc Chat(stream User) returns (stream User);
  rpc Forget(Query) returns (google.protobuf.Empty);
}

message Query { string id = 1; int32 page_size = 2; google.protobuf.FieldMask mask = 3; }
message Loaded { int32 count = 1; repeated string ids = 2; }
message User {
  string id = 1;
  int64 age = 2;
  Role role = 3;
  repeated string tags = 4;
  map<string, int32> scores = 5;
  oneof contact { string email = 6; string phone = 7; }
  google.protobuf.Timestamp since = 8;
  User manager = 9;
  bytes photo = 10;
  optional string nick = 11;
  double height = 12;
  google.protobuf.StringValue note = 13;
  google.protobuf.Struct extra = 14;
  map<int32, User> team = 15;
  bool is_admin = 16;
  google.protobuf.Duration idle = 17;
  google.protobuf.Any attachment = 18;
  uint64 credit = 19;
  map<bool, string> answers = 20;
  google.protobuf.Value whatever = 21;
  google.protobuf.NullValue nothing = 22;
  uint32 visits = 23;
  float weight = 24;
}
"""
ROLES = 'syntax = "proto3"; package users.v1; enum Role { ROLE_UNSPECIFIED = 0; ADMIN = 1; GUEST = 2; }'
USERS_FILES: Mapping[str, str] = {"users/service.proto": USERS, "users/roles.proto": ROLES}

Handler = Callable[..., Any]


def compiled(sources: Mapping[str, str], folder: Path, *, options: Sequence[str] = ("--include_imports", "--include_source_info")) -> Path:
    """Compile files; gives the file of the descriptor set. The first one is compiled, with what it imports."""
    from grpc_tools import protoc

    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    target = folder / "set.pb"
    known = str(files("grpc_tools") / "_proto")
    line = ["protoc", f"-I{folder}", f"-I{known}", f"--descriptor_set_out={target}", *options, str(folder / next(iter(sources)))]
    assert protoc.main(line) == 0
    return target


class Library:
    """The messages of a descriptor set, for the side of the server."""

    def __init__(self, path: Path) -> None:
        self.files = FileDescriptorSet.FromString(path.read_bytes()).file
        self.pool = DescriptorPool()
        for file in self.files:
            self.pool.Add(file)

    def message(self, name: str) -> Any:
        return GetMessageClass(self.pool.FindMessageTypeByName(name))

    def handlers(self, service: str, methods: Mapping[str, Handler]) -> grpc.GenericRpcHandler:
        descriptor = self.pool.FindServiceByName(service)
        found = {}
        for name, behaviour in methods.items():
            method = descriptor.methods_by_name[name]
            make = {
                (False, False): grpc.unary_unary_rpc_method_handler,
                (False, True): grpc.unary_stream_rpc_method_handler,
                (True, False): grpc.stream_unary_rpc_method_handler,
                (True, True): grpc.stream_stream_rpc_method_handler,
            }[method.client_streaming, method.server_streaming]
            given, taken = GetMessageClass(method.output_type), GetMessageClass(method.input_type)
            found[name] = make(behaviour, request_deserializer=taken.FromString, response_serializer=given.SerializeToString)
        return grpc.method_handlers_generic_handler(service, found)


class LoneFiles:
    """Server reflection as some services do it: each file is sent alone, without what it imports. ``missing``: listed, never described."""

    def __init__(self, version: str, services: Sequence[str], files: Iterable[FileDescriptorProto], missing: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self._services = [*services, *missing, f"grpc.reflection.{version}.ServerReflection"]
        self._files = {file.name: file for file in files}
        handler = grpc.stream_stream_rpc_method_handler(
            self._answer,
            request_deserializer=messages.ServerReflectionRequest.FromString,
            response_serializer=messages.ServerReflectionResponse.SerializeToString,
        )
        self.handlers = grpc.method_handlers_generic_handler(
            f"grpc.reflection.{version}.ServerReflection", {"ServerReflectionInfo": handler}
        )

    async def _answer(self, requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        async for request in requests:
            which = request.WhichOneof("message_request")
            self.asked.append(which)
            if which == "list_services":
                listed = [messages.ServiceResponse(name=name) for name in self._services]
                yield messages.ServerReflectionResponse(list_services_response=messages.ListServiceResponse(service=listed))
                continue
            wanted = getattr(request, which)
            file = self._files.get(wanted) or self._containing(wanted)
            if file is None:
                yield messages.ServerReflectionResponse(error_response=messages.ErrorResponse(error_code=5, error_message="not found"))
                continue
            found = messages.FileDescriptorResponse(file_descriptor_proto=[file.SerializeToString()])
            yield messages.ServerReflectionResponse(file_descriptor_response=found)

    def _containing(self, symbol: str) -> FileDescriptorProto | None:
        for file in self._files.values():
            if any(f"{file.package}.{service.name}" == symbol for service in file.service):
                return file
        return None


class Users:
    """The service of the tests. ``overrides`` replace its methods; metadata of the last call is kept."""

    def __init__(self, library: Library, **overrides: Handler) -> None:
        self.user = library.message("users.v1.User")
        self.loaded = library.message("users.v1.Loaded")
        self.metadata: dict[str, Any] = {}
        self.calls = 0
        self.cancelled = asyncio.Event()
        self.begun = asyncio.Event()
        self.methods = {"Get": self.get, "Watch": self.watch, "Load": self.load, "Chat": self.chat, **overrides}

    def _note(self, context: Any) -> None:
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())

    async def get(self, request: Any, context: Any) -> Any:
        self._note(context)
        return self.user(id=request.id, age=2**40, tags=["new"])

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._note(context)
        for number in range(request.page_size):
            yield self.user(id=f"{request.id}-{number}")

    async def load(self, requests: AsyncIterator[Any], context: Any) -> Any:
        self._note(context)
        ids = [request.id async for request in requests]
        return self.loaded(count=len(ids), ids=ids)

    async def chat(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        self._note(context)
        async for request in requests:
            yield self.user(id=f"re: {request.id}")

    async def hang(self, request: Any, context: Any) -> Any:
        """Never answer; tell when the client has gone."""
        self._note(context)
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def hang_in_stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Answer once, then never again."""
        yield self.user(id="first")
        await self.hang(request, context)


def failing(code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, Any], ...] = ()) -> Callable[..., Awaitable[Any]]:
    """Give a method that always ends with that status."""

    async def fail(request: Any, context: Any) -> Any:
        context.set_trailing_metadata(trailing)
        await context.abort(code, details)

    return fail


@asynccontextmanager
async def serving(
    *handlers: grpc.GenericRpcHandler, port: int = 0, credentials: grpc.ServerCredentials | None = None, alpha: Library | None = None
) -> AsyncIterator[int]:
    """Give the port of a server with these handlers. ``alpha``: it describes ``users.v1.Users`` by reflection v1alpha, as grpcio does."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers)
    if alpha is not None:
        reflection.enable_server_reflection(["users.v1.Users", reflection.SERVICE_NAME], server, pool=alpha.pool)
    place = f"localhost:{port}"
    found = server.add_insecure_port(place) if credentials is None else server.add_secure_port(place, credentials)
    await server.start()
    try:
        yield found
    finally:
        await server.stop(None)
