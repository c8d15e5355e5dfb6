"""Workers of ours over the HTTP API: the promises of a transport that apply to whoever takes calls, and none of its secrets told."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, Registry, Worker, action, workflow
from perdure.api.opening import api
from perdure.control.tokens import Tokens
from perdure.model.errors import InvalidOption, PerdureError, TransportUnavailable, Unsupported
from perdure.model.registry import WORKER_RECORDS
from perdure.ports.records import RecordChange
from perdure.ports.system import SystemClock
from perdure.ports.transport import DEAD, DELIVERIES_MAX, REASON_HEADER, Delivery, Packet, calls_address
from perdure.stores.memory import MemoryStore
from perdure.transports.pull import Api, Desk, PullReporter, PullTransport
from perdure.wire.encoding import encode
from perdure.wire.headers import CallNames, headers_of, read_headers
from perdure.wire.messages import VERSION, Announce, AnnouncedAction, AnyWireMessage, Leave, Outcome
from perdure.workers.reporting import Said

PATIENCE_S = 25.0
ADDRESS = calls_address("default", "crop", 1)
here, there = Registry(), Registry()
began: list[int] = []
gate = asyncio.Event()
stopped: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global gate
    gate = asyncio.Event()
    began.clear()
    stopped.clear()


@action(registry=there)
async def crop(number: int) -> int:
    began.append(number)
    try:
        await gate.wait()
    except asyncio.CancelledError:
        stopped.append("crop")
        raise
    return number


@workflow(registry=here)
async def cropped(number: int) -> int:
    return await crop(number)


async def until(is_so: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = is_so()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def served(store: Any = None, **options: Any) -> AsyncIterator[tuple[Engine, str]]:
    given = {"lease": "2s", "is_serving": False, "drain": "0s", **options}
    async with Engine(store or MemoryStore(), registry=here, **given) as engine, api(engine, "127.0.0.1", 0) as url:
        yield engine, url


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Hand:
    """A worker's transport and its reporter, without the worker."""

    def __init__(self, url: str, name: str = "hand", *, slots: int = 1) -> None:
        self.server, self.desk, self.name, self.slots = Api(url), Desk(), name, slots
        self.transport = PullTransport(self.server, self.desk, wait_ms=200)
        self.reporter = PullReporter(self.server, self.desk)
        self.got: list[Delivery] = []

    async def say(self, message: AnyWireMessage) -> None:
        await self.reporter.report([Said("1", encode(message))])

    async def open(self, settle: Callable[[Delivery], Awaitable[None]] | None = None) -> None:
        await self.transport.open()

        async def take(deliveries: Sequence[Delivery]) -> None:
            self.got += deliveries
            for delivery in deliveries:
                if settle is not None:
                    await settle(delivery)

        await self.transport.handle(ADDRESS, take, slots=self.slots)
        actions = [AnnouncedAction(name="crop")]
        await self.say(Announce(v=VERSION, worker=self.name, started_ms=0, interval_ms=200, slots=self.slots, actions=actions))

    async def die(self) -> None:
        """Nothing more is said or asked."""
        await self.server.close()
        self.desk.on_announced = lambda: None
        await self.transport.close()


@pytest.mark.covers("F9", "S12")
async def test_what_a_worker_had_taken_when_it_died_is_made_again_by_another() -> None:
    async with served() as (engine, url):
        first = Hand(url)
        await first.open()
        run = await engine.start(cropped, 7)
        await until(lambda: bool(first.got))
        await first.die()
        gate.set()
        async with Worker(url, [crop], interval="200ms"), asyncio.timeout(PATIENCE_S):
            assert await run.result() == 7


@pytest.mark.covers("F9")
async def test_at_most_so_many_are_under_way_as_there_are_slots_and_what_waits_gets_one() -> None:
    async with served(lease="10s") as (engine, url), Worker(url, [crop], interval="200ms", slots=2) as worker:
        runs = [await engine.start(cropped, number) for number in range(6)]
        await until(lambda: len(began) == 2)
        # Told to the nodes by now, and no slot is free.
        await asyncio.sleep(1.5)
        assert (len(began), worker.running) == (2, 2)
        gate.set()
        async with asyncio.timeout(PATIENCE_S):
            assert [await run.result() for run in runs] == list(range(6))


