"""API tokens: who may ask what."""

from collections.abc import Collection
from datetime import timedelta

import httpx
import pytest

from perdure import Engine
from perdure.api.access import REMEMBERED_US, Access
from perdure.api.opening import api
from perdure.api.problems import Refusal
from perdure.control.tokens import KIND, Scope, Tokens
from perdure.model.errors import InvalidOption, TokenExists, TokenNotFound
from perdure.ports.records import Record
from perdure.ports.system import SystemClock
from perdure.stores.memory import MemoryStore
from perdure.testing import VirtualClock
from tests.api.house import around, asked

CLOCK = SystemClock()


class CountingStore(MemoryStore):
    reads = 0

    async def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        self.reads += 1
        return await super().read(kind, keys)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_is_shown_once_and_stored_as_a_hash() -> None:
    records = MemoryStore()
    tokens = Tokens(records, CLOCK)
    text = await tokens.create("ci", ["runs:read"])
    secret = text.rpartition(".")[2]
    kept = (await records.read(KIND, ["ci"]))["ci"].value
    assert secret.encode() not in kept
    assert len(secret) >= 43  # 256 bits in base64.
    found = await tokens.check(text)
    assert found is not None
    assert found.scopes == (Scope.RUNS_READ,)
    assert await tokens.create("other", ["admin"]) != text


@pytest.mark.parametrize("change", [lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"), lambda text: text.removeprefix("perdure_")])
async def test_a_text_that_is_nearly_a_token_is_none(change: object) -> None:
    tokens = Tokens(MemoryStore(), CLOCK)
    text = await tokens.create("ci", ["runs:read"])
    assert callable(change)
    assert await tokens.check(change(text)) is None
    assert await tokens.check("") is None
    assert await tokens.check("perdure_nobody.x") is None


async def test_names_and_scopes_that_cannot_be_are_refused() -> None:
    tokens = Tokens(MemoryStore(), CLOCK)
    for name, scopes in (("a.b", ["admin"]), ("", ["admin"]), ("a", []), ("a", ["root"])):
        with pytest.raises(InvalidOption):
            await tokens.create(name, scopes)
    await tokens.create("a", ["admin"])
    with pytest.raises(TokenExists):
        await tokens.create("a", ["admin"])
    with pytest.raises(TokenNotFound):
        await tokens.revoke("b")


async def test_a_name_is_free_again_once_its_token_is_revoked() -> None:
    tokens = Tokens(MemoryStore(), CLOCK)
    first = await tokens.create("a", ["admin"])
    await tokens.revoke("a")
    second = await tokens.create("a", ["calls"])
    assert await tokens.check(first) is None
    assert await tokens.check(second) is not None


async def test_without_any_token_this_machine_is_answered() -> None:
    async with asked() as (client, _):
        assert (await client.get("/v1/runs")).status_code == 200
        assert (await client.get("/v1/runs", headers=bearer("of another store"))).status_code == 200


async def test_once_there_is_a_token_each_request_needs_one_even_after_it_was_revoked() -> None:
    records = MemoryStore()
    tokens = Tokens(records, CLOCK)
    text = await tokens.create("ci", ["runs:read"])
    async with asked(store=records) as (client, _):
        refused = await client.get("/v1/runs")
        assert (refused.status_code, refused.json()["type"]) == (401, "urn:perdure:token-needed")
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert (await client.get("/v1/runs", headers=bearer(text + "x"))).status_code == 401
        assert (await client.get("/v1/runs", headers={"Authorization": f"Basic {text}"})).status_code == 401
        assert (await client.get("/v1/runs", headers=bearer(text))).status_code == 200
        for path in ("/live", "/ready", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
    await tokens.revoke("ci")
    async with asked(store=records) as (client, _):
        assert (await client.get("/v1/runs")).status_code == 401
        assert (await client.get("/v1/runs", headers=bearer(text))).status_code == 401


async def test_a_token_without_the_scope_is_403_which_names_it() -> None:
    records = MemoryStore()
    text = await Tokens(records, CLOCK).create("reader", ["runs:read", "calls"])
    everything = await Tokens(records, CLOCK).create("boss", ["admin"])
    async with asked(store=records) as (client, engine):
        body = {"definition": "sleeper"}
        refused = await client.post("/v1/runs", json=body, headers=bearer(text))
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:perdure:scope-missing")
        assert "runs:write" in refused.json()["detail"]
        assert text.rpartition(".")[2] not in refused.text
        assert await engine.list() == []
        assert (await client.post("/v1/runs", json=body, headers=bearer(everything))).status_code == 201


async def test_a_token_that_was_found_good_is_not_looked_up_again_for_some_seconds() -> None:
    clock, records = VirtualClock(), CountingStore()
    tokens = Tokens(records, clock)
    text = await tokens.create("ci", ["calls"], expires=timedelta(seconds=2))
    stays = await tokens.create("stays", ["calls"])
    access = Access(tokens, clock, is_local=True)
    reads = records.reads
    for _ in range(10):
        await access.admit({"authorization": f"Bearer {stays}"}, Scope.CALLS)
        await access.admit({"authorization": f"Bearer {text}"}, Scope.CALLS)
    assert records.reads == reads + 2
    await tokens.revoke("stays")
    await access.admit({"authorization": f"Bearer {stays}"}, Scope.CALLS)
    clock.move_to(clock.now_us() + 2_000_000)
    with pytest.raises(Refusal):
        await access.admit({"authorization": f"Bearer {text}"}, Scope.CALLS)
    clock.move_to(clock.now_us() + REMEMBERED_US)
    with pytest.raises(Refusal):
        await access.admit({"authorization": f"Bearer {stays}"}, Scope.CALLS)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_without_a_token_a_host_that_others_reach_is_refused_by_name(host: str) -> None:
    async with Engine("memory://") as engine:
        with pytest.raises(InvalidOption, match="no API token") as caught:
            async with api(engine, host, 0, around=around(engine)):
                pass
        assert host in str(caught.value)


async def test_with_a_token_any_host_is_opened() -> None:
    records = MemoryStore()
    text = await Tokens(records, CLOCK).create("ci", ["runs:read"])
    async with Engine(records) as engine, api(engine, "0.0.0.0", 0) as url:
        port = url.rpartition(":")[2]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/v1/runs")).status_code == 401
            assert (await client.get("/v1/runs", headers=bearer(text))).status_code == 200


async def test_an_address_that_is_taken_is_said() -> None:
    async with Engine("memory://") as engine, api(engine, "127.0.0.1", 0, around=around(engine)) as url:
        with pytest.raises(InvalidOption, match="can be opened"):
            async with api(engine, "127.0.0.1", int(url.rpartition(":")[2]), around=around(engine)):
                pass


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8700"}, 200),
        ({"Host": "[::1]:8700"}, 200),
        ({"Host": "rebound.example.org"}, 403),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
    ],
)
async def test_without_tokens_pages_in_a_browser_get_no_answer(headers: dict[str, str], status: int) -> None:
    async with asked() as (client, _):
        assert (await client.get("/v1/runs", headers=headers)).status_code == status
