"""Workers that are called at their URL."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime

import msgspec
import pytest

from perdure.model.duration import instant
from perdure.model.errors import TransportUnavailable
from perdure.ports.system import SystemClock
from perdure.testing import VirtualClock
from perdure.transports import http
from perdure.transports.http import HttpPush
from perdure.wire.messages import VERSION, Call, Outcome
from perdure.wire.receipts import is_receipt
from tests.transports.pushed import Service, service

SECRET = b"s" * 32
KEY = "a/ü run#1#2/1"
CALL = Call(
    v=VERSION,
    id=f"{KEY}~1.2",
    key=KEY,
    run="a/ü run",
    call="2/1",
    attempt=2,
    action="crop",
    args=[msgspec.Raw(b'"a.jpg"')],
    sent_ms=1,
    lease_ms=10_000,
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


@contextlib.asynccontextmanager
async def pushing(answer: str = "20s") -> AsyncIterator[tuple[HttpPush, Service]]:
    push = HttpPush(SystemClock(), secret=SECRET, api_url="https://perdure.example/", answer=answer)
    async with service() as worker:
        try:
            yield push, worker
        finally:
            await push.close()


async def outcome_of(push: HttpPush, worker: Service) -> Outcome:
    found = await push.perform(CALL, worker.url)
    assert found is not None
    assert (found.id, found.key) == (CALL.id, CALL.key)
    return found


@pytest.mark.covers("F9", "S13")
async def test_a_worker_is_sent_the_call_and_its_answer_is_the_outcome() -> None:
    async with pushing() as (push, worker):
        worker.says(200, {"status": "data", "value": {"width": 60}, "took_ms": 3})
        found = await outcome_of(push, worker)
        assert (found.status, bytes(found.value), found.took_ms) == ("data", b'{"width":60}', 3)  # type: ignore[arg-type]  # it has one
        assert worker.bodies[0]["args"] == ["a.jpg"]
        assert worker.bodies[0]["type"] == "call"
        assert is_receipt(SECRET, CALL.id, str(worker.bodies[0]["token"]))


async def test_names_travel_in_the_headers_that_http_has_for_them() -> None:
    async with pushing() as (push, worker):
        worker.says(204)
        assert (await outcome_of(push, worker)).status == "empty"
        head = worker.heads[0].lower()
        assert "\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n" in head
        assert "\r\nidempotency-key: a/%c3%bc%20run#1#2/1\r\n" in head
        assert "\r\nperdure-callback: https://perdure.example/v1/calls/a%2f%c3%bc%20run%231%232%2f1~1.2/complete\r\n" in head
        assert "\r\ncontent-type: application/json\r\n" in head


async def test_a_worker_that_answers_202_says_later_how_it_ended() -> None:
    async with pushing() as (push, worker):
        worker.says(202)
        assert await push.perform(CALL, worker.url) is None


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        (400, True),
        (401, True),
        (404, True),
        (301, True),
        (408, False),
        (425, False),
        (500, False),
        (501, False),
        (502, False),
        (504, False),
    ],
)
@pytest.mark.covers("S13")
async def test_an_answer_that_is_no_success_is_an_error_final_where_asking_again_cannot_help(status: int, is_final: bool) -> None:
    async with pushing() as (push, worker):
        worker.says(status, b"no such picture", "Location: http://127.0.0.1:1/", kind="text/plain")
        found = await outcome_of(push, worker)
        assert found.error is not None
        assert (found.status, found.error.is_final, found.error.type) == ("error", is_final, f"perdure.http:Http{status}")
        assert "no such picture" in found.error.message
        assert "hidden" not in found.error.message
        assert len(worker.heads) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_worker_that_has_enough_says_when_to_come_again(status: int) -> None:
    async with pushing() as (push, worker):
        worker.says(status, None, "Retry-After: 7")
        found = await outcome_of(push, worker)
        assert found.error is not None
        assert (found.retry_after_ms, found.error.is_final) == (7_000, False)


@pytest.mark.parametrize(("text", "expected"), [("soon", None), ("-1", None), ("", None), ("9" * 30, 10**12), ("²", None)])
async def test_a_wish_that_cannot_be_read_is_no_wish(text: str, expected: int | None) -> None:
    async with pushing() as (push, worker):
        worker.says(503, None, *([f"Retry-After: {text}".encode().decode("latin-1")] if text else []))
        assert (await outcome_of(push, worker)).retry_after_ms == expected


async def test_a_wish_may_be_a_date() -> None:
    clock = VirtualClock()
    push = HttpPush(clock, secret=SECRET)
    async with service() as worker:
        date = format_datetime(instant(clock.now_us()) + timedelta(minutes=2), usegmt=True)
        worker.says(503, None, f"Retry-After: {date}")
        assert (await outcome_of(push, worker)).retry_after_ms == 120_000
        worker.says(503, None, f"Retry-After: {date[:-3]}-0000")
        assert (await outcome_of(push, worker)).retry_after_ms is None
    await push.close()


async def test_a_worker_that_nobody_can_reach_is_unavailable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    push = HttpPush(SystemClock(), secret=SECRET)
    with pytest.raises(TransportUnavailable, match=f"127.0.0.1:{port}") as caught:
        await push.perform(CALL, f"http://127.0.0.1:{port}/calls?key=hidden")
    assert "hidden" not in str(caught.value)
    await push.close()
    await push.close()


async def test_a_connection_that_breaks_after_the_request_is_an_error_of_the_attempt() -> None:
    async with pushing() as (push, worker):
        found = await outcome_of(push, worker)
        assert found.error is not None
        assert (found.error.type, found.error.is_final) == ("perdure.http:ConnectionLost", False)


async def test_a_worker_that_does_not_answer_in_time_is_an_error_of_the_attempt() -> None:
    async with pushing(answer="50ms") as (push, worker):
        worker.gate = asyncio.Event()
        found = await outcome_of(push, worker)
        assert found.error is not None
        assert (found.error.type, found.error.is_final) == ("perdure.http:AnswerTimedOut", False)
        worker.gate.set()


async def test_a_cancelled_attempt_closes_the_connection() -> None:
    async with pushing() as (push, worker):
        worker.gate = asyncio.Event()
        task = asyncio.create_task(push.perform(CALL, worker.url))
        await worker.heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await worker.hung_up.wait()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "text/html"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\x80\x04N.", "application/x-python-pickle"),
        (b"\x80\x04N.", "application/json"),
        (b'{"status":"done"}', "application/json"),
        (b'{"v":2}', "application/json"),
        (b'{"encoding":"pickle","value":"gASVAAAA"}', "application/json"),
    ],
)
async def test_a_success_that_is_no_outcome_is_a_final_error(body: bytes, kind: str) -> None:
    async with pushing() as (push, worker):
        worker.says(200, body, kind=kind)
        found = await outcome_of(push, worker)
        assert found.error is not None
        assert (found.error.type, found.error.is_final) == ("perdure.http:InvalidAnswer", True)


async def test_an_answer_that_is_too_large_is_a_final_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 1_000)
    async with pushing() as (push, worker):
        worker.says(200, {"value": "x" * 2_000})
        found = await outcome_of(push, worker)
        assert found.error is not None
        assert (found.error.type, found.error.is_final) == ("perdure.http:AnswerTooLarge", True)
