"""Workers over HTTP pull: announce, take, heartbeat, complete."""

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from perdure.api.opening import Surroundings, for_workers
from perdure.api.work import pulling
from perdure.api.work.pulling import Wanted
from perdure.model.errors import StoreUnavailable
from perdure.model.registry import ACTION_RECORDS, BEAT_RECORDS, WORKER_RECORDS
from perdure.ports.store import Hint
from perdure.ports.transport import DEAD, Packet, calls_address, worker_address
from perdure.stores.memory import MemoryStore
from perdure.wire.encoding import encode
from perdure.wire.messages import VERSION, Call, Cancel
from tests.api.house import around, asked, open_key, until

CROP = {"name": "crop", "queue": "default", "version": 1}
NOW_MS = 1_800_000_000_000


def announcement(worker: str = "w1", **changes: Any) -> dict[str, Any]:
    return {"type": "announce", "v": 1, "worker": worker, "started_ms": NOW_MS, "interval_ms": 3000, "actions": [CROP]} | changes


def call_for(run: str, number: int = 1, base: int = 1) -> Call:
    key = f"{run}#{base}#1"
    return Call(
        v=VERSION,
        id=f"{key}~1.{number}",
        key=key,
        run=run,
        call="1",
        attempt=number,
        action="crop",
        args=[msgspec.Raw(b'"a.jpg"')],
        sent_ms=NOW_MS,
        lease_ms=10_000,
    )


async def send(store: MemoryStore, *calls: Call, address: str = calls_address("default", "crop", 1)) -> None:
    await store.put_packets([(address, Packet(call.id, encode(call))) for call in calls], 0)
    store.announce(Hint(called=frozenset([address])))


async def _count(surroundings: Surroundings) -> int:
    return surroundings.waiting.count


async def _is_there() -> bool:
    return False


async def start(client: httpx.AsyncClient, run: str) -> None:
    assert (await client.post("/v1/runs", json={"definition": "sleeper", "id": run})).status_code == 201


async def take(client: httpx.AsyncClient, **changes: Any) -> list[dict[str, Any]]:
    answer = await client.post("/v1/calls/take", json={"worker": "w1", "limit": 10} | changes)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["calls"]
    return found


def path_of(id: str, verb: str) -> str:
    return f"/v1/calls/{quote(id, safe='')}/{verb}"


async def posted(store: MemoryStore, run: str) -> list[dict[str, Any]]:
    """What the run was told of ends of attempts."""
    loaded = await store.load([run])  # type: ignore[list-item]  # an id
    found = [msgspec.json.decode(item.body) for item in loaded[0].inbox]
    return [message for message in found if message["message"] == "EndAttempt"]


@pytest.mark.covers("F6")
async def test_a_worker_announces_itself_takes_a_call_and_completes_it() -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        await start(client, "r")
        assert (await client.post("/v1/workers", json=announcement())).json() == {"worker": "w1", "interval_ms": 3000}
        assert list(await store.read(WORKER_RECORDS, ["w1"])) == ["w1"]
        assert list(await store.read(ACTION_RECORDS, ["crop/1/default"])) == ["crop/1/default"]
        await send(store, call_for("r"))
        [call] = await take(client)
        assert (call["args"], call["key"], call["type"]) == (["a.jpg"], "r#1#1", "call")
        assert len(call["token"]) == 64
        assert "r#1#1~1.1" in (await store.read(BEAT_RECORDS, ["w1"]))["w1"].value.decode()
        assert await take(client) == []
        heard = await client.post(path_of(call["id"], "heartbeat"), json={"worker": "w1", "token": call["token"], "details": 40})
        assert heard.json() == {"is_cancelled": False}
        assert b'"r#1#1~1.1":40' in (await store.read(BEAT_RECORDS, ["w1"]))["w1"].value
        done = await client.post(path_of(call["id"], "complete"), json={"worker": "w1", "token": call["token"], "value": {"width": 60}})
        assert done.status_code == 200, done.text
        [end] = await posted(store, "r")
        assert (end["call"], end["attempt"], end["worker"]) == ("1", 1, "w1")
        assert (await client.delete("/v1/workers/w1")).status_code == 204
        assert b'"has_left":true' in (await store.read(BEAT_RECORDS, ["w1"]))["w1"].value


async def test_a_worker_waits_for_a_call_and_has_it_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "LOOK_MS_MAX", 60_000)  # Only word of the call can wake it.
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, engine):
        await client.post("/v1/workers", json=announcement())
        surroundings = around(engine)
        own, _ = for_workers(surroundings)
        waiting = asyncio.create_task(own.take(Wanted(worker="w1", wait_ms=60_000), _is_there))
        await until(lambda: _count(surroundings))
        await send(store, call_for("r"))
        async with asyncio.timeout(10):
            assert [call.id for call in await waiting] == ["r#1#1~1.1"]


