"""Webhooks out and back: several outside services in one process, whose answers come early, twice, wrong or never (F15)."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

import perdure
from perdure import Engine, action, actions, errors, workflow
from perdure.api.opening import api
from perdure.codecs import Compression
from perdure.model.callback import CALLBACKS, reference_of, references_in, token_of
from perdure.stores.memory import MemoryStore
from perdure.testing import Environment
from tests.actions.service import Got, Said, serving
from tests.stores import bytes_at_rest

TOKEN_LENGTH = 43


class Scan(msgspec.Struct):
    pages: int


@workflow
async def scan_then_print(a: str, b: str) -> Any:
    callback = await perdure.callback(Scan)
    await actions.http(url=f"{a}/scan", method="POST", json={"reply_to": "{{ url }}"})([{"url": callback.url}])
    scan = await callback.receive()
    (printed,) = await actions.http(url=f"{b}/print", method="POST", json={"pages": "{{ pages }}"})([{"pages": scan.pages}])
    return [scan.pages, printed["content"]]


@asynccontextmanager
async def house(store: Any, **options: Any) -> AsyncIterator[tuple[Engine, str]]:
    """Give an engine whose API answers over a socket."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    async with Engine(store, api_url=f"http://127.0.0.1:{port}", **options) as engine, api(engine, "127.0.0.1", port) as url:
        yield engine, url


def url_of(got: Got) -> str:
    return str(msgspec.json.decode(got.body)["reply_to"])


