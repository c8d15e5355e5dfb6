"""Makes callbacks, and puts their URLs where a journal has what stands for them. Protects a run from a stranger who reads a journal, an
export or a log and answers in a service's place: no token is in them. (Who reads all of the store has the key that tokens are worked out
with, and can do more than that.)
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.callback import (
    CALLBACK_ACTION,
    CALLBACKS,
    SCHEME,
    CallbackRecord,
    callback_key,
    reference_of,
    references_in,
    token_of,
)
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidOption, PerdureError, StoreUnavailable
from perdure.model.failure import Failure, failure_of
from perdure.model.ids import split_call_key
from perdure.model.payload import Content
from perdure.ports.clock import Clock, pause
from perdure.ports.performer import Performance, Performer, PlainPerformer
from perdure.ports.records import Records
from perdure.ports.secrets import store_secret
from perdure.ports.store import Batch

Deliver = Callable[[Attempt, Outcome], None]
Beat = Callable[[Attempt, Content], None]

PURPOSE: Final = "callbacks"
"""Of the store's key that tokens are worked out with."""
PATH: Final = "/v1/callbacks/"
KEPT_US: Final = 400 * 86_400 * 1_000_000
"""How long a callback is remembered."""
PAUSE_US: Final = 1_000_000
_MARK: Final = SCHEME.encode()
_FINAL: Final = ("perdure.model.errors:InvalidOption", "builtins:Exception")


class CallbackPerformer:
    """``api_url``: where the HTTP API is reached from outside."""

    def __init__(self, inner: Performer, records: Records, clock: Clock, *, serializer: Serializer, api_url: str) -> None:
        self._inner = inner
        self._records = records
        self._clock = clock
        self._serializer = serializer
        self._api_url = api_url.rstrip("/")
        self._secret: bytes | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.here: PlainPerformer | None = None if inner.here is None else _Shortcut(self, inner.here)

    def takes(self, spec: ActionSpec) -> bool:
        return spec.name == CALLBACK_ACTION or self._inner.takes(spec)

    def is_elsewhere(self, spec: ActionSpec) -> bool:
        return spec.name != CALLBACK_ACTION and self._inner.is_elsewhere(spec)

    def listen(self, heard: Callable[[], None]) -> None:
        self._inner.listen(heard)

    def prove(self, attempt: Attempt, outcome: Outcome, worker: str) -> Outcome:
        return self._inner.prove(attempt, outcome, worker)

    def keep_with(self, keep: Callable[[Attempt, Outcome], Batch]) -> None:
        self._inner.keep_with(keep)

    def perform(self, attempt: Attempt, deliver: Deliver, beat: Beat) -> Performance:
        if attempt.spec.name == CALLBACK_ACTION:
            return self._later(attempt, deliver, lambda performance: self._make(attempt, deliver))
        if not self.has_reference(attempt):
            return self._inner.perform(attempt, deliver, beat)
        return self._later(attempt, deliver, lambda performance: self._put_in(performance, attempt, deliver, beat))

    def _later(self, attempt: Attempt, deliver: Deliver, work: Callable[["Delayed"], "asyncio._CoroutineLike[None]"]) -> "Delayed":
        performance = Delayed(is_elsewhere=self.is_elsewhere(attempt.spec))
        task = asyncio.get_running_loop().create_task(work(performance))
        performance.task = task
        performance.on_cancel = partial(deliver, attempt, Outcome(failure=_CANCELLED))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return performance

    # A callback is made.

    async def _make(self, attempt: Attempt, deliver: Deliver) -> None:
        """The record is durable before anybody is given the URL."""
        try:
            deliver(attempt, await self._made(attempt))
        except PerdureError as error:
            is_final = not isinstance(error, StoreUnavailable)
            deliver(attempt, Outcome(failure=failure_of(error, is_final=is_final), error_types=_FINAL if is_final else ()))

    async def _made(self, attempt: Attempt) -> Outcome:
        self._require_url()
        secret, channel = await self._known_secret(), f"callback {attempt.base}#{attempt.call}"
        schema = self._serializer.decode(attempt.args[0], dict[str, object] | None) if attempt.args else None
        record = msgspec.json.encode(CallbackRecord(run=attempt.run, channel=channel, schema=schema))
        key = callback_key(token_of(secret, attempt.key))
        await self._records.add(CALLBACKS, {key: record}, expires_us=self._clock.now_us() + KEPT_US)
        return Outcome(self._serializer.encode({"url": reference_of(secret, attempt.key), "channel": channel}))

    def _require_url(self) -> None:
        if not self._api_url:
            expected = "where the HTTP API is reached from outside: PERDURE_API_URL=https://…, or Engine(api_url=…)"
            raise InvalidOption(option="perdure.callback", found="no URL to call back", expected=expected)

    async def _known_secret(self) -> bytes:
        if self._secret is None:
            self._secret = await store_secret(self._records, PURPOSE)
        return self._secret

    # URLs take the place of what stands for them.

    async def _put_in(self, performance: "Delayed", attempt: Attempt, deliver: Deliver, beat: Beat) -> None:
        while True:
            try:
                secret = await self._known_secret()
                break
            except StoreUnavailable:
                await pause(self._clock, PAUSE_US)
        urls = self._urls(attempt, secret)
        if urls and not self._api_url:
            try:
                self._require_url()
            except InvalidOption as error:
                deliver(attempt, Outcome(failure=failure_of(error, is_final=True), error_types=_FINAL))
                return
        exchange = Exchange(urls, self._serializer)
        changed = msgspec.structs.replace(
            attempt,
            args=tuple(exchange.real(content) for content in attempt.args),
            kwargs={name: exchange.real(content) for name, content in attempt.kwargs.items()},
        )
        performance.inner = self._inner.perform(
            changed, lambda _, outcome: deliver(attempt, exchange.hidden(outcome)), lambda _, told: beat(attempt, exchange.hide(told))
        )

    def has_reference(self, attempt: Attempt) -> bool:
        """Tell whether what stands for a URL may be among the arguments."""
        for content in attempt.args:
            if _MARK in (content.data if content.codec == "json" else self._plain(content)):
                return True
        return bool(attempt.kwargs) and any(_MARK in self._plain(content) for content in attempt.kwargs.values())

    def _plain(self, content: Content) -> bytes:
        if content.codec == "json":
            return content.data
        try:
            return self._serializer.plain(content) if content.codec.startswith("json") else b""
        except PerdureError:
            return b""  # Whoever performs it will say so.

    def _urls(self, attempt: Attempt, secret: bytes) -> Mapping[bytes, bytes]:
        """Give the URL of each reference to a callback of the run itself, or of one that it is a child of."""
        urls: dict[bytes, bytes] = {}
        for content in (*attempt.args, *attempt.kwargs.values()):
            for reference, key in references_in(self._plain(content), secret).items():
                parts = split_call_key(key)
                if parts is not None and (attempt.run == parts[0] or attempt.run.startswith(f"{parts[0]}:")):
                    urls[reference] = f"{self._api_url}{PATH}{token_of(secret, key)}".encode()
        return urls

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._inner.close()


