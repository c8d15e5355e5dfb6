"""A registered gRPC service is in the registry: its methods are actions that stay known, with what is needed to call them."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from perdure import insight
from perdure.app.grpc import GrpcCalling, GrpcService, register_grpc_service, registered_grpc_services
from perdure.app.stores import open_store
from perdure.config import secret_of
from perdure.model.call import ActionSpec, Attempt
from perdure.model.codec import Serializer
from perdure.model.errors import ActionConflict, ActionNotFound, InvalidOption, Unsupported
from perdure.model.ids import CallName, RunId
from perdure.model.registry import ACTION_RECORDS, ActionRecord, Source
from perdure.ports.records import RecordChange
from perdure.ports.store import Store
from perdure.ports.system import SystemClock
from perdure.transports.grpc import GrpcServices, RegisteredServices
from perdure.wire.attempts import Sender, call_of
from tests.transports.grpc_server import USERS_FILES, Library, LoneFiles, Users, compiled, serving

HERE = "localhost:1"


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(USERS_FILES, tmp_path_factory.mktemp("users"))


def attempt_of_get() -> Attempt:
    spec = ActionSpec(name="users.v1.Users/Get")
    return Attempt(run=RunId("r"), base=0, call=CallName("1"), number=1, spec=spec, args=(), kwargs={})


@pytest.fixture
def store() -> Store:
    return open_store("memory://")


async def test_each_method_becomes_an_action_with_all_that_is_known_of_it(users: Path, store: Store) -> None:
    library = Library(users)
    async with serving(LoneFiles("v1", ["users.v1.Users"], library.files, missing=["hand.Made"]).handlers) as port:
        done, undescribed = await register_grpc_service(store, GrpcService(address=f"localhost:{port}"), SystemClock(), name="users")
    assert (done.service, len(done.new), done.gone, undescribed) == ("users", 5, [], ["hand.Made"])
    (action,) = await insight.find_actions(store, "users.v1.Users/Watch")
    assert action.key == "users.v1.Users/Watch/1/default"
    assert (action.source, action.kind, action.service) == (Source.GRPC, "server_stream", "users")
    assert action.address == f"grpc://localhost:{port}"
    assert msgspec.json.decode(action.output_schema)["type"] == "array"
    assert msgspec.json.decode(action.input_schema)["properties"]["request"]["$ref"] == "#/$defs/users.v1.Query"
    assert action.first_seen_us == action.last_seen_us > 0


@pytest.mark.covers("Z6")
async def test_a_method_that_was_never_seen_is_refused_by_name_and_one_whose_service_is_offline_is_not(users: Path, store: Store) -> None:
    await register_grpc_service(store, GrpcService(address=HERE, descriptor_set=users), SystemClock())
    assert (await insight.find_actions(store, "users.v1.Users/Get"))[0].address == "grpc://localhost:1"
    with pytest.raises(ActionNotFound, match=r"No action 'users.v1.Users/Gat' was ever seen. Known: users.v1.Users/Get"):
        await insight.find_actions(store, "users.v1.Users/Gat")
    with pytest.raises(ActionNotFound):
        await insight.find_actions(store, "users.v1.Users")
    with pytest.raises(ActionNotFound, match="Known: none"):
        await insight.find_actions(open_store("memory://"), "a")


@pytest.mark.covers("Z6")
async def test_a_service_can_be_called_by_its_record_alone(users: Path, store: Store) -> None:
    library = Library(users)
    async with serving(library.handlers("users.v1.Users", Users(library).methods)) as port:
        given = GrpcService(address=f"localhost:{port}", descriptor_set=users, channel={"metadata": {"tenant": "a"}})
        await register_grpc_service(store, given, SystemClock(), name="users")
        (record,) = await registered_grpc_services(store)
        services = GrpcServices(SystemClock(), Serializer(), secrets=secret_of)
        await services.open()
        services.learn(record)
        assert (await services.call(record.address, "users.v1.Users/Get", arguments=[{"id": "a"}], timeout=10))["id"] == "a"
        await services.close()
    assert record.methods == [f"users.v1.Users/{name}" for name in ("Get", "Watch", "Load", "Chat", "Forget")]


async def test_registering_again_keeps_the_first_sight_and_what_others_wrote(users: Path, store: Store) -> None:
    given = GrpcService(address=HERE, descriptor_set=users)
    await register_grpc_service(store, given, SystemClock(), name="users")
    (first,) = await insight.find_actions(store, "users.v1.Users/Get")
    priced = msgspec.structs.replace(first, cost=0.5)
    assert await store.write([RecordChange(ACTION_RECORDS, first.key, msgspec.json.encode(priced))]) == []
    moved = GrpcService(address="localhost:2", descriptor_set=users)
    done, _ = await register_grpc_service(store, moved, SystemClock(), name="users")
    (again,) = await insight.find_actions(store, "users.v1.Users/Get")
    assert done.new == []
    assert (again.first_seen_us, again.cost, again.address) == (first.first_seen_us, 0.5, "grpc://localhost:2")
    assert again.last_seen_us > first.last_seen_us
    assert len(await registered_grpc_services(store)) == 1


async def test_methods_that_a_service_no_longer_has_stay_known_and_are_named(users: Path, store: Store, tmp_path: Path) -> None:
    await register_grpc_service(store, GrpcService(address=HERE, descriptor_set=users), SystemClock(), name="users")
    text = 'syntax = "proto3"; package users.v1; service Users { rpc Get(M) returns (M); } message M {}'
    smaller = compiled({"users/service.proto": text}, tmp_path)
    done, _ = await register_grpc_service(store, GrpcService(address=HERE, descriptor_set=smaller), SystemClock(), name="users")
    assert done.gone == [f"users.v1.Users/{name}" for name in ("Chat", "Forget", "Load", "Watch")]
    assert await insight.find_actions(store, "users.v1.Users/Chat")


async def test_an_action_of_another_service_or_worker_is_taken_only_on_demand(users: Path, store: Store) -> None:
    await register_grpc_service(store, GrpcService(address=HERE, descriptor_set=users), SystemClock(), name="users")
    other = GrpcService(address="localhost:2", descriptor_set=users)
    with pytest.raises(ActionConflict, match=r"of the service 'users' at grpc://localhost:1.*--name users"):
        await register_grpc_service(store, other, SystemClock())
    assert len(await registered_grpc_services(store)) == 1
    await register_grpc_service(store, other, SystemClock(), has_precedence=True)
    assert (await insight.find_actions(store, "users.v1.Users/Get"))[0].service == "localhost:2"
    heard = ActionRecord(name="users.v1.Users/Get", last_worker="w1")
    await store.write([RecordChange(ACTION_RECORDS, heard.key, msgspec.json.encode(heard))])
    with pytest.raises(ActionConflict, match="w1"):
        await register_grpc_service(store, other, SystemClock())


async def test_two_who_register_at_once_both_succeed(users: Path, store: Store) -> None:
    given = GrpcService(address=HERE, descriptor_set=users)
    await asyncio.gather(*(register_grpc_service(store, given, SystemClock(), name="users") for _ in range(5)))
    assert len([action async for action in insight.known_actions(store)]) == 5


async def test_who_registers_while_another_writes_the_same_record_looks_again(users: Path, store: Store) -> None:
    class Overtaken:
        """The first write comes after somebody else's."""

        def __init__(self) -> None:
            self.rounds = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def write(self, changes: Sequence[RecordChange]) -> list[str]:
            self.rounds += 1
            if self.rounds == 1:
                heard = ActionRecord(name="users.v1.Users/Get", source=Source.GRPC, service="users", cost=0.5, first_seen_us=7)
                assert await store.write([RecordChange(ACTION_RECORDS, heard.key, msgspec.json.encode(heard))]) == []
            return await store.write(changes)

    records: Any = Overtaken()
    await register_grpc_service(records, GrpcService(address=HERE, descriptor_set=users), SystemClock(), name="users")
    (action,) = await insight.find_actions(store, "users.v1.Users/Get")
    assert (records.rounds, action.cost, action.first_seen_us) == (2, 0.5, 7)


