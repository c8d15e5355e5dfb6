"""``perdure grpc``: services are registered, listed and tried out from the command line."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.surfaces.processes import Shell
from tests.transports.grpc_server import USERS_FILES, Library, LoneFiles, Users, compiled, serving

PATIENCE_S = 10


class Served:
    """A service in a thread of its own. ``bare``: the port of the same service without reflection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = self.bare = 0
        self._begun = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        library = Library(self.path)
        users = library.handlers("users.v1.Users", Users(library).methods)
        lone = LoneFiles("v1", ["users.v1.Users"], library.files, missing=["hand.Made"])
        async with serving(users, lone.handlers) as self.port, serving(users) as self.bare:
            self._begun.set()
            await self._over.wait()

    def begin(self) -> None:
        self._thread.start()
        assert self._begun.wait(PATIENCE_S)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE_S)
        self._loop.close()


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(compiled(USERS_FILES, tmp_path_factory.mktemp("users")))
    found.begin()
    yield found
    found.end()


@pytest.mark.covers("Z1", "Z2", "X11")
def test_a_service_is_registered_by_its_address_and_its_methods_are_listed(shell: Shell, users: Served) -> None:
    said = shell.run("grpc", "register", f"localhost:{users.port}", "--name", "users")
    assert said.code == 0, said
    assert said.out.splitlines() == [
        "+ users.v1.Users/Chat  bidi",
        "+ users.v1.Users/Forget  unary",
        "+ users.v1.Users/Get  unary",
        "+ users.v1.Users/Load  client stream",
        "+ users.v1.Users/Watch  server stream",
    ]
    assert "5 actions of the service users, 5 of them new." in said.err
    assert "cannot describe them: hand.Made" in said.err
    again = shell.run("grpc", "register", f"localhost:{users.port}", "--name", "users")
    assert "0 of them new" in again.err
    assert "users.v1.Users/Load    client stream  users" in shell.ok("grpc", "list")
    (chat, *_) = shell.run("grpc", "list", "--json").json()
    assert (chat["name"], chat["source"], chat["kind"]) == ("users.v1.Users/Chat", "grpc-reflection", "bidi")
    assert chat["input_schema"]["properties"]["requests"]["type"] == "array"
    refused = shell.run("grpc", "register", f"localhost:{users.port}")
    assert (refused.code, "--name users" in refused.err) == (4, True)
    assert shell.run("grpc", "register", f"localhost:{users.port}", "--replace").code == 0


@pytest.mark.covers("Z1")
def test_a_service_without_reflection_is_refused_clearly_or_takes_a_descriptor_file(shell: Shell, users: Served) -> None:
    refused = shell.run("grpc", "register", f"localhost:{users.bare}")
    assert refused.code == 2
    assert "has no server reflection" in refused.err
    assert "--descriptor-set FILE" in refused.err
    assert "+ users.v1.Users/Get" in shell.ok("grpc", "register", f"localhost:{users.bare}", "--descriptor-set", str(users.path))
    assert shell.run("grpc", "register", f"localhost:{users.bare}", "--descriptor-set", "none.pb").code == 2
    assert shell.run("grpc", "register", "localhost:1").code == 5
    assert shell.run("grpc", "register", "nowhere").code == 2


def test_a_method_is_tried_out_without_a_store(shell: Shell, users: Served) -> None:
    here = f"localhost:{users.port}"
    assert '"id":"ada"' in shell.ok("grpc", "call", here, "users.v1.Users/Get", '{"id": "ada"}', "--metadata", "tenant=a")
    assert shell.ok("grpc", "call", here, "users.v1.Users/Load", '[{"id": "a"}]') == '{"count":1,"ids":["a"]}'
    assert shell.ok("grpc", "call", here, "users.v1.Users/Load") == '{"count":0,"ids":[]}'
    bare = f"localhost:{users.bare}"
    assert shell.run("grpc", "call", bare, "users.v1.Users/Get").code == 2
    assert '"id":""' in shell.ok("grpc", "call", bare, "users.v1.Users/Get", "--descriptor-set", str(users.path))
    failed = shell.run("grpc", "call", here, "users.v1.Users/Forget")
    assert (failed.code, "UNIMPLEMENTED" in failed.err) == (1, True)
    assert shell.run("grpc", "call", here, "users.v1.Users/Gte").code == 3
    assert shell.run("grpc", "call", here, "users.v1.Users/Get", '{"nme": 1}').code == 2
    bad = shell.run("grpc", "call", here, "users.v1.Users/Get", "--metadata", "s3cret")
    assert (bad.code, "s3cret" in bad.err) == (2, False)
    unsafe = shell.run("grpc", "call", here, "users.v1.Users/Get", "--token", "s3cret")
    assert (unsafe.code, "s3cret" in unsafe.err) == (2, False)
    assert not (shell.folder / "perdure.db").exists()


def test_a_list_of_nothing_says_so(shell: Shell) -> None:
    shell.ok("schema", "apply")
    assert shell.ok("grpc", "list") == "No gRPC services."
