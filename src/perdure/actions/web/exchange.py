"""One request and its answer. Protects from secrets in logs and errors, answers without end, redirects that take a password along."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from perdure.actions.secret import Discreet, Secret, Veil
from perdure.actions.web.answer import Answer

Texts = Sequence[tuple[str, str]]
RETRIED: Final = frozenset({429, *range(500, 600)})
"""Statuses after which the same request may be answered otherwise."""
FOUND_MAX: Final = 300


class Asked(Struct, frozen=True, kw_only=True):
    """A request, filled in but for its secrets. ``url`` may itself be one. ``home``: a URL of the only service that may see them, if that
    is not where the request goes.
    """

    method: str
    url: str | Secret
    home: str = ""
    headers: Texts = ()
    query: Texts = ()
    body: bytes | None = None
    secret_headers: Sequence[tuple[str, str]] = ()
    secret_query: Sequence[tuple[str, str]] = ()

    @property
    def name(self) -> str:
        """What it is called in errors: without its query, which may say too much."""
        return f"{self.method} {'the URL in ' + self.url.secret if isinstance(self.url, Secret) else self.url.partition('?')[0]}"


class Trouble(Struct, frozen=True, kw_only=True):
    """Why there is no good answer. ``is_passing``: the same request may have one later. ``after_s``: when, if the answer says so."""

    found: str
    asked: str
    is_passing: bool = False
    after_s: float | None = None
    answer: Answer | None = None


class Manner(Struct, frozen=True, kw_only=True):
    """How requests are made. ``expect``: good statuses, empty for 200 to 299."""

    expect: Sequence[int] = ()
    timeout_s: float = 15
    bytes_max: int = 5 * 1024 * 1024
    redirects_max: int = 5
    ca_file: str | None = None


class Exchange:
    """``async with Exchange(manner, veil, now_s=…) as exchange: await exchange.ask(…)``. ``now_s``: dates are measured from it."""

    def __init__(self, manner: Manner, veil: Veil, *, now_s: float) -> None:
        self._manner = manner
        self._veil = veil
        self._now_s = now_s
        _make_discreet()
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
        self._inner = httpx.AsyncHTTPTransport(verify=_trusted(manner.ca_file), limits=limits, trust_env=False)

    async def __aenter__(self) -> "Exchange":
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._inner.__aexit__(*raised)

    async def ask(self, asked: Asked) -> Answer | Trouble:
        """Give the answer, or why there is no good one."""
        try:
            async with asyncio.timeout(self._manner.timeout_s):
                answer = await self._answer(asked)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnicodeError) as error:
            return Trouble(found=self._found(error), asked=asked.name, is_passing=_is_passing(error))
        if answer is None:
            return Trouble(found=f"more than {self._manner.bytes_max} bytes came (bytes_max)", asked=asked.name)
        return self._judged(asked, answer)

    def _judged(self, asked: Asked, answer: Answer) -> Answer | Trouble:
        expect = self._manner.expect
        if answer.status in expect or (not expect and 200 <= answer.status < 300):
            return answer
        found = f"the status is {answer.status}, expected {', '.join(map(str, expect)) or '200 to 299'}"
        is_passing = answer.status in RETRIED
        after_s = _seconds_until(answer.headers.get("retry-after"), self._now_s) if is_passing else None
        return Trouble(found=found, asked=asked.name, is_passing=is_passing, after_s=after_s, answer=answer)

    async def _answer(self, asked: Asked) -> Answer | None:
        sealed = _Sealed(self._inner, asked, self._veil)
        # The client is given nothing secret, so whatever it logs or complains of gives nothing away.
        client = httpx.AsyncClient(
            transport=sealed,
            timeout=httpx.Timeout(self._manner.timeout_s),
            follow_redirects=True,
            max_redirects=self._manner.redirects_max,
            trust_env=False,
        )
        # The client is not closed: all it holds is the transport, which is shared and outlives it.
        url = httpx.URL(sealed.shown)
        url = url.copy_merge_params(list(asked.query)) if asked.query else url
        request = client.build_request(asked.method, url, headers=list(asked.headers), content=asked.body)
        response = await client.send(request, stream=True)
        try:
            content = bytearray()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > self._manner.bytes_max:
                    return None
        finally:
            await response.aclose()
        return Answer.of(response.status_code, response.headers.multi_items(), bytes(content), str(response.url)).hidden(self._veil)

    def _found(self, error: Exception) -> str:
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return f"no answer within {self._manner.timeout_s:g}s"
        return self._veil.hide(f"{type(error).__name__}: {error}")[:FOUND_MAX]


class _Sealed(httpx.AsyncBaseTransport):
    """Puts the secrets in at the last moment, and only where the request was meant to go: a redirect to elsewhere is followed without."""

    def __init__(self, inner: httpx.AsyncBaseTransport, asked: Asked, veil: Veil) -> None:
        self._inner = inner
        self._asked = asked
        self._secret_url: str | None = None
        if isinstance(asked.url, Secret):
            self._secret_url = veil.reveal(asked.url)
            parts = urlsplit(self._secret_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise httpx.InvalidURL("the secret is no URL")
            self.shown = f"{parts.scheme}://hidden.invalid/"
            self._meant = _origin(httpx.URL(self.shown))
        else:
            self.shown = asked.url
            self._meant = _origin(httpx.URL(asked.home or asked.url))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if _origin(request.url) != self._meant:
            return await self._inner.handle_async_request(request)
        url, headers = request.url, request.headers.copy()
        if self._secret_url is not None:
            url = httpx.URL(self._secret_url)
            if request.url.path != "/":
                url = url.join(request.url.raw_path.decode("ascii"))
            elif request.url.query:
                url = url.copy_merge_params(request.url.params)
            headers["host"] = url.netloc.decode("ascii")
        if self._asked.secret_query:
            url = url.copy_merge_params(list(self._asked.secret_query))
        for name, value in self._asked.secret_headers:
            headers[name] = value
        whole = httpx.Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)
        return await self._inner.handle_async_request(whole)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_passing(error: Exception) -> bool:
    """Tell whether the fault lies on the way, and not in what was asked."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.DecodingError):
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return False
        cause = cause.__cause__ or cause.__context__
    return isinstance(error, TimeoutError | httpx.TransportError)


def _seconds_until(text: str | None, now_s: float) -> float | None:
    """Read ``Retry-After`` (RFC 9110, 10.2.3): seconds, or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=1)
def _make_discreet() -> None:
    """What the client's libraries log, at their most talkative the headers of answers, passes by a filter from now on."""
    for name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy"):
        logging.getLogger(name).addFilter(Discreet())


@lru_cache(maxsize=16)
def _trusted(ca_file: str | None) -> ssl.SSLContext:
    """Made once for each set of authorities: to read them takes longer than a request. There is no way to turn verification off."""
    return httpx.create_ssl_context(trust_env=False) if ca_file is None else ssl.create_default_context(cafile=ca_file)