@pytest.mark.covers("F6")
async def test_an_outcome_is_told_with_the_headers_of_its_call_as_http_writes_them() -> None:
    heads: list[list[str]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head.decode().split("\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    names = CallNames(id="ü 1#0#1~1.2", key="ü 1#0#1", run="ü 1", call="1", attempt=2, action="crop")
    outcome = Outcome(v=VERSION, id=names.id, key=names.key, worker="w", status="empty")
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    own = Api(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        await own.open()
        await PullReporter(own, Desk()).report([Said("1", encode(outcome), headers=headers_of(names))])
        await own.close()
    told = {line.partition(": ")[0]: line.partition(": ")[2] for line in heads[0][1:]}
    assert (told["Idempotency-Key"], told["Perdure-Run"], told["Perdure-Attempt"]) == ("%C3%BC%201#0#1", "%C3%BC%201", "2")
    assert read_headers(told) == names


async def test_deliveries_that_are_not_settled_are_never_more_than_the_slots() -> None:
    async with served() as (engine, url):
        hand = Hand(url, slots=3)
        await hand.open()
        for number in range(8):
            await engine.start(cropped, number)
        await until(lambda: len(hand.got) == 3)
        await asyncio.sleep(0.5)
        assert len(hand.got) == 3
        await hand.got[0].ack()
        await until(lambda: len(hand.got) == 4)
        await hand.transport.close()


@pytest.mark.covers("F9", "I15")
async def test_a_server_that_restarts_is_come_back_to_and_what_is_under_way_is_reported_to_it(tmp_path: Path) -> None:
    port = free_port()
    async with Engine(f"sqlite:///{tmp_path}/a.db", registry=here, is_serving=False, drain="0s", lease="30s") as engine:
        server = api(engine, "127.0.0.1", port)
        url = await server.__aenter__()
        async with Worker(url, [crop], interval="200ms") as worker:
            run = await engine.start(cropped, 1)
            await until(lambda: began == [1])
            await server.__aexit__(None, None, None)
            gate.set()
            await until(lambda: worker.is_away)
            async with api(engine, "127.0.0.1", port), asyncio.timeout(PATIENCE_S):
                assert await run.result() == 1
                assert await (await engine.start(cropped, 2)).result() == 2
                await worker.close()
    assert began == [1, 2]


@pytest.mark.covers("F9")
async def test_a_cancelled_run_stops_the_action_once() -> None:
    async with served() as (engine, url), Worker(url, [crop], interval="100ms"):
        run = await engine.start(cropped, 1)
        await until(lambda: began == [1])
        await run.cancel()
        await until(lambda: bool(stopped))
    assert stopped == ["crop"]


async def test_a_call_that_is_given_back_goes_to_another_at_once_and_in_the_end_to_the_dead_letters() -> None:
    store = MemoryStore()
    async with served(store, lease="60s") as (engine, url):
        hand = Hand(url)
        await hand.open(lambda delivery: delivery.give_back())
        await engine.start(cropped, 1)
        await until(lambda: _has_letters(store))
        assert len(hand.got) == DELIVERIES_MAX
        assert {delivery.packet.id for delivery in hand.got} == {hand.got[0].packet.id}
        await hand.transport.close()
        assert (await _letters(store))[0].headers[REASON_HEADER] == f"given back {DELIVERIES_MAX} times"


async def test_a_call_that_is_refused_is_a_dead_letter_with_the_reason() -> None:
    store = MemoryStore()
    async with served(store) as (engine, url):
        hand = Hand(url)
        await hand.open(lambda delivery: delivery.refuse("no such picture"))
        await engine.start(cropped, 1)
        await until(lambda: _has_letters(store))
        await hand.transport.close()
        assert (await _letters(store))[0].headers[REASON_HEADER] == "no such picture"


async def _has_letters(store: MemoryStore) -> bool:
    return await store.count_packets(DEAD, SystemClock().now_us()) > 0


async def _letters(store: MemoryStore) -> list[Packet]:
    now_us = SystemClock().now_us()
    return [claim.packet for claim in await store.take_packets({DEAD: 10}, 1, now_us=now_us, until_us=now_us + 1)]


async def test_nothing_is_taken_for_a_worker_that_has_left() -> None:
    store = MemoryStore()
    async with served(store) as (_, url):
        hand = Hand(url)
        await hand.open()
        await hand.say(Leave(v=VERSION, worker="hand"))
        await store.put_packets([(ADDRESS, Packet("x", b"{}"))], SystemClock().now_us())
        await asyncio.sleep(0.5)
        assert await store.count_packets(ADDRESS, SystemClock().now_us()) == 1
        await hand.transport.close()


async def test_a_worker_that_the_server_has_forgotten_announces_itself_again() -> None:
    store = MemoryStore()
    async with served(store) as (engine, url):
        hand = Hand(url)
        await hand.open()
        await store.write([RecordChange(WORKER_RECORDS, "hand", None)])
        await engine.start(cropped, 1)
        await until(lambda: bool(hand.got))
        await hand.transport.close()


async def test_a_token_is_needed_once_there_is_one_and_is_told_to_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    store = MemoryStore()
    caplog.set_level(logging.DEBUG)
    tokens = Tokens(store, SystemClock())
    token, other = await tokens.create("worker", ["calls"]), await tokens.create("reader", ["runs:read"])
    (tmp_path / "token").write_text(token + "\n")
    async with served(store) as (engine, url):
        for given, found in ((None, "found none"), ("wrong", "unknown"), (other, "lacks the scope calls")):
            monkeypatch.delenv("PERDURE_API_TOKEN", raising=False)
            if given:
                monkeypatch.setenv("PERDURE_API_TOKEN", given)
            with pytest.raises(InvalidOption, match=found):
                await Worker(url, [crop]).open()
        monkeypatch.setenv("PERDURE_API_TOKEN", token)
        gate.set()
        for reference in (None, "env:PERDURE_API_TOKEN", f"file:{tmp_path}/token"):
            async with Worker(url, [crop], token=reference, interval="200ms") as worker, asyncio.timeout(PATIENCE_S):
                assert await (await engine.start(cropped, 3)).result() == 3
            assert worker.place == url
    assert token not in caplog.text
    assert other not in caplog.text


async def test_a_token_that_is_revoked_is_said_in_the_log_and_the_worker_stays(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with served(store) as (_, url):
        hand = Hand(url)
        await hand.open()
        await Tokens(store, SystemClock()).create("first", ["calls"])
        await until(lambda: hand.transport.is_away)
        assert "expected a token with the scope calls" in caplog.text
        await hand.transport.close()


async def test_where_nobody_answers_or_no_server_of_ours_it_is_said_which() -> None:
    with pytest.raises(TransportUnavailable, match="did not answer"):
        await Worker(f"http://127.0.0.1:{free_port()}", [crop]).open()
    async with served() as (_, url):
        with pytest.raises(InvalidOption, match=r"no-such-path.*expected Perdure's"):
            await Worker(f"{url}/elsewhere", [crop]).open()
        transport = PullTransport(Api(url), Desk())
        for asked in (transport.send(ADDRESS, []), transport.backlog(ADDRESS)):
            with pytest.raises(Unsupported):
                await asked
        with pytest.raises(TransportUnavailable, match="not open"):
            await transport.handle(ADDRESS, Hand(url).reporter.report, slots=1)  # type: ignore[arg-type]  # Never called.


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("http://me:secret@127.0.0.1", {}, "with credentials"),
        ("http://127.0.0.1?token=secret", {}, "with credentials or options"),
        ("http://127.0.0.1", {"wire": "avro"}, "expected 'json'"),
        ("http://127.0.0.1", {"namespace": "a"}, "an API is that of one namespace"),
        ("http://127.0.0.1", {"token": "secret"}, "expected env:NAME or file:PATH"),
        ("sqlite:///a.db", {"token": "env:PATH"}, "none with others"),
    ],
)
def test_what_cannot_be_is_refused_without_its_secret(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(PerdureError, match=said) as caught:
        Worker(url, [crop], **options)
    assert "secret" not in str(caught.value).replace("a reference to a secret", "")
