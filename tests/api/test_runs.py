"""Runs over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from perdure import Engine, Limits
from perdure.api.application import Bounds
from perdure.api.opening import api
from perdure.model.errors import InvalidOption
from tests.api.flows import registry, sleeper
from tests.api.house import around, asked, served

JSON = {"Content-Type": "application/json"}


async def ended(client: httpx.AsyncClient, run: str) -> dict[str, object]:
    answer = await client.get(f"/v1/runs/{run}/result", params={"wait_ms": 10_000})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_a_run_is_started_by_name_and_its_result_waited_for() -> None:
    async with served() as (client, _):
        answer = await client.post("/v1/runs", json={"definition": "doubled", "args": [21], "id": "a/b#1", "tags": ["vip"]})
        assert (answer.status_code, answer.json()["id"]) == (201, "a/b#1")
        assert answer.headers["location"] == "/v1/runs/a%2Fb%231"
        result = await client.get(f"{answer.headers['location']}/result?wait_ms=10000")
        assert result.json() == {"id": "a/b#1", "status": "completed", "value": 42, "error": None}
        found = (await client.get("/v1/runs", params={"tag": "vip"})).json()
        assert [run["id"] for run in found["runs"]] == ["a/b#1"]


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_start_sent_twice_is_one_run_and_with_other_content_a_conflict(by_header: bool) -> None:
    async with asked() as (client, engine):
        headers = {"Idempotency-Key": "one"} if by_header else {}
        body = {"definition": "doubled", "kwargs": {"value": 4}} | ({} if by_header else {"id": "one"})
        for _ in range(2):
            assert (await client.post("/v1/runs", json=body, headers=headers)).json()["id"] == "one"
        assert len(await engine.list()) == 1
        other = await client.post("/v1/runs", json=body | {"kwargs": {"value": 5}}, headers=headers)
        assert (other.status_code, other.json()["type"]) == (409, "urn:perdure:run-conflict")
        assert other.headers["content-type"] == "application/problem+json"


async def test_two_different_ids_in_one_start_are_refused() -> None:
    async with asked() as (client, engine):
        answer = await client.post("/v1/runs", json={"definition": "doubled", "id": "a"}, headers={"Idempotency-Key": "b"})
        assert answer.status_code == 400
        assert await engine.list() == []


async def test_an_argument_may_be_called_as_a_parameter_of_ours() -> None:
    async with asked() as (client, _):
        answer = await client.post("/v1/runs", json={"definition": "doubled", "kwargs": {"workflow": 1, "self": 2}})
        assert answer.status_code == 201
        await client.post("/v1/runs", json={"definition": "Cart", "id": "c"})
        for asks in ("updates/add", "queries/count"):
            answer = await client.post(f"/v1/runs/c/{asks}", json={"kwargs": {"update": 1, "query": 2, "self": 3}})
            assert answer.status_code == 422, answer.text


async def test_a_failed_run_tells_its_error_without_a_traceback() -> None:
    async with asked() as (client, _):
        await client.post("/v1/runs", json={"definition": "broken", "args": ["no room"], "id": "bad"})
        found = await ended(client, "bad")
        assert (found["status"], found["error"]) == ("failed", {"type": "ValueError", "message": "no room"})
        assert "Traceback" not in str(found)


async def test_an_open_run_is_202_and_a_cancelled_one_says_why() -> None:
    async with asked() as (client, _):
        await client.post("/v1/runs", json={"definition": "sleeper", "id": "s"})
        answer = await client.get("/v1/runs/s/result", params={"wait_ms": 1})
        assert (answer.status_code, answer.json()["value"]) == (202, None)
        assert (await client.post("/v1/runs/s/cancel", json={"reason": "enough"})).json() == {"is_asked": True}
        found = await ended(client, "s")
        assert (found["status"], found["error"]) == ("cancelled", {"type": "Cancelled", "message": "enough"})
        assert (await client.post("/v1/runs/s/cancel")).json() == {"is_asked": False}


async def test_signals_updates_and_queries_reach_the_run_once() -> None:
    async with asked() as (client, _):
        await client.post("/v1/runs", json={"definition": "Cart", "id": "c"})
        for _ in range(2):
            added = await client.post("/v1/runs/c/updates/add", json={"args": ["tea"]}, headers={"Idempotency-Key": "u1"})
            assert added.json() == {"value": 1}
        assert (await client.post("/v1/runs/c/updates/add", json={"args": ["cup"], "id": "u1"})).status_code == 409
        refused = await client.post("/v1/runs/c/updates/add", json={"args": ["car"]})
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:perdure:update-refused")
        assert "we do not sell cars" in refused.json()["detail"]
        assert (await client.post("/v1/runs/c/queries/count")).json() == {"value": 1}
        assert (await client.get("/v1/runs/c")).json()["state"] == {"items": ["tea"]}
        for _ in range(2):
            assert (await client.post("/v1/runs/c/signals/approval", json={"value": True, "id": "s1"})).status_code == 204
        assert (await ended(client, "c"))["value"] == ["tea"]


async def test_why_and_history_tell_what_a_run_waits_for_and_has_done() -> None:
    async with asked() as (client, _):
        await client.post("/v1/runs", json={"definition": "approved", "id": "w"})
        await client.get("/v1/runs/w/result", params={"wait_ms": 50})
        reasons = (await client.get("/v1/runs/w/why")).json()["reasons"]
        assert [(reason["waits_for"], reason["channel"]) for reason in reasons] == [("signal", "approval")]
        await client.post("/v1/runs/w/signals/approval", json={"value": True})
        await ended(client, "w")
        names: list[str] = []
        after = 0
        while page := (await client.get("/v1/runs/w/history", params={"after": after, "limit": 1})).json():
            if not page["entries"]:
                break
            names += [entry["fact"] for entry in page["entries"]]
            after = page["next"]
        assert (names[0], names[-1]) == ("RunStarted", "RunCompleted")
        assert (await client.get("/v1/runs/w/why")).json() == {"reasons": []}


async def test_a_failed_run_is_retried_and_one_that_cannot_be_is_a_conflict() -> None:
    async with asked() as (client, _):
        await client.post("/v1/runs", json={"definition": "broken", "args": ["x"], "id": "bad"})
        await ended(client, "bad")
        answer = await client.post("/v1/runs/bad/retry", json={})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:perdure:not-retryable")
        assert (await client.post("/v1/runs/nobody/resume")).status_code == 404


async def test_a_list_is_read_page_by_page() -> None:
    async with asked() as (client, _):
        for number in range(5):
            await client.post("/v1/runs", json={"definition": "sleeper", "id": f"r{number}"})
        found: list[str] = []
        page = (await client.get("/v1/runs?limit=2")).json()
        while True:
            found += [run["id"] for run in page["runs"]]
            if page["next"] is None:
                break
            page = (await client.get("/v1/runs", params={"limit": 2, "before": page["next"]})).json()
        assert sorted(found) == [f"r{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status", "name"),
    [
        ("GET", "/v1/runs/nobody", None, {}, 404, "run-not-found"),
        ("GET", "/v1/runs/nobody/history", None, {}, 404, "run-not-found"),
        ("GET", "/v1/nothing", None, {}, 404, "no-such-path"),
        ("DELETE", "/v1/runs", None, {}, 405, "no-such-method"),
        ("POST", "/v1/runs", b"{", {}, 400, "malformed-body"),
        ("POST", "/v1/runs", b"\xff", {}, 400, "malformed-body"),
        ("POST", "/v1/runs", b"[" * 100_000, {}, 422, "invalid-body"),
        ("POST", "/v1/runs", b'{"definition":1}', {}, 422, "invalid-body"),
        ("POST", "/v1/runs", b'{"definition":"x","colour":1}', {}, 422, "invalid-body"),
        ("POST", "/v1/runs", b'{"definition":"x","timeout":"soon"}', {}, 422, "invalid-option"),
        ("POST", "/v1/runs", b'{"definition":"x","durability":"disk"}', {}, 501, "unsupported"),
        ("POST", "/v1/runs", b"\x80\x04N.", {"Content-Type": "application/x-python-pickle"}, 415, "not-json"),
        ("POST", "/v1/runs", b'{"definition":"x"}', {"Content-Type": "text/plain"}, 415, "not-json"),
        ("GET", "/v1/runs?limit=0", None, {}, 422, "invalid-query"),
        ("GET", "/v1/runs?colour=red", None, {}, 422, "invalid-query"),
        ("GET", "/v1/runs/%FF", None, {}, 400, "malformed-path"),
        ("GET", "/v1/runs/a%00", None, {}, 400, "malformed-path"),
    ],
)
async def test_each_kind_of_error_has_its_status_and_no_traceback(
    method: str, path: str, content: bytes | None, headers: dict[str, str], status: int, name: str
) -> None:
    async with asked() as (client, _):
        given = {"Content-Type": "application/json"} if content is not None else {}
        answer = await client.request(method, path, content=content, headers=given | headers)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:perdure:{name}"), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert "Traceback" not in answer.text


async def test_a_body_that_is_too_large_is_413_whatever_its_headers_say() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"definition":"'
        while True:
            sent += 1_000
            yield b"x" * 1_000

    async with asked(bounds=Bounds(body_bytes_max=10_000)) as (client, _):
        answer = await client.post("/v1/runs", content=endless(), headers=JSON)
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:perdure:body-too-large")
        assert sent <= 12_000


async def test_a_value_beyond_the_engines_limit_is_413() -> None:
    async with asked(limits=Limits(payload_bytes_max=1_000)) as (client, _):
        answer = await client.post("/v1/runs", json={"definition": "broken", "args": ["x" * 2_000]})
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:perdure:payload-too-large")


@pytest.mark.covers("M34")
async def test_an_engine_that_has_enough_says_429_and_when_to_come_again() -> None:
    async with asked(limits=Limits(requests_waiting_max=3)) as (client, _):
        answers = await asyncio.gather(*(client.post("/v1/runs", json={"definition": "sleeper"}) for _ in range(20)))
        refused = [answer for answer in answers if answer.status_code != 201]
        assert refused
        assert {answer.status_code for answer in refused} == {429}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert {answer.json()["type"] for answer in refused} == {"urn:perdure:overloaded"}
        again = await client.post("/v1/runs", json={"definition": "sleeper"})
        assert again.status_code == 201


@pytest.mark.covers("M34")
async def test_a_server_that_has_enough_requests_says_503_and_when_to_come_again() -> None:
    async with asked(bounds=Bounds(requests_max=1)) as (client, _):
        await client.post("/v1/runs", json={"definition": "sleeper", "id": "s"})
        waiting = asyncio.create_task(client.get("/v1/runs/s/result", params={"wait_ms": 60_000}))
        await asyncio.sleep(0)
        answer = await client.get("/v1/runs/s")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert (await client.get("/v1/runs/s")).status_code == 200


async def test_an_engine_that_is_closed_is_503_and_not_ready() -> None:
    async with asked() as (client, engine):
        assert (await client.get("/ready")).status_code == 200
        await engine.close()
        answer = await client.post("/v1/runs", json={"definition": "sleeper"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/live")).status_code == 200


async def test_a_mistake_of_ours_is_500_and_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async with asked() as (client, engine):

        async def fail(*args: object, **kwargs: object) -> None:
            raise ZeroDivisionError("a secret")

        engine.list = fail  # type: ignore[assignment, method-assign]  # planted
        answer = await client.get("/v1/runs")
        assert (answer.status_code, answer.json()["type"]) == (500, "urn:perdure:internal")
        assert "secret" not in answer.text
        assert "a secret" in caplog.text


async def test_a_server_that_ends_answers_its_long_polls_first() -> None:
    async with Engine("memory://", registry=registry) as engine, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        await engine.start("sleeper")
        run = (await engine.list())[0].id
        own = around(engine)
        async with api(engine, "127.0.0.1", 0, around=own) as url:
            waiting = asyncio.create_task(client.get(f"{url}/v1/runs/{run}/result", params={"wait_ms": 60_000}))
            while not own.waiting.count:
                await client.get(f"{url}/live")
        assert (await waiting).status_code == 202


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/runs", {"definition": "slee\0per"}),
        ("/v1/runs", {"definition": "sleeper", "id": "a\0"}),
        ("/v1/runs", {"definition": "sleeper", "tags": ["a\0"]}),
        ("/v1/runs/s/signals/approval", {"id": "a\0"}),
        ("/v1/runs/s/updates/add", {"id": "a\0"}),
        ("/v1/runs/s/signals/a%00", {}),
    ],
)
async def test_a_name_that_no_store_holds_is_refused_and_the_node_lives_on(path: str, body: dict[str, object], tmp_path: Path) -> None:
    async with asked(store=f"sqlite:///{tmp_path}/app.db") as (client, engine):
        await client.post("/v1/runs", json={"definition": "sleeper", "id": "s"})
        assert (await client.post(path, json=body)).status_code in (400, 422)
        assert engine.is_node
        assert (await client.post("/v1/runs", json={"definition": "doubled", "args": [1], "id": "d"})).status_code == 201
        assert (await ended(client, "d"))["value"] == 2


async def test_a_program_that_starts_a_run_with_such_a_name_is_refused_too(tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path}/app.db", registry=registry) as engine:
        for workflow in (sleeper.options(id="a\0"), sleeper.options(tags=["a\0"]), "a\0"):
            with pytest.raises(InvalidOption, match="NUL"):
                await engine.start(workflow)
        assert engine.is_node