async def test_no_more_calls_are_taken_than_were_asked_for() -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        actions = [CROP, CROP | {"name": "greet"}]
        await client.post("/v1/workers", json=announcement(actions=actions))
        await send(store, *(call_for(f"r{number}") for number in range(3)))
        await send(store, *(call_for(f"s{number}") for number in range(3)), address=calls_address("default", "greet", 1))
        first = await take(client, limit=4)
        assert len(first) == 4
        assert len(await take(client, limit=100)) == 2


async def test_only_the_asked_actions_or_queue_are_taken() -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        actions = [CROP, CROP | {"name": "greet", "queue": "slow"}]
        await client.post("/v1/workers", json=announcement(actions=actions))
        await send(store, call_for("r"))
        assert await take(client, actions=["greet"]) == []
        assert await take(client, queue="slow") == []
        assert len(await take(client, queue="default")) == 1
        other = await client.post("/v1/calls/take", json={"worker": "w1", "actions": ["fly"]})
        assert (other.status_code, other.json()["type"]) == (422, "urn:perdure:action-not-announced")


async def test_a_worker_that_never_announced_itself_gets_nothing() -> None:
    async with asked(is_client=True) as (client, _):
        for answer in (await client.post("/v1/calls/take", json={"worker": "w9"}), await client.delete("/v1/workers/w9")):
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:perdure:worker-not-found")


async def test_a_call_taken_for_a_worker_that_hung_up_meanwhile_is_for_the_next_one() -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, engine):
        await client.post("/v1/workers", json=announcement())
        await send(store, call_for("r"))
        own, _ = for_workers(around(engine))

        async def is_gone() -> bool:
            return True

        assert await own.take(Wanted(worker="w1", wait_ms=1_000), is_gone) == []
        assert [call["id"] for call in await take(client)] == ["r#1#1~1.1"]


