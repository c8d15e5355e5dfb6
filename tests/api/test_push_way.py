"""Steps of a run at workers that are called at their URL: workflow, node, worker, and back."""

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from perdure import Engine, Registry, Retry, action, workflow
from perdure.api.opening import api
from tests.api.house import around
from tests.api.test_workers import announcement
from tests.transports.pushed import Service, service

registry = Registry()


@action(registry=registry, queue="default", retry=Retry(attempts=3, first="1ms"))
async def crop(name: str) -> Any:
    """Performed elsewhere: by whoever serves the queue."""


@workflow(registry=registry)
async def picture(name: str) -> Any:
    return await crop(name)


async def announce(client: httpx.AsyncClient, worker: Service) -> None:
    answer = await client.post("/v1/workers", json=announcement("pushed", push_url=worker.url, interval_ms=60_000))
    assert answer.status_code == 201, answer.text


@pytest.mark.covers("F9", "S13", "I15")
async def test_a_node_calls_the_worker_and_takes_its_answer() -> None:
    async with (
        Engine("memory://", registry=registry) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
        service() as worker,
    ):
        await announce(client, worker)
        worker.says(200, {"value": "cropped"})
        async with asyncio.timeout(20):
            assert await engine.run("picture", "a.jpg") == "cropped"
        assert worker.bodies[0]["args"] == ["a.jpg"]


@pytest.mark.covers("S13")
async def test_a_worker_that_is_down_is_asked_again_by_the_retry_policy() -> None:
    async with (
        Engine("memory://", registry=registry) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
        service() as worker,
    ):
        await announce(client, worker)
        worker.says(503, None, "Retry-After: 0")
        run = await engine.start("picture", "a.jpg")
        async with asyncio.timeout(20):
            with pytest.raises(Exception, match="answered 503"):
                await run.result()
        assert [body["attempt"] for body in worker.bodies] == [1, 2, 3]
        assert len({body["key"] for body in worker.bodies}) == 1


async def test_a_worker_that_answers_202_completes_the_call_later_with_its_token() -> None:
    async with (
        Engine("memory://", registry=registry) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
        service() as worker,
    ):
        await announce(client, worker)
        worker.says(202)
        run = await engine.start("picture", "a.jpg")
        await worker.heard.wait()
        call: dict[str, Any] = worker.bodies[0]
        path = f"/v1/calls/{quote(call['id'], safe='')}"
        own = {"worker": "pushed", "token": call["token"]}
        assert (await client.post(f"{path}/heartbeat", json=own)).json() == {"is_cancelled": False}
        assert (await client.post(f"{path}/complete", json={**own, "token": "0" * 64})).status_code == 403
        assert (await client.post(f"{path}/complete", json={**own, "value": "later"})).status_code == 200
        async with asyncio.timeout(20):
            assert await run.result() == "later"
        assert len(worker.bodies) == 1
