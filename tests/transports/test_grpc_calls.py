"""A method of a gRPC service is performed as an action: JSON in, JSON out, with the attempt's deadline, names and cancellation."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from msgspec import UNSET, Raw

from perdure.model.call import ActionSpec, Attempt
from perdure.model.codec import Serializer
from perdure.model.errors import ActionFailed, ActionNotFound, InvalidArguments, InvalidOption
from perdure.model.ids import CallName, RunId
from perdure.model.registry import ServiceRecord
from perdure.ports.system import SystemClock
from perdure.transports.grpc import GrpcOptions, GrpcServices, address_of, describe_file
from perdure.wire.attempts import Sender, call_of
from perdure.wire.messages import Outcome
from tests.transports.grpc_server import USERS_FILES, Library, LoneFiles, Users, compiled, failing, serving

PATIENCE_S = 10


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(USERS_FILES, tmp_path_factory.mktemp("users"))


class Stage:
    """A server, our side, and the way of a call between them. ``secrets``: what references stand for."""

    def __init__(self, port: int, secrets: Mapping[str, str]) -> None:
        self.address = f"grpc://localhost:{port}"
        self.secrets = {**secrets}
        self.clock = SystemClock()
        self.serializer = Serializer()
        self.services = GrpcServices(self.clock, self.serializer, secrets=self.secret)

    def secret(self, reference: str) -> str:
        if reference not in self.secrets:
            raise InvalidOption(option=f"the secret {reference}", found="nothing", expected="a value")
        return self.secrets[reference]

    async def perform(self, method: str, *args: Any, spec: ActionSpec | None = None, end_us: int | None = None, **kwargs: Any) -> Outcome:
        attempt = Attempt(
            run=RunId("run ü%"),
            base=0,
            call=CallName("2.1/4"),
            number=3,
            spec=spec or ActionSpec(name=f"users.v1.Users/{method}"),
            args=tuple(self.serializer.encode(value) for value in args),
            kwargs={name: self.serializer.encode(value) for name, value in kwargs.items()},
            end_us=end_us,
        )
        call = call_of(attempt, Sender(namespace="pay", lease_ms=10_000), sent_us=self.clock.now_us())
        return await self.services.perform(call, self.address, attempt.spec.name)

    async def value(self, method: str, *args: Any, **kwargs: Any) -> Any:
        outcome = await self.perform(method, *args, **kwargs)
        assert outcome.status == "data", outcome.error
        assert outcome.value is not UNSET
        return msgspec.json.decode(outcome.value)

    async def error(self, method: str, *args: Any, **kwargs: Any) -> Any:
        outcome = await self.perform(method, *args, **kwargs)
        assert outcome.status == "error"
        assert outcome.error is not None
        return outcome.error

    def learn(self, path: Path, **options: Any) -> None:
        self.services.learn(
            ServiceRecord(
                name="users",
                address=self.address,
                descriptors=describe_file(path).descriptors,
                methods=[],
                options=Raw(msgspec.json.encode(GrpcOptions(**options))),
            )
        )


@asynccontextmanager
async def staged(
    path: Path, servicer: Users | None = None, *, secrets: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[tuple[Stage, Users]]:
    library = Library(path)
    service = servicer or Users(library)
    async with serving(library.handlers("users.v1.Users", service.methods)) as port:
        stage = Stage(port, secrets or {})
        await stage.services.open()
        stage.learn(path, **options)
        try:
            yield stage, service
        finally:
            await stage.services.close()


@pytest.mark.covers("Z1")
async def test_each_of_the_four_kinds_takes_and_gives_json(users: Path) -> None:
    async with staged(users) as (stage, _):
        user = await stage.value("Get", {"id": "ada", "pageSize": 1})
        assert (user["id"], user["age"], user["tags"], user["role"]) == ("ada", str(2**40), ["new"], "ROLE_UNSPECIFIED")
        assert "manager" not in user
        assert [user["id"] for user in await stage.value("Watch", {"id": "n", "page_size": 3})] == ["n-0", "n-1", "n-2"]
        assert await stage.value("Load", [{"id": "a"}, {"id": "b"}]) == {"count": 2, "ids": ["a", "b"]}
        assert [user["id"] for user in await stage.value("Chat", [{"id": "a"}, {"id": "b"}])] == ["re: a", "re: b"]


async def test_a_call_without_arguments_sends_an_empty_message_or_an_empty_stream(users: Path) -> None:
    async with staged(users) as (stage, _):
        assert (await stage.value("Get"))["id"] == ""
        assert await stage.value("Load") == {"count": 0, "ids": []}
        assert await stage.value("Chat", requests=[]) == []
        assert await stage.value("Watch", request={}) == []


async def test_values_of_every_type_survive_the_way_there_and_back(users: Path) -> None:
    library = Library(users)

    async def echo(request: Any, _: Any) -> Any:
        return library.message("users.v1.User").FromString(request.mask.paths[0].encode("latin-1"))

    async def chat(requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield request

    given = {
        "id": "ü",
        "age": str(-(2**63)),
        "credit": str(2**64 - 1),
        "role": "ADMIN",
        "tags": ["a", ""],
        "scores": {"x": -1},
        "email": "a@b",
        "since": "2026-11-21T09:00:00.123456789Z",
        "manager": {"id": "boss", "manager": {"id": "chief"}},
        "photo": "AP8=",
        "nick": "",
        "height": "NaN",
        "weight": 0.5,
        "note": "",
        "extra": {"deep": [1.0, None, {"a": True}]},
        "team": {"7": {"id": "x"}},
        "isAdmin": True,
        "idle": "1.500s",
        "attachment": {"@type": "type.googleapis.com/users.v1.Query", "id": "q"},
        "answers": {"true": "yes"},
        "whatever": [1.0, "two"],
        "visits": 3,
    }
    async with staged(users, Users(library, Chat=chat, Get=echo)) as (stage, _):
        (found,) = await stage.value("Chat", [given])
    nested = ("manager", "team", "attachment")
    assert {name: found[name] for name in given if name not in nested} == {name: given[name] for name in given if name not in nested}
    assert found["attachment"] == {"@type": "type.googleapis.com/users.v1.Query", "id": "q", "pageSize": 0}
    assert found["team"]["7"]["id"] == "x"
    assert found["manager"]["manager"]["id"] == "chief"


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "problem"),
    [
        ("Get", [{"nme": "x"}], {}, "nme"),
        ("Get", [{"id": 5}], {}, "id"),
        ("Get", [[1]], {}, ""),
        ("Get", ["text"], {}, ""),
        ("Get", [None], {}, ""),
        ("Get", [{"pageSize": 2**31}], {}, "pageSize"),
        ("Get", [{}, {}, {}], {}, "there are 3 of them"),
        ("Get", [{}], {"request": {}}, "given twice"),
        ("Get", [{}], {"other": {}}, "'other' is none of them"),
        ("Get", [{}, {"a": 1}], {}, "metadata is no object of texts"),
        ("Get", [{}, {"a": "ü"}], {}, "printable ASCII"),
        ("Load", [{"id": "a"}], {}, "requests is no list"),
        ("Load", [[{"id": "a"}, {"nme": "b"}]], {}, "(message 1)"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent(
    users: Path, method: str, args: list[Any], kwargs: dict[str, Any], problem: str
) -> None:
    async with staged(users) as (stage, service):
        error = await stage.error(method, *args, **kwargs)
        assert error.is_final
        assert error.type == "perdure.model.errors:InvalidArguments"
        assert problem in error.message
        assert service.calls == 0


async def test_metadata_names_run_call_attempt_key_and_trace_and_holds_the_users_own(users: Path) -> None:
    secrets = {"env:TOKEN": "t0ken", "file:tenant": "acme"}
    async with staged(users, secrets=secrets, token="env:TOKEN", metadata={"tenant": "file:tenant", "x": "plain"}) as (stage, service):
        await stage.value("Get", {}, {"x": "mine", "y": "2"})
        found = service.metadata
        assert found["perdure-run"] == "run%20%C3%BC%25"
        assert (found["perdure-call"], found["perdure-attempt"], found["perdure-namespace"]) == ("2.1/4", "3", "pay")
        assert (found["perdure-sequence"], found["perdure-action"]) == ("1", "users.v1.Users/Get")
        assert found["idempotency-key"] == "run%20%C3%BC%25#0#2.1/4"
        assert found["traceparent"].startswith("00-")
        assert (found["authorization"], found["tenant"], found["x"], found["y"]) == ("Bearer t0ken", "acme", "mine", "2")
        stage.secrets["env:TOKEN"] = "rotated"
        await stage.value("Get", {})
        assert service.metadata["authorization"] == "Bearer rotated"


async def test_a_call_cannot_name_a_secret_nor_pose_as_another(users: Path) -> None:
    async with staged(users, secrets={"env:TOKEN": "t0ken"}) as (stage, service):
        await stage.value("Get", {}, {"x": "env:TOKEN", "perdure-run": "another", "idempotency-key": "another"})
        assert service.metadata["x"] == "env:TOKEN"
        assert service.metadata["perdure-run"] == "run%20%C3%BC%25"
        assert service.metadata["idempotency-key"] == "run%20%C3%BC%25#0#2.1/4"


async def test_the_attempts_timeout_is_the_deadline_at_the_server(users: Path) -> None:
    library = Library(users)
    service = Users(library)
    left: list[float] = []

    async def tell(request: Any, context: Any) -> Any:
        left.append(context.time_remaining())
        return library.message("users.v1.User")()

    service.methods["Get"] = tell
    service.methods["Forget"] = service.hang
    async with staged(users, service) as (stage, _):
        await stage.value("Get", {}, spec=ActionSpec(name="users.v1.Users/Get", timeout_us=50_000_000))
        await stage.value("Get", {}, end_us=stage.clock.now_us() + 20_000_000)
        assert 40 < left[0] < 60
        assert 10 < left[1] < 25
        error = await stage.error("Forget", {}, spec=ActionSpec(name="users.v1.Users/Forget", timeout_us=200_000))
        assert (error.type, error.is_final) == ("gRPC:DEADLINE_EXCEEDED", False)
        assert "builtins:TimeoutError" in error.types
        await asyncio.wait_for(service.cancelled.wait(), PATIENCE_S)
        late = await stage.error("Get", {}, end_us=stage.clock.now_us() - 1_000_000)
        assert late.type == "gRPC:DEADLINE_EXCEEDED"
        assert len(left) == 2


async def test_a_time_that_is_over_to_the_microsecond_is_over_and_no_deadline_at_all_is_none(users: Path) -> None:
    class Stopped(SystemClock):
        def now_us(self) -> int:
            return 1_800_000_000_000_000

    async with staged(users) as (stage, service):
        stage.services = GrpcServices(Stopped(), stage.serializer, secrets=stage.secret)
        await stage.services.open()
        stage.learn(users)
        assert (await stage.error("Get", {}, end_us=Stopped().now_us())).type == "gRPC:DEADLINE_EXCEEDED"
        assert service.calls == 0
        assert (await stage.perform("Get", {}, end_us=Stopped().now_us() + 60_000_000)).status == "data"
        await stage.services.close()


@pytest.mark.parametrize("method", ["Get", "Watch"])
async def test_cancelling_an_attempt_cancels_the_call_at_the_server(users: Path, method: str) -> None:
    service = Users(Library(users))
    service.methods |= {"Get": service.hang, "Watch": service.hang_in_stream}
    async with staged(users, service) as (stage, _):
        task = asyncio.create_task(stage.perform(method, {}))
        await asyncio.wait_for(service.begun.wait(), PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(service.cancelled.wait(), PATIENCE_S)


async def test_closing_ends_calls_under_way_as_unavailable_and_takes_no_more(users: Path) -> None:
    service = Users(Library(users))
    service.methods["Get"] = service.hang
    async with staged(users, service) as (stage, _):
        task = asyncio.create_task(stage.error("Get", {}))
        await asyncio.wait_for(service.begun.wait(), PATIENCE_S)
        await stage.services.close()
        error = await asyncio.wait_for(task, PATIENCE_S)
        assert (error.type, error.is_final) == ("perdure.model.errors:ServiceUnavailable", False)
        assert (await stage.error("Get", {})).message.count("this node is closing") == 1
        await stage.services.close()


async def test_a_secret_that_a_service_repeats_in_an_error_does_not_come_back(users: Path) -> None:
    async def refuse(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"unknown: {dict(context.invocation_metadata())}")

    service = Users(Library(users), Get=refuse)
    async with staged(users, service, secrets={"env:TOKEN": "t0ken", "env:PIN": "p1n"}, token="env:TOKEN", metadata={"pin": "env:PIN"}) as (
        stage,
        _,
    ):
        outcome = await stage.perform("Get", {})
    text = msgspec.json.encode(outcome).decode()
    assert "•••" in text
    assert "t0ken" not in text
    assert "p1n" not in text


async def test_a_secret_that_is_not_there_fails_the_call_and_names_the_reference(users: Path) -> None:
    async with staged(users, token="env:TOKEN") as (stage, service):
        error = await stage.error("Get", {})
        assert (error.is_final, service.calls) == (True, 0)
        assert "env:TOKEN" in error.message


RETRYABLE = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "UNKNOWN", "INTERNAL", "CANCELLED"]
FINAL = [
    "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "DATA_LOSS",
]  # fmt: skip


@pytest.mark.parametrize("code", [*RETRYABLE, *FINAL])
async def test_a_status_is_an_error_that_says_whether_another_attempt_may_help(users: Path, code: str) -> None:
    service = Users(Library(users), Get=failing(grpc.StatusCode[code], "no such luck"))
    async with staged(users, service) as (stage, _):
        error = await stage.error("Get", {})
    assert (error.type, error.is_final) == (f"gRPC:{code}", code in FINAL)
    assert error.message.startswith(f"users.v1.Users/Get at {stage.address}: {code}: no such luck.")
    assert ("perdure grpc register" in error.message) == (code == "UNIMPLEMENTED")


def test_every_status_is_either_final_or_may_be_retried() -> None:
    assert {code.name for code in grpc.StatusCode} == {"OK", *RETRYABLE, *FINAL}


async def test_what_a_service_raises_by_mistake_is_an_error_of_its_attempt(users: Path) -> None:
    async def crash(request: Any, context: Any) -> Any:
        raise ValueError("oops")

    async with staged(users, Users(Library(users), Get=crash)) as (stage, _):
        error = await stage.error("Get", {})
    assert (error.type, error.is_final) == ("gRPC:UNKNOWN", False)
    assert "oops" in error.message


def rich(*details: Any) -> tuple[tuple[str, bytes], ...]:
    status = Status(code=8, message="busy")
    for detail in details:
        status.details.add().Pack(detail)
    return (("grpc-status-details-bin", status.SerializeToString()),)


async def test_the_delay_that_a_service_wishes_is_passed_on_and_its_details_are_told(users: Path) -> None:
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="email", description="has no @")])
    wish = RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
    busy, invalid = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT
    garbled = Status(code=14)
    garbled.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff\xff")
    broken = (("grpc-status-details-bin", garbled.SerializeToString()),)
    cases = [
        (failing(busy, "busy", rich(wish)), 2500, "busy"),
        (failing(busy, "busy", (("grpc-retry-pushback-ms", "40"),)), 40, "busy"),
        (failing(busy, "busy", (("grpc-retry-pushback-ms", "-1"),)), None, "busy"),
        (failing(busy, "busy", (("grpc-status-details-bin", b"\xff\xff"),)), None, "busy"),
        (failing(busy, "busy", broken), None, "busy"),
        (failing(busy, "busy"), None, "busy"),
        (failing(invalid, "bad", rich(bad, wish)), None, "has no @"),
    ]
    for behaviour, delay_ms, text in cases:
        async with staged(users, Users(Library(users), Get=behaviour)) as (stage, _):
            outcome = await stage.perform("Get", {})
        assert outcome.retry_after_ms == delay_ms
        assert outcome.error is not None
        assert text in outcome.error.message


async def test_a_service_that_is_away_is_unavailable_and_is_reached_when_it_is_back(users: Path) -> None:
    library = Library(users)
    handlers = library.handlers("users.v1.Users", Users(library).methods)
    async with serving(handlers) as port:
        pass
    stage = Stage(port, {})
    await stage.services.open()
    stage.learn(users)
    assert (await stage.error("Get", {})).type == "gRPC:UNAVAILABLE"
    async with serving(handlers, port=port):
        async with asyncio.timeout(PATIENCE_S):
            # A poll of the condition: the channel connects again when it chooses to, and tells nobody.
            while (await stage.perform("Get", {})).status == "error":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    await stage.services.close()


async def test_a_service_that_was_never_learned_is_asked_once_and_an_unknown_method_is_named(users: Path) -> None:
    library = Library(users)
    lone = LoneFiles("v1", ["users.v1.Users"], library.files)
    async with serving(library.handlers("users.v1.Users", Users(library).methods), lone.handlers) as port:
        stage = Stage(port, {})
        await stage.services.open()
        found = await asyncio.gather(*(stage.value("Get", {"id": str(number)}) for number in range(20)))
        assert [user["id"] for user in found] == [str(number) for number in range(20)]
        assert lone.asked.count("list_services") == 1
        error = await stage.error("Gte", {})
        assert error.is_final
        assert "No action 'users.v1.Users/Gte' was ever seen at grpc://localhost" in error.message
        assert "users.v1.Users/Get" in error.message
        await stage.services.close()


async def test_without_reflection_and_without_descriptors_a_call_fails_with_the_way_that_is_left(users: Path) -> None:
    library = Library(users)
    async with serving(library.handlers("users.v1.Users", Users(library).methods)) as port:
        stage = Stage(port, {})
        await stage.services.open()
        error = await stage.error("Get", {})
        await stage.services.close()
    assert (error.type, error.is_final) == ("perdure.model.errors:NoReflection", True)


@pytest.mark.parametrize(
    ("method", "argument", "limits", "kind"),
    [
        ("Watch", {"pageSize": 4}, {"messages_max": 3}, "TooManyMessages"),
        ("Watch", {"id": "x" * 100, "pageSize": 40}, {"message_bytes_max": 2000}, "MessageTooLarge"),
        ("Get", {"id": "x" * 3000}, {"message_bytes_max": 2000}, "MessageTooLarge"),
    ],
)
async def test_what_is_too_large_has_an_error_that_names_the_limit(
    users: Path, method: str, argument: Any, limits: dict[str, int], kind: str
) -> None:
    async with staged(users, **limits) as (stage, _):
        error = await stage.error(method, argument)
        assert (error.type, error.is_final) == (f"perdure.model.errors:{kind}", True)
        assert next(iter(limits)) in error.message
        assert len(await stage.value("Watch", {"pageSize": 3})) == 3


async def test_a_stream_that_is_too_long_is_ended_at_the_server(users: Path) -> None:
    library = Library(users)
    service = Users(library)

    async def endless(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            while True:
                yield service.user(id="again")
        finally:
            service.cancelled.set()

    service.methods["Watch"] = endless
    async with staged(users, service, messages_max=10) as (stage, _):
        assert (await stage.error("Watch", {})).type == "perdure.model.errors:TooManyMessages"
        await asyncio.wait_for(service.cancelled.wait(), PATIENCE_S)


async def test_a_message_that_the_server_does_not_take_is_final_though_its_status_looks_busy(users: Path) -> None:
    async with staged(users) as (stage, _):
        error = await stage.error("Get", {"id": "x" * 5_000_000})
    assert (error.type, error.is_final) == ("gRPC:RESOURCE_EXHAUSTED", True)
    assert "SERVER: Received message larger than max" in error.message


async def test_an_answer_that_is_too_large_is_final_though_its_status_looks_busy(users: Path) -> None:
    library = Library(users)

    async def huge(request: Any, context: Any) -> Any:
        return library.message("users.v1.User")(id="x" * 5000)

    async with staged(users, Users(library, Get=huge), message_bytes_max=2000) as (stage, _):
        error = await stage.error("Get", {})
    assert (error.type, error.is_final) == ("perdure.model.errors:MessageTooLarge", True)
    assert "message_bytes_max is 2000" in error.message


async def test_two_services_may_have_files_and_messages_of_the_same_name(users: Path, tmp_path: Path) -> None:
    text = """syntax = "proto3"; package users.v1;
    service Users { rpc Get(User) returns (User); }
    message User { int32 id = 1; bool was_here = 2; }"""
    other = Library(compiled({"users/service.proto": text}, tmp_path))

    async def get(request: Any, context: Any) -> Any:
        return other.message("users.v1.User")(id=request.id + 1, was_here=True)

    first = Library(users)
    async with (
        serving(first.handlers("users.v1.Users", Users(first).methods), LoneFiles("v1", ["users.v1.Users"], first.files).handlers) as here,
        serving(other.handlers("users.v1.Users", {"Get": get}), LoneFiles("v1", ["users.v1.Users"], other.files).handlers) as there,
    ):
        stage = Stage(here, {})
        await stage.services.open()
        assert (await stage.value("Get", {"id": "ada"}))["id"] == "ada"
        stage.address = f"grpc://localhost:{there}"
        assert await stage.value("Get", {"id": 41}) == {"id": 42, "wasHere": True}
        stage.address = f"grpc://localhost:{here}"
        assert (await stage.value("Get", {"id": "bob"}))["id"] == "bob"
        await stage.services.close()


async def test_new_options_take_effect_on_the_next_call(users: Path) -> None:
    async with staged(users) as (stage, service):
        stage.learn(users, metadata={"tenant": "a"})
        await stage.value("Get", {})
        assert service.metadata["tenant"] == "a"
        stage.learn(users, metadata={"tenant": "b"})
        stage.learn(users, metadata={"tenant": "b"})
        await stage.value("Get", {})
        assert service.metadata["tenant"] == "b"


async def test_payload_codecs_are_undone_before_a_call_and_done_after_it(users: Path) -> None:
    class Reversed:
        name = "reversed"

        def encode(self, data: bytes) -> bytes:
            return data[::-1]

        def decode(self, data: bytes) -> bytes:
            return data[::-1]

    async with staged(users) as (stage, _):
        stage.serializer = Serializer([Reversed()])
        stage.services = GrpcServices(stage.clock, stage.serializer, secrets=stage.secret)
        await stage.services.open()
        stage.learn(users)
        outcome = await stage.perform("Get", {"id": "ada"})
        assert (outcome.status, outcome.encoding) == ("data", "json+reversed")
        await stage.services.close()


async def test_a_method_can_be_tried_out_outside_of_any_run(users: Path) -> None:
    service = Users(Library(users), Watch=failing(grpc.StatusCode.NOT_FOUND, "nobody"))
    async with staged(users, service) as (stage, _):
        call = stage.services.call
        assert (await call(stage.address, "users.v1.Users/Get", arguments=[{"id": "ada"}], timeout=PATIENCE_S))["id"] == "ada"
        with pytest.raises(ActionFailed, match="NOT_FOUND: nobody"):
            await call(stage.address, "users.v1.Users/Watch", arguments=[{}], timeout=PATIENCE_S)
        with pytest.raises(InvalidArguments):
            await call(stage.address, "users.v1.Users/Get", arguments=[{"nme": 1}], timeout=PATIENCE_S)
        with pytest.raises(ActionNotFound):
            await call(stage.address, "users.v1.Users/Gte", arguments=[], timeout=PATIENCE_S)
        with pytest.raises(InvalidOption):
            await call("nowhere", "users.v1.Users/Get", arguments=[], timeout=PATIENCE_S)
    assert address_of(stage.address).url == stage.address