@pytest.mark.covers("Z6")
async def test_a_node_calls_a_service_by_the_registry_and_takes_up_what_was_registered_anew(users: Path, store: Store) -> None:
    library = Library(users)
    service = Users(library)
    sender = Sender(lease_ms=10_000)
    async with serving(library.handlers("users.v1.Users", service.methods)) as port:
        services = GrpcServices(SystemClock(), Serializer(), secrets=secret_of)
        await services.open()
        registered, sent = RegisteredServices(store, services), call_of(attempt_of_get(), sender, sent_us=0)
        for tenant in ("a", "b"):
            given = GrpcService(address=f"localhost:{port}", descriptor_set=users, channel={"metadata": {"tenant": tenant}})
            await register_grpc_service(store, given, SystemClock(), name="users")
            # A route may bring the record of another method of the same service: the call says which one it wants.
            (record,) = await insight.find_actions(store, "users.v1.Users/Watch")
            for _ in range(2):
                outcome = await registered.perform(sent, record.address, record)
                assert outcome.value is not UNSET
                assert msgspec.json.decode(outcome.value)["id"] == ""
                assert service.metadata["tenant"] == tenant
        stranger = await registered.perform(sent, "grpc://localhost:1", None)
        assert stranger.error is not None
        assert (stranger.error.type, stranger.error.is_final) == ("perdure.model.errors:ServiceUnavailable", False)
        await services.close()


