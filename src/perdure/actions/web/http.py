"""``http``: a request for each item."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import UNSET, field

from perdure.actions.configured import Item, Items, Options, check_span, configurable, pass_on, seconds
from perdure.actions.secret import Secret, Veil, unveiling
from perdure.actions.templates import check_all, check_template, fill_all, fill_url, filler, scope
from perdure.actions.web.auth import Auth, HeaderAuth, auth_header, check_headers
from perdure.actions.web.exchange import Asked, Exchange, Manner, Trouble
from perdure.actions.web.paging import Next, Paging, check_paging, first_page, next_page
from perdure.deciders.code.authoring import action
from perdure.model.errors import InvalidOption, RequestFailed, RequestRefused
from perdure.model.retry import Retry, RetryAfter
from perdure.ports.facilities import facilities_if_any

RETRY: Final = Retry(attempts=5, first="1s", factor=3, cap="1m", jitter=0.2)
"""Tries of a request that may be answered otherwise later."""
AGAIN_FACTOR: Final = 3
AGAIN_WAIT_MAX_S: Final = 10
"""A service that wants to be left alone for longer is left alone, for this call."""
KEY_HEADER: Final = "Idempotency-Key"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

Text = str | Secret
Parameter = str | int | float | bool | Secret | list[str]


class Http(Options, frozen=True, kw_only=True):
    """See docs/reference/actions.md, "http". All texts but ``ca_file`` and spans are templates, filled in from each item."""

    url: str
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, Text] = field(default_factory=dict)
    query: dict[str, Parameter] = field(default_factory=dict)
    json: Any = UNSET
    form: dict[str, Text] | None = None
    text: str | None = None
    auth: Auth | None = None
    expect: list[int] = field(default_factory=list)
    timeout: str = "15s"
    bytes_max: int = 5 * 1024 * 1024
    redirects_max: int = 5
    retry_after_max: str = "1h"
    parallel_max: int = 8
    again_max: int = 2
    again_after: str = "1s"
    paging: Paging | None = None
    key_header: str | None = KEY_HEADER
    ca_file: str | None = None

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("http")
        check_template("http.url", self.url)
        self._check_target()
        check_headers("http.headers", self.headers)
        if isinstance(self.auth, HeaderAuth):
            check_headers("http.auth", {self.auth.name: self.auth.value})
        check_all("http", {"headers": self.headers, "query": self.query, "form": self.form, "text": self.text})
        check_all("http.json", self.json)
        if [self.json is not UNSET, self.form is not None, self.text is not None].count(True) > 1:
            raise InvalidOption(option="http.json", found="more than one body", expected="one of json, form and text")
        for name, least in (("bytes_max", 1), ("redirects_max", 0), ("parallel_max", 1), ("again_max", 0)):
            if getattr(self, name) < least:
                raise InvalidOption(option=f"http.{name}", found=repr(getattr(self, name)), expected=f"{least} or more")
        check_span("http.timeout", self.timeout)
        check_span("http.retry_after_max", self.retry_after_max)
        check_span("http.again_after", self.again_after)
        if wrong := [status for status in self.expect if not 100 <= status <= 599]:
            raise InvalidOption(option="http.expect", found=repr(wrong), expected="statuses from 100 to 599")
        if self.paging is not None:
            check_paging(self.paging)

    def _check_target(self) -> None:
        if self.url.lstrip().startswith("{{"):
            return
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidOption(option="http.url", found=repr(self.url), expected="http://… or https://…, or a template")
        if "@" in parts.netloc:
            raise InvalidOption(option="http.url", found="a user or a password in it", expected="auth=…, with a Secret")


@action(name="http", retry=RETRY)
async def perform_http(items: Items, *, config: Http) -> Items:
    """Ask a service over HTTP for each item; what it answers is added to the item.

    Succeeds if at least one item has an answer with an expected status; items that have none then are asked for again by themselves, and
    have an ``error`` if that is no use. Raises `RequestRefused`
    if none has, and trying again is no use, else `RequestFailed`, or `RetryAfter` where the service says when.
    """
    if not items:
        return pass_on([], config)
    manner = Manner(
        expect=config.expect,
        timeout_s=seconds(config.timeout),
        bytes_max=config.bytes_max,
        redirects_max=config.redirects_max,
        ca_file=config.ca_file,
    )
    at_hand = facilities_if_any()
    with unveiling() as veil:
        async with Exchange(manner, veil, now_s=0 if at_hand is None else at_hand.now_us() / 1_000_000) as exchange:
            rounds = Rounds(config, exchange, veil, key=None if at_hand is None else at_hand.key)
            results = await rounds.all(items)
    troubles = _troubles(dict(enumerate(results)))
    if len(troubles) == len(results):
        raise_for(troubles, config.retry_after_max)
    found = [entry for item, result in zip(items, results, strict=True) for entry in _outputs(item, result)]
    return pass_on(found, config)


class Progress:
    """How far the pages of one item have come. ``step``: what the next request changes."""

    def __init__(self, step: Next) -> None:
        self.step = step
        self.pages: Items = []
        self.asked: set[Next] = set()


class Rounds:
    """The requests of one call. ``key``: its idempotency key, which each request that changes something carries with its place.

    While nothing has been answered, the call as a whole is tried again, which holds no slot in between. After that it would ask again for
    what it has; so what is missing is asked for again here, a page by itself.
    """

    def __init__(self, config: Http, exchange: Exchange, veil: Veil, *, key: str | None) -> None:
        self._config = config
        self._exchange = exchange
        self._veil = veil
        self._key = key
        self._free = asyncio.Semaphore(config.parallel_max)
        self._progress: dict[int, Progress] = {}

    async def all(self, items: Items) -> list[Items | Trouble]:
        """Give for each item its pages, or why it has none, in order."""
        results = dict(enumerate(await self._some(list(enumerate(items)))))
        for number in range(self._config.again_max):
            left = [at for at, result in results.items() if isinstance(result, Trouble) and _is_soon(result)]
            if not left or not (len(results) > len(_troubles(results)) or any(entry.pages for entry in self._progress.values())):
                break
            waits = [result.after_s or 0 for at in left if isinstance(result := results[at], Trouble)]
            await asyncio.sleep(max(seconds(self._config.again_after) * AGAIN_FACTOR**number, *waits))
            results.update(zip(left, await self._some([(at, items[at]) for at in left]), strict=True))
        return list(results.values())

    async def _some(self, items: Sequence[tuple[int, Item]]) -> list[Items | Trouble]:
        tasks: list[asyncio.Task[Items | Trouble]] = []
        first: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                tasks += [group.create_task(self._pages(at, item)) for at, item in items]
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
        if first is not None:
            raise first  # Not where it was caught: the group would be taken for what led to it.
        return [task.result() for task in tasks]

    async def _pages(self, at: int, item: Item) -> Items | Trouble:
        paging = self._config.paging
        progress = self._progress.setdefault(at, Progress(first_page(paging)))
        pages = progress.pages
        async with self._free:
            while True:
                step = progress.step
                progress.asked.add(step)
                answer = await self._exchange.ask(self._asked(at, item, step, page=len(pages) + 1))
                if isinstance(answer, Trouble):
                    return answer
                following = next_page(paging, answer, len(pages) + 1)
                is_past = following is None and bool(pages) and paging is not None and bool(step.query)
                if not is_past:
                    pages.append({**answer.fields(), **({} if paging is None else {"page": len(pages) + 1})})
                if following is None or following in progress.asked or paging is None:
                    return pages
                if len(pages) >= paging.pages_max:
                    pages[-1]["has_more"] = True
                    return pages
                progress.step = following

    def _asked(self, at: int, item: Item, step: Next, *, page: int) -> Asked:
        config, values = self._config, scope(item)
        headers = {name.lower(): fill_all(value, values) for name, value in config.headers.items() if isinstance(value, str)}
        secret_headers = [(name, self._veil.reveal(value)) for name, value in config.headers.items() if isinstance(value, Secret)]
        if config.auth is not None:
            secret_headers.append(auth_header(config.auth, self._veil))
        body, kind = self._body(values)
        if kind:
            headers.setdefault("content-type", kind)
        if config.key_header is not None and config.method not in _SAFE and self._key is not None:
            headers.setdefault(config.key_header.lower(), f"{self._key}/{at}" if page == 1 else f"{self._key}/{at}/{page}")
        home = fill_url(config.url, values)
        return Asked(
            method=config.method,
            url=step.url or home,
            home=home,
            headers=[(name, _line(value)) for name, value in headers.items()],
            query=[*self._query(values, step), *step.query],
            body=body,
            secret_headers=secret_headers,
            secret_query=[(name, self._veil.reveal(value)) for name, value in config.query.items() if isinstance(value, Secret)],
        )

    def _query(self, values: Mapping[str, Any], step: Next) -> list[tuple[str, str]]:
        """The next page's URL says all; otherwise each parameter is filled in."""
        if step.url is not None:
            return []
        found: list[tuple[str, str]] = []
        for name, value in self._config.query.items():
            if not isinstance(value, Secret):
                entries = value if isinstance(value, list) else [value]
                found += [(name, _plain(fill_all(entry, values))) for entry in entries]
        return found

    def _body(self, values: Mapping[str, Any]) -> tuple[bytes | None, str]:
        config = self._config
        if config.json is not UNSET:
            return msgspec.json.encode(fill_all(config.json, values)), "application/json"
        if config.form is not None:
            fields = {name: self._field(value, values) for name, value in config.form.items()}
            return urlencode(fields).encode(), "application/x-www-form-urlencoded"
        if config.text is not None:
            return filler(config.text).fill(values).encode(), "text/plain; charset=utf-8"
        return None, ""

    def _field(self, value: Text, values: Mapping[str, Any]) -> str:
        return self._veil.reveal(value) if isinstance(value, Secret) else _plain(fill_all(value, values))


