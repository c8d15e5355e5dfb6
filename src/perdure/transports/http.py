"""Calls workers that have a URL: the call goes there as a POST, and the answer is its outcome, or 202 and the outcome comes later.

connection
    One pool of connections for all workers of a node; proxies of the environment are not used, redirects are not followed.
delivery
    One request for each attempt, with `Idempotency-Key`: the same for every attempt of a call. A worker that cannot be reached raises
    `TransportUnavailable`, and nothing was done there. Once the request was sent, whatever breaks is an error of the attempt: it may have
    had its effect. A cancelled `perform` closes the connection, which is all that the worker sees.
limits
    An answer of `ANSWER_BYTES_MAX`; `CONNECTIONS_MAX` requests at once; ``answer`` is how long one waits. Longer work answers 202, sends
    heartbeats, and completes the attempt over the API.
options
    ``api_url``: where workers reach the HTTP API, told to them as ``perdure-callback``; ``answer``.

Only URLs that a worker announced are called, and only those with a token of the scope ``calls`` may announce one: whoever may announce
can make a node ask any address that the node reaches. Link-local addresses are refused when they are announced.
"""

from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from perdure.model.duration import MICROSECONDS, Span, instant_us, span_us
from perdure.model.errors import InvalidMessage, InvalidOption, TransportUnavailable
from perdure.ports.clock import Clock
from perdure.wire.answers import Answer, given, outcome_from
from perdure.wire.attempts import outcome_of
from perdure.wire.headers import headers_of
from perdure.wire.messages import Call, Outcome, WireError

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTIONS_MAX: Final = 1_000
CONNECT_S: Final = 5.0
JSON: Final = "application/json"
CALLBACK: Final = "perdure-callback"
"""The header that says where the outcome of a call goes that is answered with 202."""
_SHOWN_MAX: Final = 500
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed. Source: RFC 9110."""


class HttpPush:
    """``secret``: the key of receipts, by which the API knows who was given a call."""

    def __init__(self, clock: Clock, *, secret: bytes, api_url: str = "", answer: Span = "5m") -> None:
        self._clock = clock
        self._secret = secret
        self._api_url = api_url.rstrip("/")
        self._answer_s = span_us(answer) / MICROSECONDS
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Workers can be called; safe to call twice."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(self._answer_s, connect=CONNECT_S),
                limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            )

    async def close(self) -> None:
        """No connection is open any more; safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def perform(self, call: Call, address: str, record: object = None) -> Outcome | None:
        """Give how the attempt ended; ``None`` if the worker says so later. Raises `TransportUnavailable` where nobody answers there."""
        await self.open()
        assert self._client is not None
        request = self._client.build_request(
            "POST", address, content=msgspec.json.encode(given(self._secret, call)), headers=self._headers(call)
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                return self._outcome(call, response, await _body(response))
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise TransportUnavailable(transport=_name(address), problem=str(error) or type(error).__name__) from error
        except (httpx.TimeoutException, TimeoutError):
            return self._broken(call, "AnswerTimedOut", f"{_name(address)} did not answer within {self._answer_s:g} s")
        except _AnswerTooLarge:
            problem = f"the answer of {_name(address)} is larger than {ANSWER_BYTES_MAX} bytes"
            return self._broken(call, "AnswerTooLarge", problem, is_final=True)
        except httpx.HTTPError as error:
            return self._broken(call, "ConnectionLost", f"{_name(address)}: {str(error) or type(error).__name__}")

    def _headers(self, call: Call) -> dict[str, str]:
        told = {**headers_of(call), "content-type": JSON, "accept": JSON}
        if self._api_url:
            told[CALLBACK] = f"{self._api_url}/v1/calls/{quote(call.id, safe='')}/complete"
        return told

    def _outcome(self, call: Call, response: httpx.Response, body: bytes) -> Outcome | None:
        status = response.status_code
        if status == 202:
            return None
        if status == 204:
            return outcome_from(Answer(status="empty"), call.id, _worker(response))
        if 200 <= status < 300:
            return self._told(call, response, body)
        text = body.decode(errors="replace")[:_SHOWN_MAX]
        problem = f"{_name(str(response.url))} answered {status} {response.reason_phrase}: {text}".rstrip(": ")
        after_ms = self._retry_after_ms(response.headers.get("retry-after", "")) if status in (429, 503) else None
        is_final = status not in _LATER and status < 500
        return self._broken(call, f"Http{status}", problem, is_final=is_final, retry_after_ms=after_ms)

    def _told(self, call: Call, response: httpx.Response, body: bytes) -> Outcome:
        """Whoever answers 200 must say what came of it; a page of a proxy is no value."""
        try:
            if response.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
                raise InvalidMessage(problem=f"its content type is {response.headers.get('content-type')!r}; send {JSON}")
            outcome = outcome_from(msgspec.json.decode(body, type=Answer), call.id, _worker(response))
            outcome_of(outcome)  # Proved here, where its sender is known.
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidMessage) as error:
            return self._broken(call, "InvalidAnswer", f"{_name(str(response.url))} answered what is no outcome: {error}", is_final=True)
        return outcome

    def _retry_after_ms(self, text: str) -> int | None:
        """Read seconds, or a date. Source: RFC 9110, 10.2.3."""
        if text.isascii() and text.isdigit():
            return min(int(text), 10**9) * 1_000
        try:
            return max(0, (instant_us(parsedate_to_datetime(text)) - self._clock.now_us()) // 1_000)
        except (ValueError, TypeError, InvalidOption):
            return None

    def _broken(self, call: Call, name: str, problem: str, *, is_final: bool = False, retry_after_ms: int | None = None) -> Outcome:
        error = WireError(type=f"perdure.http:{name}", message=problem, is_final=is_final)
        return outcome_from(Answer(status="error", error=error, retry_after_ms=retry_after_ms), call.id, "http")


class _AnswerTooLarge(Exception):
    pass


async def _body(response: httpx.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > ANSWER_BYTES_MAX:
            raise _AnswerTooLarge
    return bytes(data)


def _worker(response: httpx.Response) -> str:
    return _name(str(response.url))


def _name(url: str) -> str:
    """Name a worker without what its URL may hide in path or query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