async def test_a_node_has_callers_for_grpc_where_the_extra_is_installed_and_none_where_it_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calling = GrpcCalling(store, SystemClock(), Serializer())
    assert {*calling.callers} == {"grpc", "grpcs"}
    await calling.close()
    await calling.close()
    outcome = await calling.callers["grpc"].perform(call_of(attempt_of_get(), Sender(lease_ms=1), sent_us=0), "grpc://localhost:1", None)
    assert outcome.error is not None
    assert "this node is closing" in outcome.error.message
    monkeypatch.setitem(sys.modules, "perdure.transports.grpc", None)
    monkeypatch.setitem(sys.modules, "grpc", None)
    assert GrpcCalling(store, SystemClock(), Serializer()).callers == {}
    with pytest.raises(Unsupported, match=r"pip install 'perdure\[grpc\]'"):
        await register_grpc_service(store, GrpcService(address=HERE), SystemClock())


def test_a_node_that_calls_no_grpc_service_does_not_load_the_library() -> None:
    code = """
import sys
from perdure.app.grpc import GrpcCalling
from perdure.app.stores import open_store
from perdure.model.codec import Serializer
from perdure.ports.system import SystemClock
assert GrpcCalling(open_store("memory://"), SystemClock(), Serializer()).callers
assert not {"grpc", "google.protobuf"} & {*sys.modules}
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=50).returncode == 0


async def test_secrets_are_kept_as_references_only(users: Path, store: Store) -> None:
    given = GrpcService(address=HERE, descriptor_set=users, channel={"token": "env:TOKEN"})
    await register_grpc_service(store, given, SystemClock())
    (record,) = await registered_grpc_services(store)
    assert msgspec.json.decode(record.options) == {"token": "env:TOKEN"}
    with pytest.raises(InvalidOption) as caught:
        await register_grpc_service(store, GrpcService(address=HERE, descriptor_set=users, channel={"token": "t0ken"}), SystemClock())
    assert "t0ken" not in str(caught.value)


def test_a_secret_is_read_from_the_environment_or_a_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff")
    assert secret_of("env:KEY", {"KEY": "s3cret"}) == "s3cret"
    assert secret_of(f"file:{tmp_path}/key") == "s3cret"
    for bad in ("env:KEY", f"file:{tmp_path}/none", f"file:{tmp_path}/empty", f"file:{tmp_path}/binary", "s3cret", "env:", "x:y"):
        with pytest.raises(InvalidOption) as caught:
            secret_of(bad, {"KEY": ""})
        assert "s3cret" not in str(caught.value)
