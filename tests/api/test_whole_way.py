"""Steps of one run, performed in other languages: workflow, node, queue, HTTP, and back."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

import perdure
from perdure import ActionFailed, Engine, Registry, Retry, action, errors, workflow
from perdure.api.opening import api
from perdure.control.tokens import Tokens
from perdure.ports.system import SystemClock
from perdure.stores.memory import MemoryStore
from tests.api.house import around, until
from tests.api.test_examples import line, worker

registry = Registry()
NOW_MS = 1_800_000_000_000


@workflow(registry=registry)
async def picture(name: str) -> list[Any]:
    greeting, cropped = await asyncio.gather(perdure.call("greet", "Ann"), perdure.call("crop", name, 60))
    return [greeting, cropped]


@action(registry=registry, name="crop", queue="default", retry=Retry(attempts=3, first="1ms"))
async def crop(name: str, width: int) -> Any:
    """Performed elsewhere: by whoever serves the queue."""


@workflow(registry=registry)
async def careful(name: str) -> Any:
    try:
        return await crop(name, 60)
    except ActionFailed as error:
        return f"{error.type}: {error.message}"


@pytest.mark.covers("F6", "F9", "I15")
async def test_one_run_has_steps_in_bash_and_in_node() -> None:
    store = MemoryStore()
    token = await Tokens(store, SystemClock()).create("worker", ["calls"])
    async with (
        Engine(store, registry=registry) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        worker("worker.sh", url, token) as bash,
        worker("worker.mjs", url, token) as node,
    ):
        await asyncio.gather(line(bash), line(node))
        async with asyncio.timeout(40):
            found = await engine.run("picture", "a.jpg")
        assert found == [{"text": "Hello, Ann, from Node.js"}, "a.jpg, 60 pixels wide, by bash"]


class Worker:
    """A worker over HTTP, step by step."""

    def __init__(self, client: httpx.AsyncClient, name: str = "w1") -> None:
        self.client, self.name = client, name

    async def announce(self, **schemas: Any) -> None:
        actions = [{"name": "crop", **schemas}]
        body = {"type": "announce", "v": 1, "worker": self.name, "started_ms": NOW_MS, "interval_ms": 500, "actions": actions}
        assert (await self.client.post("/v1/workers", json=body)).status_code == 201

    async def take(self) -> dict[str, Any]:
        async def look() -> list[dict[str, Any]]:
            answer = await self.client.post("/v1/calls/take", json={"worker": self.name, "wait_ms": 5_000})
            found: list[dict[str, Any]] = answer.json()["calls"]
            return found

        return (await until(look))[0]

    async def say(self, call: dict[str, Any], verb: str, **body: Any) -> httpx.Response:
        path = f"/v1/calls/{quote(call['id'], safe='')}/{verb}"
        return await self.client.post(path, json={"worker": self.name, "token": call["token"], **body})


async def test_an_error_is_tried_again_and_a_final_one_is_not() -> None:
    async with (
        Engine("memory://", registry=registry) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
    ):
        worker = Worker(client)
        await worker.announce()
        run = await engine.start("careful", "a.jpg")
        first = await worker.take()
        assert (await worker.say(first, "fail", message="no disk", type="DiskFull")).status_code == 200
        second = await worker.take()
        assert (second["attempt"], second["key"]) == (2, first["key"])
        assert (await worker.say(second, "fail", message="no such picture", type="NotThere", is_final=True)).status_code == 200
        async with asyncio.timeout(20):
            assert await run.result() == "NotThere: no such picture"
        assert (await worker.say(first, "fail", message="no disk", type="DiskFull")).status_code == 200
        assert (await worker.say(first, "complete", value=1)).status_code == 409


@pytest.mark.covers("F7")
async def test_a_stranger_over_http_is_held_to_the_schemas_that_it_announced() -> None:
    schemas = {"input_schema": {"properties": {"name": {"maxLength": 9}, "width": {}}}, "output_schema": {"type": "string"}}
    async with (
        Engine("memory://", registry=registry) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
        asyncio.timeout(40),
    ):
        worker = Worker(client)
        await worker.announce(**schemas)
        run = await engine.start(careful, "a.jpg")
        assert (await worker.say(await worker.take(), "complete", value=5)).status_code == 200
        with pytest.raises(errors.InvalidValue, match="the result of crop by the worker w1, which announced a schema of it"):
            await run.result()
        with pytest.raises(errors.InvalidArguments, match="crop cannot be called with these arguments: name: "):
            await (await engine.start(careful, "much too long.jpg")).result()


async def test_a_worker_that_falls_silent_loses_its_call_to_another() -> None:
    async with (
        Engine("memory://", registry=registry, lease="1s") as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
    ):
        silent, other = Worker(client, "silent"), Worker(client, "other")
        await silent.announce()
        run = await engine.start("careful", "a.jpg")
        lost = await silent.take()
        await other.announce()
        again = await other.take()
        assert (again["attempt"], again["key"]) == (2, lost["key"])
        assert (await other.say(again, "complete", value="cropped")).status_code == 200
        async with asyncio.timeout(20):
            assert await run.result() == "cropped"
        assert (await silent.say(lost, "complete", value="too late")).status_code == 409


async def test_a_cancelled_run_tells_the_worker_at_its_next_heartbeat() -> None:
    async with (
        Engine("memory://", registry=registry) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
    ):
        worker = Worker(client)
        await worker.announce()
        run = await engine.start("careful", "a.jpg")
        call = await worker.take()
        assert (await worker.say(call, "heartbeat", details=1)).json() == {"is_cancelled": False}
        await run.cancel()

        async def look() -> bool:
            return bool((await worker.say(call, "heartbeat")).json()["is_cancelled"])

        assert await until(look)


async def go_over(url: str) -> None:
    """A node, an API in an engine of its own that is no node, and a worker: nothing joins them but the store."""
    async with (
        Engine(url, registry=registry) as node,
        Engine(url, registry=Registry(), is_client=True) as other,
        api(other, "127.0.0.1", 0, around=around(other)) as address,
        httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as client,
    ):
        worker = Worker(client)
        await worker.announce()
        run = (await client.post("/v1/runs", json={"definition": "careful", "args": ["a.jpg"]})).json()["id"]
        first = await worker.take()
        assert (await worker.say(first, "fail", message="no disk")).status_code == 200
        second = await worker.take()
        assert (await worker.say(second, "heartbeat", details={"done": 40})).json() == {"is_cancelled": False}
        assert (await worker.say(second, "complete", value={"width": 60})).status_code == 200
        assert (await worker.say(second, "complete", value={"width": 60})).status_code == 200
        result = await client.get(f"/v1/runs/{run}/result?wait_ms=20000")
        assert result.json()["value"] == {"width": 60}
        assert (await worker.say(second, "complete", value=1)).status_code == 409
        for odd in ("\0", "\ud800", "a" * 10_000, "'", "ü/#~1.1"):
            body = msgspec.json.encode({"definition": "careful"}).replace(b"careful", json.dumps(odd)[1:-1].encode())
            answer = await client.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (201, 400, 422), answer.text
            for name in ("tag", "definition", "parent", "before"):
                answer = await client.get("/v1/runs", params={name: odd.encode(errors="surrogatepass")})
                assert answer.status_code in (200, 400, 404, 422, 501), (name, odd[:9], answer.text)
        assert await node.list()


@pytest.mark.covers("F9")
async def test_calls_go_over_http_where_nothing_but_a_file_joins_node_and_api(tmp_path: Path) -> None:
    await go_over(f"sqlite:///{tmp_path}/app.db")


@pytest.mark.covers("F9")
async def test_calls_go_over_http_where_nothing_but_postgresql_joins_node_and_api(postgres_url: str) -> None:
    await go_over(postgres_url)
