"""Callbacks: an outside service answers at the URL that a run has given it."""

import msgspec
import pytest

from perdure.client.callbacks import CALLBACKS, CallbackRecord, callback_key
from perdure.control.tokens import Tokens
from perdure.ports.records import RecordChange
from perdure.ports.store import Store
from perdure.ports.system import SystemClock
from perdure.stores.memory import MemoryStore
from tests.api.house import asked


async def write(store: Store, token: str, run: str) -> None:
    record = CallbackRecord(run=run, channel="approval")
    await store.write([RecordChange(CALLBACKS, callback_key(token), msgspec.json.encode(record))])


@pytest.mark.covers("F15")
async def test_an_unknown_callback_is_404_and_one_answered_twice_counts_once(store_url: str) -> None:
    async with asked(store=store_url) as (client, engine):
        await client.post("/v1/runs", json={"definition": "approved", "id": "r"})
        await write(engine.store, "t0ken", "r")
        assert (await client.post("/v1/callbacks/unknown", json=True)).status_code == 404
        for answer in (True, True, False):
            assert (await client.post("/v1/callbacks/t0ken", json=answer)).status_code == 200
        assert (await client.get("/v1/runs/r/result?wait_ms=9000")).json()["value"] is True
        assert (await client.post("/v1/callbacks/t0ken", json=False)).status_code == 200


async def test_a_callback_needs_no_api_token_and_its_own_is_not_in_the_store() -> None:
    store = MemoryStore()
    await Tokens(store, SystemClock()).create("ci", ["admin"])
    await write(store, "t0ken", "r")
    assert all("t0ken" not in record.key for record in await store.scan(CALLBACKS))
    async with asked(store=store) as (client, _):
        assert (await client.get("/v1/runs/r")).status_code == 401
        assert (await client.post("/v1/callbacks/t0ken", json=1)).status_code == 200
