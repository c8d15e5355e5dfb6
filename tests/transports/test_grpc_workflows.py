"""Workflows call methods of registered gRPC services as they call any action."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure import Engine, workflow
from perdure.app.grpc import GrpcService, register_grpc_service
from perdure.model.errors import ActionFailed, RunCancelled
from perdure.ports.system import SystemClock
from tests.transports.grpc_server import USERS_FILES, Library, Users, compiled, serving

# A node calls a service itself only where it can have calls performed elsewhere at all.

PATIENCE_S = 20
FORGET = "users.v1.Users/Forget"


@workflow
async def talk(id: str) -> dict[str, Any]:
    one, many = await asyncio.gather(
        perdure.call("users.v1.Users/Get", {"id": id}), perdure.call("users.v1.Users/Chat", [{"id": "a"}, {"id": "b"}])
    )
    watched = await perdure.call("users.v1.Users/Watch", {"id": "w", "pageSize": 2})
    loaded = await perdure.call("users.v1.Users/Load", [{"id": "x"}])
    failed = ""
    try:
        await perdure.call(FORGET, {})
    except ActionFailed as error:
        failed = error.type
    return {"one": one["id"], "many": [user["id"] for user in many], "watched": len(watched), "loaded": loaded["count"], "failed": failed}


@workflow
async def forget() -> None:
    await perdure.call(FORGET, {})


async def registered(engine: Engine, port: int, path: Path) -> None:
    await register_grpc_service(engine.store, GrpcService(address=f"localhost:{port}", descriptor_set=path), SystemClock(), name="users")


@pytest.mark.covers("Z1")
async def test_a_workflow_calls_unary_and_streaming_methods_by_their_names(tmp_path: Path) -> None:
    path = compiled(USERS_FILES, tmp_path)
    library = Library(path)
    users = Users(library)
    async with serving(library.handlers("users.v1.Users", users.methods)) as port, Engine(f"sqlite:///{tmp_path}/app.db") as engine:
        await registered(engine, port, path)
        async with asyncio.timeout(PATIENCE_S):
            found = await engine.run(talk.options(id="t1"), "ada")
    assert found == {"one": "ada", "many": ["re: a", "re: b"], "watched": 2, "loaded": 1, "failed": "gRPC:UNIMPLEMENTED"}
    assert users.metadata["perdure-run"] == "t1"


@pytest.mark.covers("Z1")
async def test_a_cancelled_run_cancels_its_call_at_the_service(tmp_path: Path) -> None:
    path = compiled(USERS_FILES, tmp_path)
    library = Library(path)
    users = Users(library)
    users.methods["Forget"] = users.hang
    async with serving(library.handlers("users.v1.Users", users.methods)) as port, Engine(f"sqlite:///{tmp_path}/app.db") as engine:
        await registered(engine, port, path)
        run = await engine.start(forget.options(id="f1"))
        async with asyncio.timeout(PATIENCE_S):
            await users.begun.wait()
            await run.cancel()
            await users.cancelled.wait()
            with pytest.raises(RunCancelled):
                await run.result()