async def post(url: str, value: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.post(url, json=value)


@pytest.mark.covers("F15", "S13")
@pytest.mark.parametrize("when", ["before the first answer is there", "later"])
async def test_two_outside_services_take_part_in_one_process(disk_url: str, when: str) -> None:
    """A answers its request only after it has called back, or calls back when its request has long been answered."""
    with serving() as a, serving() as b:
        asked = threading.Event()

        def scan(got: Got) -> Said:
            if when.startswith("before"):
                assert httpx.post(url_of(got), json={"pages": 3}, trust_env=False, timeout=20).status_code == 200
            asked.set()
            return Said(202, "wait")

        a.route("/scan", scan)
        b.route("/print", Said(200, "printed"))
        async with house(disk_url) as (engine, _):
            run = await engine.start(scan_then_print, a.url, b.url)
            await asyncio.to_thread(asked.wait, 20)
            url = url_of(a.got[0])
            if when == "later":
                assert (await post(url, {"pages": 3})).status_code == 200
            assert await run.result() == [3, "printed"]
            assert (await post(url, {"pages": 4})).status_code == 200, "a second answer is ignored"
            assert await run.result() == [3, "printed"]
            journal = b"".join([msgspec.json.encode(entry.fact) async for entry in run.journal()])
        token = url.rpartition("/")[2]
        assert len(token) == TOKEN_LENGTH
        assert token.encode() not in journal
        assert b"perdure-callback://" in journal
        kept = await bytes_at_rest(disk_url)
        assert b"perdure-callback://" in kept, "what is there is found"
        assert token.encode() not in kept
    assert [got.body for got in b.got] == [b'{"pages":3}']


@pytest.mark.covers("F15")
async def test_an_unknown_token_is_404_and_a_wrong_answer_422_after_which_the_right_one_counts(store_url: str) -> None:
    async with house(store_url) as (engine, url):
        assert (await post(f"{url}/v1/callbacks/{'x' * 43}", 1)).status_code == 404
        told: asyncio.Queue[str] = asyncio.Queue()
        run = await engine.start(_waiter(told))
        place = await told.get()
        wrong = await post(place, {"pages": "many"})
        assert (wrong.status_code, "many" in wrong.text) == (422, False)
        assert (await post(place, {"pages": 2})).status_code == 200
        assert await run.result() == 2
        assert (await post(place, {"pages": 2})).status_code == 200


def _waiter(told: "asyncio.Queue[str]") -> Any:
    @action(name="tell")
    async def tell(url: str) -> str:
        told.put_nowait(url)
        return url

    @workflow(name="waiter")
    async def waiter() -> int:
        callback = await perdure.callback(Scan)
        assert await tell(callback.url) == callback.url, "what comes back has what stands for it again"
        return (await callback.receive()).pages

    return waiter


class HereEngine(Engine):
    """An engine that is reached from outside."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, api_url="http://here", **options)


class Here(Environment):
    """Virtual time, with such an engine."""

    engine_class = HereEngine


@pytest.mark.covers("F15")
async def test_an_answer_that_never_comes_ends_by_the_codes_own_timeout() -> None:
    @workflow(name="impatient")
    async def impatient() -> str:
        callback = await perdure.callback(Scan)
        try:
            async with asyncio.timeout(3600):
                await callback.receive()
        except TimeoutError:
            return "never"
        return "came"

    async with Here() as env:
        assert await env.run(impatient) == "never"


@pytest.mark.parametrize("codecs", [(), (Compression(),)])
async def test_urls_are_the_same_after_a_crash_and_with_codecs(store_url: str, codecs: Any) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    @action(name="tell_and_fail", retry=perdure.Retry(attempts=2, first="1ms"))
    async def tell(url: str, padding: str) -> None:
        told.put_nowait(url)
        if told.qsize() == 1:
            raise ValueError(f"no way to {url}")

    @workflow(name="teller")
    async def teller() -> int:
        callback = await perdure.callback()
        await tell(f"<{callback.url}?x=1>", "p" * 5_000)
        return int(await callback.receive())

    async with Engine(store_url, codecs=codecs, api_url="http://here/") as engine:
        run = await engine.start(teller)
        first, second = await told.get(), await told.get()
        assert first == second
        assert first.startswith("<http://here/v1/callbacks/")
        assert first.endswith("?x=1>")
        failures = [entry.fact async for entry in run.journal() if type(entry.fact).__name__ == "AttemptFailed"]
        assert b"v1/callbacks" not in msgspec.json.encode(failures)
        assert b"perdure-callback://" in msgspec.json.encode(failures)


@pytest.mark.covers("F15")
async def test_no_other_run_and_no_stranger_can_have_a_url_put_in(store_url: str) -> None:
    given: list[str] = []

    @action(name="take")
    async def take(text: str) -> None:
        given.append(text)

    @workflow(name="taker")
    async def taker(text: str) -> str:
        await take(text)
        return (await perdure.callback()).url

    async with Engine(store_url, api_url="http://here") as engine:
        reference = await engine.run(taker, "nothing")
        forged = reference[:-1] + ("A" if reference[-1] != "A" else "B")
        await engine.run(taker, reference)
        await engine.run(taker, forged)
    assert given == ["nothing", reference, forged]


async def test_without_a_url_of_the_api_the_callback_is_refused_before_anything_is_sent() -> None:
    @workflow(name="nowhere")
    async def nowhere() -> str:
        return (await perdure.callback()).url

    async with Engine(MemoryStore(), api_url="") as engine:
        with pytest.raises(errors.InvalidOption, match="PERDURE_API_URL"):
            await engine.run(nowhere)


async def test_a_callback_that_was_not_awaited_says_so() -> None:
    @workflow(name="careless")
    async def careless() -> str:
        return perdure.callback().url

    async with Engine(MemoryStore(), api_url="http://here") as engine:
        with pytest.raises(errors.Unsupported, match="not awaited"):
            await engine.run(careless)
    with pytest.raises(errors.Unsupported, match="outside a workflow"):
        perdure.callback(Scan)


def test_a_reference_tells_its_key_and_nothing_of_the_token() -> None:
    secret, key = b"s" * 32, "order 7/ä#1#2/1"
    reference = reference_of(secret, key)
    assert references_in(f'"{reference}" and more'.encode(), secret) == {reference.encode(): key}
    assert references_in(reference.encode(), b"t" * 32) == {}
    assert token_of(secret, key)[:16] not in reference
    assert CALLBACKS == "callback"