class _Shortcut:
    """Most attempts name no callback, and begin at once."""

    def __init__(self, whole: CallbackPerformer, here: PlainPerformer) -> None:
        self._whole = whole
        self._here = here

    def perform(self, attempt: Attempt, deliver: Deliver, beat: Beat) -> Performance:
        performer = self._whole if self._whole.has_reference(attempt) else self._here
        return performer.perform(attempt, deliver, beat)


class Exchange:
    """URLs and what stands for them, in the contents of one attempt."""

    def __init__(self, urls: Mapping[bytes, bytes], serializer: Serializer) -> None:
        self._urls = urls
        self._serializer = serializer

    def real(self, content: Content) -> Content:
        """Give the content with URLs."""
        return self._changed(content, self._urls)

    def hide(self, content: Content) -> Content:
        """Give the content without URLs."""
        return self._changed(content, {url: reference for reference, url in self._urls.items()})

    def hidden(self, outcome: Outcome) -> Outcome:
        """Give the outcome without URLs, an error's text included."""
        if outcome.content is not None:
            return msgspec.structs.replace(outcome, content=self.hide(outcome.content))
        if outcome.failure is not None:
            written = msgspec.json.encode(outcome.failure)
            for reference, url in self._urls.items():
                written = written.replace(url, reference)
            return msgspec.structs.replace(outcome, failure=msgspec.json.decode(written, type=Failure))
        return outcome

    def _changed(self, content: Content, changes: Mapping[bytes, bytes]) -> Content:
        if not content.codec.startswith("json"):
            return content
        before = after = self._serializer.plain(content)
        for old, new in changes.items():
            after = after.replace(old, new)
        return content if after == before else self._serializer.seal(Content("json", after))


class Delayed:
    """An attempt for which something is looked up first. ``inner``: once it has begun."""

    __slots__ = ("_is_elsewhere", "inner", "on_cancel", "task")

    def __init__(self, *, is_elsewhere: bool) -> None:
        self.inner: Performance | None = None
        self.task: asyncio.Task[None] | None = None
        self.on_cancel: Callable[[], None] = lambda: None
        self._is_elsewhere = is_elsewhere

    @property
    def is_keeping(self) -> bool:
        return self.inner is not None and self.inner.is_keeping

    @property
    def is_elsewhere(self) -> bool:
        return self._is_elsewhere

    def cancel(self) -> None:
        if self.inner is not None:
            self.inner.cancel()
        elif self.task is not None and self.task.cancel():
            asyncio.get_running_loop().call_soon(self.on_cancel)

    def let_go(self) -> None:
        if self.inner is not None:
            self.inner.let_go()
        elif self.task is not None:
            self.task.cancel()


_CANCELLED: Final = Failure("asyncio.exceptions:CancelledError", "the workflow stopped waiting", is_final=True)