async def test_a_call_is_not_taken_from_the_queue_while_the_registry_cannot_say_who_has_it() -> None:
    class Store(MemoryStore):
        is_away = False

        async def write(self, changes: Any) -> list[str]:
            if self.is_away:
                raise StoreUnavailable(store="it", problem="gone")
            return await super().write(changes)

    store = Store()
    async with asked(store=store, is_client=True) as (client, _):
        await client.post("/v1/workers", json=announcement())
        await send(store, call_for("r"))
        store.is_away = True
        answer = await client.post("/v1/calls/take", json={"worker": "w1"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        store.is_away = False
        assert await store.count_packets(calls_address("default", "crop", 1), 2**62) == 1


async def test_a_packet_that_is_no_call_becomes_a_dead_letter() -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        await client.post("/v1/workers", json=announcement())
        address = calls_address("default", "crop", 1)
        await store.put_packets([(address, Packet("x", b"\x80\x04N.")), (address, Packet("y", encode(Cancel(v=1, attempts=[]))))], 0)
        assert await take(client) == []
        assert await store.count_packets(DEAD, 2**62) == 2


async def test_a_worker_is_told_of_attempts_that_nobody_waits_for() -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        await start(client, "r")
        await client.post("/v1/workers", json=announcement())
        await send(store, call_for("r"))
        [call] = await take(client)
        cancel = Cancel(v=VERSION, attempts=[call["id"], "other#1#1~1.1"])
        await store.put_packets([(worker_address("w1"), Packet("c", encode(cancel)))], 0)
        heard = await client.post(path_of(call["id"], "heartbeat"), json={"worker": "w1", "token": call["token"]})
        assert heard.json() == {"is_cancelled": True}
        beat = await client.post("/v1/workers/w1/beat", json={"attempts": [{"id": call["id"]}]})
        assert beat.json() == {"cancelled": [call["id"]]}


async def test_the_first_outcome_stands_the_same_again_is_fine_and_another_is_a_conflict() -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        await start(client, "r")
        await client.post("/v1/workers", json=announcement())
        await send(store, call_for("r"))
        [call] = await take(client)
        token = {"token": call["token"]}
        path = path_of(call["id"], "complete")
        assert (await client.post(path, json=token | {"value": {"a": 1, "b": 2}})).status_code == 200
        assert (await client.post(path, json=token | {"value": {"b": 2, "a": 1}, "took_ms": 4})).status_code == 200
        late = await client.post(path, json=token | {"value": 3})
        assert (late.status_code, late.json()["type"]) == (409, "urn:perdure:call-closed")
        assert (await client.post(path_of(call["id"], "fail"), json=token | {"message": "no"})).status_code == 409
        assert len(await posted(store, "r")) == 1


async def test_an_outcome_for_a_run_that_has_ended_is_a_conflict() -> None:
    store = MemoryStore()
    async with asked(store=store) as (client, _):
        await client.post("/v1/runs", json={"definition": "doubled", "args": [1], "id": "r"})
        await client.get("/v1/runs/r/result?wait_ms=9000")
        await client.post("/v1/workers", json=announcement())
        await send(store, call_for("r"))
        [call] = await take(client)
        answer = await client.post(path_of(call["id"], "complete"), json={"token": call["token"], "value": 1})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:perdure:call-closed")


@pytest.mark.parametrize("verb", ["complete", "fail", "heartbeat"])
async def test_an_unknown_attempt_is_404_and_a_wrong_receipt_403(verb: str) -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        await start(client, "r")
        await client.post("/v1/workers", json=announcement())
        await send(store, call_for("r"), call_for("r", 2))
        first, second = await take(client)
        body = {"worker": "w1", "message": "x", "token": first["token"]}
        assert (await client.post(path_of("nobody#1#1~1.1", verb), json=body)).status_code == 404
        assert (await client.post(path_of("nonsense", verb), json=body)).status_code == 404
        wrong = await client.post(path_of(second["id"], verb), json=body)
        assert (wrong.status_code, wrong.json()["type"]) == (403, "urn:perdure:receipt-wrong")
        assert second["token"] not in wrong.text
        assert (await client.post(path_of(first["id"], verb), json=body | {"token": "é"})).status_code == 403
        assert await posted(store, "r") == []


@pytest.mark.covers("F6")
async def test_a_pickled_outcome_is_refused_and_never_read() -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        await start(client, "r")
        path = path_of("r#1#1~1.1", "complete")
        body = b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94."
        for kind in ("application/x-python-pickle", "application/octet-stream", ""):
            answer = await client.post(path, content=body, headers={"Content-Type": kind})
            assert answer.status_code == 415
        assert (await client.post(path, content=body, headers={"Content-Type": "application/json"})).status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "done"}, "status"),
        ({"v": 2, "value": 1}, "$.v"),
        ({"encoding": "zip", "value": 1}, "encoding"),
        ({"encoding": "bytes", "value": "§"}, "base64"),
        ({"took_ms": -1}, "took_ms"),
    ],
)
async def test_an_outcome_that_is_none_is_refused_with_its_reason(body: dict[str, Any], field: str) -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        await start(client, "r")
        await client.post("/v1/workers", json=announcement())
        await send(store, call_for("r"))
        [call] = await take(client)
        answer = await client.post(path_of(call["id"], "complete"), json=body | {"token": call["token"]})
        assert answer.status_code == 422
        assert field in answer.json()["detail"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "http:///x",
        "http://user:secret@a/",
        "http://169.254.169.254/latest",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "http://[x",
        "a",
    ],
)
async def test_a_push_url_that_no_worker_can_have_is_refused(url: str) -> None:
    store = MemoryStore()
    async with asked(store=store, is_client=True) as (client, _):
        assert (await client.post("/v1/workers", json=announcement(push_url=url))).status_code == 422
        assert await store.read(WORKER_RECORDS, ["w1"]) == {}
        assert (await client.post("/v1/workers", json=announcement(push_url="http://10.0.0.7:8080/calls"))).status_code == 201
        assert b'"transport":"http"' in (await store.read(WORKER_RECORDS, ["w1"]))["w1"].value


async def test_a_call_that_an_action_left_open_is_completed_and_failed_by_its_key() -> None:
    async with asked() as (client, engine):
        for run, verb, body in (
            ("a", "complete", {"value": 420}),
            ("b", "fail", {"message": "nobody was at home"}),
            ("c", "complete", {"status": "error", "error": {"message": "lost"}}),
        ):
            await client.post("/v1/runs", json={"definition": "outside", "args": ["book"], "id": run})
            key = await open_key(engine, run)
            wrong = await client.post(path_of(key, "complete"), json={"value": "heavy"})
            assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:perdure:invalid-value")
            assert (await client.post(path_of(key, verb), json=body)).status_code == 200
            result = (await client.get(f"/v1/runs/{run}/result?wait_ms=9000")).json()
            assert (result["value"], (result["error"] or {}).get("message")) == {
                "a": (420, None),
                "b": (None, "nobody was at home"),
                "c": (None, "lost"),
            }[run]
            assert (await client.post(path_of(key, verb), json=body)).status_code in (404, 409)
