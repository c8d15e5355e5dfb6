"""A gRPC service is known by its own words: reflection, or a descriptor set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import jsonschema_rs
import msgspec
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from perdure.model.codec import Serializer
from perdure.model.errors import InvalidArguments, InvalidDescriptors, InvalidOption, NoReflection, ServiceUnavailable
from perdure.ports.system import SystemClock
from perdure.transports.grpc import Description, GrpcOptions, GrpcServices, Kind, address_of, describe_file, reflection
from perdure.transports.grpc.descriptors import descriptors_in
from perdure.transports.grpc.json_mapping import to_message, to_value
from tests.transports.grpc_server import USERS_FILES, Library, LoneFiles, Users, compiled, serving

KINDS = {
    "users.v1.Users/Get": Kind.UNARY,
    "users.v1.Users/Watch": Kind.SERVER_STREAM,
    "users.v1.Users/Load": Kind.CLIENT_STREAM,
    "users.v1.Users/Chat": Kind.BIDI,
    "users.v1.Users/Forget": Kind.UNARY,
}


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(USERS_FILES, tmp_path_factory.mktemp("users"))


def no_secrets(reference: str) -> str:
    raise AssertionError(f"nobody has a secret {reference!r}")


async def described(port: int, options: GrpcOptions | None = None) -> Description:
    services = GrpcServices(SystemClock(), Serializer(), secrets=no_secrets)
    await services.open()
    try:
        return await services.describe(f"localhost:{port}", options)
    finally:
        await services.close()


def schema_of(description: Description, method: str, which: str = "output_schema") -> Any:
    found = next(entry for entry in description.methods() if entry.name == f"users.v1.Users/{method}")
    return msgspec.json.decode(getattr(found, which))


@pytest.mark.covers("Z1")
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_service_with_reflection_lists_its_methods_with_their_kinds(users: Path, version: str) -> None:
    library = Library(users)
    servicer = Users(library)
    lone = LoneFiles("v1", ["users.v1.Users"], library.files)
    v1 = [lone.handlers] if version == "v1" else []
    async with serving(library.handlers("users.v1.Users", servicer.methods), *v1, alpha=library if version == "v1alpha" else None) as port:
        found = await described(port)
    assert {method.name: method.kind for method in found.methods()} == KINDS
    assert found.undescribed == []
    if version == "v1":
        assert "file_by_filename" in lone.asked
    assert len(found.descriptors) > 1000


async def test_a_service_that_is_listed_without_descriptors_is_named_and_the_others_are_known(users: Path) -> None:
    library = Library(users)
    lone = LoneFiles("v1", ["users.v1.Users"], library.files, missing=["hand.Made"])
    async with serving(lone.handlers) as port:
        found = await described(port)
    assert found.undescribed == ["hand.Made"]
    assert len(found.methods()) == 5


async def test_well_known_files_that_a_service_does_not_send_are_taken_from_here(users: Path) -> None:
    library = Library(users)
    own = [file for file in library.files if not file.name.startswith("google/")]
    async with serving(LoneFiles("v1", ["users.v1.Users"], own).handlers) as port:
        assert len((await described(port)).methods()) == 5
    without_roles = [file for file in own if file.name != "users/roles.proto"]
    async with serving(LoneFiles("v1", ["users.v1.Users"], without_roles).handlers) as port:
        with pytest.raises(InvalidDescriptors, match=r"users/service.proto imports users/roles.proto, which is not among them"):
            await described(port)


@pytest.mark.covers("Z1")
async def test_a_service_without_reflection_is_refused_with_the_way_that_is_left(users: Path) -> None:
    library = Library(users)
    async with serving(library.handlers("users.v1.Users", Users(library).methods)) as port:
        with pytest.raises(NoReflection, match=rf"localhost:{port} has no server reflection.*--descriptor-set"):
            await described(port)


@pytest.mark.parametrize(("overtaken", "told"), [(2, "has no server reflection"), (9, "did not answer: INTERNAL")])
async def test_a_question_that_the_end_of_its_stream_overtook_is_asked_once_more(
    users: Path, monkeypatch: pytest.MonkeyPatch, overtaken: int, told: str
) -> None:
    whole, left = reflection._Dialogue.whole, overtaken

    async def overtake(dialogue: reflection._Dialogue) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "Internal error from Core")
        return await whole(dialogue)

    monkeypatch.setattr(reflection._Dialogue, "whole", overtake)
    library = Library(users)
    async with serving(library.handlers("users.v1.Users", Users(library).methods)) as port:
        with pytest.raises((NoReflection, ServiceUnavailable), match=told):
            await described(port)


async def test_a_service_that_is_away_is_unavailable() -> None:
    with pytest.raises(ServiceUnavailable, match=r"localhost:1 did not answer: UNAVAILABLE"):
        await described(1)


def test_schemas_follow_the_json_mapping(users: Path) -> None:
    found = describe_file(users)
    user = schema_of(found, "Get")
    assert user["$ref"] == "#/$defs/users.v1.User"
    fields = user["$defs"]["users.v1.User"]["properties"]
    assert fields["id"] == {"type": "string"}
    assert fields["age"] == {"type": ["integer", "string"], "format": "int64", "pattern": "^-?[0-9]+$"}
    assert fields["role"] == {"anyOf": [{"enum": ["ROLE_UNSPECIFIED", "ADMIN", "GUEST"]}, {"type": "integer"}]}
    assert fields["tags"] == {"type": "array", "items": {"type": "string"}}
    assert fields["scores"]["additionalProperties"] == {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
    assert fields["team"] == {
        "type": "object",
        "propertyNames": {"pattern": "^-?[0-9]+$"},
        "additionalProperties": {"$ref": "#/$defs/users.v1.User"},
    }
    assert fields["answers"]["propertyNames"] == {"enum": ["true", "false"]}
    assert fields["since"] == {"type": "string", "format": "date-time"}
    assert fields["manager"] == {"$ref": "#/$defs/users.v1.User"}
    assert fields["photo"] == {"type": "string", "contentEncoding": "base64"}
    assert fields["note"] == {"type": ["string", "null"]}
    assert (fields["extra"], fields["whatever"], fields["nothing"]) == ({"type": "object"}, {}, {"type": "null"})
    assert fields["isAdmin"] == {"type": "boolean"}
    assert fields["height"]["type"] == ["number", "string"]
    assert user["$defs"]["users.v1.User"]["allOf"] == [
        {
            "oneOf": [
                {"required": ["email"]},
                {"required": ["phone"]},
                {"not": {"anyOf": [{"required": ["email"]}, {"required": ["phone"]}]}},
            ]
        }
    ]
    assert schema_of(found, "Forget")["maxProperties"] == 0


def test_schemas_are_those_of_the_arguments_and_a_stream_is_a_list(users: Path) -> None:
    found = describe_file(users)
    assert schema_of(found, "Watch")["items"] == {"$ref": "#/$defs/users.v1.User"}
    one, many = schema_of(found, "Get", "input_schema"), schema_of(found, "Load", "input_schema")
    assert one["properties"]["request"] == {"$ref": "#/$defs/users.v1.Query"}
    assert many["properties"]["requests"] == {"type": "array", "items": {"$ref": "#/$defs/users.v1.User"}}
    assert {*one["properties"]} == {"request", "metadata"}
    assert one["additionalProperties"] is False


GOOD: Sequence[Any] = [
    {},
    {"id": None, "age": None, "role": None, "tags": None, "scores": None, "manager": None, "since": None, "email": None, "phone": "1"},
    {"age": 5, "credit": "5", "visits": "7", "height": "NaN", "weight": 1, "role": 7, "isAdmin": True, "note": None},
    {"age": "-5", "role": "ADMIN", "team": {"-7": {"manager": {"id": "x"}}}, "answers": {"true": "y"}, "scores": {"a": "3"}},
    {"is_admin": True, "email": "a@b", "idle": "-1.5s", "since": "2026-11-21T09:00:00Z", "photo": "AP8=", "whatever": [1, {"a": None}]},
    {"attachment": {"@type": "type.googleapis.com/users.v1.Query"}, "extra": {"a": [1]}, "nothing": None, "nick": ""},
]
BAD: Sequence[Any] = [
    [],
    {"id": 5},
    {"tags": "x"},
    {"role": "KING"},
    {"visits": -1},
    {"visits": 2**32},
    {"scores": {"a": 2**31}},
    {"team": {"x": {}}},
    {"answers": {"yes": ""}},
    {"email": "a", "phone": "1"},
    {"manager": {"manager": {"id": 5}}},
    {"isAdmin": "true"},
    {"idle": "1 minute"},
]


@pytest.mark.parametrize(("value", "is_good"), [*((value, True) for value in GOOD), *((value, False) for value in BAD)])
def test_the_schema_of_what_goes_in_takes_what_the_mapping_takes_and_refuses_what_it_refuses(
    users: Path, value: Any, is_good: bool
) -> None:
    schema = schema_of(describe_file(users), "Load", "input_schema")
    assert jsonschema_rs.validator_for(schema).is_valid({"requests": [value], "metadata": {"a": "b"}}) == is_good
    descriptors = descriptors_in(users.read_bytes(), "users")
    user = descriptors.pool.FindMessageTypeByName("users.v1.User")
    try:
        data = to_message(value, user, descriptors, what="users")
    except InvalidArguments:
        assert not is_good
        return
    assert is_good
    given = schema_of(describe_file(users), "Get")
    assert jsonschema_rs.validator_for(given).is_valid(to_value(data, user, descriptors, what="users"))


def test_required_fields_of_old_files_are_required(tmp_path: Path) -> None:
    text = 'syntax = "proto2"; package old; message M { required int32 a = 1; optional M b = 2; } service S { rpc Do(M) returns (M); }'
    found = describe_file(compiled({"old.proto": text}, tmp_path))
    (method,) = found.methods()
    assert msgspec.json.decode(method.output_schema)["$defs"]["old.M"]["required"] == ["a"]


def test_comments_are_kept_where_the_file_has_them(users: Path, tmp_path: Path) -> None:
    (service,) = describe_file(users).services
    assert service.description == "People who can\nlog in."
    assert {method.name.rpartition("/")[2]: method.description for method in service.methods}["Get"] == "Gives one user."
    bare = describe_file(compiled(USERS_FILES, tmp_path, options=("--include_imports",)))
    assert bare.services[0].description == ""


def test_a_descriptor_set_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidDescriptors, match="No such file"):
        describe_file(tmp_path / "none.pb")
    (tmp_path / "bad.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(InvalidDescriptors, match="no FileDescriptorSet"):
        describe_file(tmp_path / "bad.pb")
    alone = compiled(USERS_FILES, tmp_path, options=())
    with pytest.raises(InvalidDescriptors, match=r"imports users/roles.proto, which is not among them.*--include_imports"):
        describe_file(alone)
    empty = compiled({"empty.proto": 'syntax = "proto3"; message M {}'}, tmp_path)
    with pytest.raises(InvalidDescriptors, match="no service"):
        describe_file(empty)


def test_files_that_import_each_other_or_contradict_themselves_are_refused(tmp_path: Path) -> None:
    circle = [FileDescriptorProto(name="a", dependency=["b"]), FileDescriptorProto(name="b", dependency=["a"])]
    circle[0].service.add(name="S")
    path = tmp_path / "circle.pb"
    path.write_bytes(FileDescriptorSet(file=circle).SerializeToString())
    with pytest.raises(InvalidDescriptors, match="import each other: a -> b -> a"):
        describe_file(path)
    broken = FileDescriptorProto(name="a")
    broken.service.add(name="S").method.add(name="Do", input_type=".gone.M", output_type=".gone.M")
    path.write_bytes(FileDescriptorSet(file=[broken]).SerializeToString())
    with pytest.raises(InvalidDescriptors, match=r"gone.M"):
        describe_file(path)


def test_a_descriptor_set_of_the_same_files_has_the_same_bytes(users: Path) -> None:
    first = describe_file(users)
    again = users.with_name("again.pb")
    again.write_bytes(first.descriptors)
    assert describe_file(again).descriptors == first.descriptors


@pytest.mark.parametrize("text", ["localhost", "http://x:1", "grpc://u:secret@x:1", "x:0", "x:99999", "x:1/path", "grpc://x:1?a=b", ""])
def test_an_address_that_cannot_be_right_is_refused_without_showing_secrets(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        address_of(text)
    assert "secret" not in str(caught.value)


def test_addresses_are_plain_or_secure() -> None:
    assert address_of("localhost:50051").url == "grpc://localhost:50051"
    assert address_of("grpcs://[::1]:443").url == "grpcs://[::1]:443"
    assert address_of("grpcs://x:443").is_secure


@pytest.mark.parametrize(
    "options",
    [
        GrpcOptions(token="abc"),
        GrpcOptions(certificate="file:a"),
        GrpcOptions(ca="file:a"),
        GrpcOptions(messages_max=0),
        GrpcOptions(metadata={"Upper": "x"}),
        GrpcOptions(metadata={"grpc-timeout": "x"}),
        GrpcOptions(metadata={"x-bin": "x"}),
    ],
)
async def test_options_that_cannot_be_right_are_refused_without_showing_secrets(options: GrpcOptions) -> None:
    with pytest.raises(InvalidOption) as caught:
        await described(1, options)
    assert "abc" not in str(caught.value)


async def test_credentials_that_reflection_refuses_are_a_wrong_option(users: Path) -> None:
    class Refusing(LoneFiles):
        async def _answer(self, requests: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
            yield

    async with serving(Refusing("v1", [], []).handlers) as port:
        with pytest.raises(InvalidOption, match=r"credentials for grpc://localhost:\d+: found UNAUTHENTICATED: who are you"):
            await described(port)