def _troubles(results: Mapping[int, Items | Trouble]) -> list[Trouble]:
    return [result for result in results.values() if isinstance(result, Trouble)]


def _is_soon(trouble: Trouble) -> bool:
    """Tell whether it may be over in a span for which a slot can be held."""
    return trouble.is_passing and (trouble.after_s or 0) <= AGAIN_WAIT_MAX_S


def raise_for(troubles: list[Trouble], retry_after_max: str) -> None:
    """Raise what says best why there is no good answer: one that may come later, if any may."""
    passing = [trouble for trouble in troubles if trouble.is_passing]
    told = (passing or troubles)[0]
    if not passing:
        raise RequestRefused(asked=told.asked, found=told.found, status=told.answer.status if told.answer else None)
    failed = RequestFailed(asked=told.asked, found=told.found, status=told.answer.status if told.answer else None)
    waits = [trouble.after_s for trouble in passing if trouble.after_s is not None]
    if waits:
        raise RetryAfter(min(max(waits), seconds(retry_after_max)), str(failed)) from failed
    raise failed


def _outputs(item: Item, result: Items | Trouble) -> Items:
    if not isinstance(result, Trouble):
        return [{**item, **page} for page in result]
    nothing: Item = {"status_code": None, "content_type": "", "content": "", "headers": {}}
    answered = nothing if result.answer is None else result.answer.fields()
    return [{**item, **answered, "error": f"{result.asked}: {result.found}"}]


def _plain(value: Any) -> str:
    """Write a value for a query or a form, as JSON writes what is no text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _line(value: Any) -> str:
    return " ".join(_plain(value).split())


http = configurable(perform_http, Http)
