"""A connection to JetStream, with the client's errors as ours."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, Final, TypeVar

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import RawStreamMsg

from perdure.model.errors import InvalidOption, PerdureError, TransportUnavailable
from perdure.transports.link import Lost
from perdure.transports.nats.streams import Lane, Place, consumer_config, stream_config

_CLOSE_S: Final = 3.0
_PING_S: Final = 10
_WATCH_S: Final = 0.5
_UNANSWERED_MAX: Final = 4_000
_HUNG_UP_MAX: Final = 4
_NAME_IN_USE: Final = 10_058
_STORE_NOT_MADE: Final = 10_049
_REFUSALS: Final = ("authorization", "authentication", "credential", "permissions violation")

T = TypeVar("T")

_HANG_UPS: Final = (ConnectionResetError, BrokenPipeError)

CLIENT_ERRORS: Final = (nats.errors.Error, OSError, EOFError)
"""What the client raises. `TimeoutError` is an `OSError`."""


class _Refusal(msgspec.Struct):
    description: str = "refused"


class _Answer(msgspec.Struct):
    """What a stream answers: https://docs.nats.io/reference/reference-protocols/nats_api_reference."""

    error: _Refusal | None = None


_decode = msgspec.json.Decoder(_Answer).decode


@contextmanager
def client_errors(place: Place) -> Iterator[None]:
    """What the client raises in this block is ours."""
    try:
        yield
    except CLIENT_ERRORS as error:
        raise translated(error, place) from error


def translated(error: BaseException, place: Place) -> PerdureError:
    """Give our error for one of the client's."""
    problem = getattr(error, "description", None) or str(error) or type(error).__name__
    if any(word in problem.lower() for word in _REFUSALS):
        return InvalidOption(
            option=f"the credentials of {place.name}", found=f"refused ({problem})", expected="a user that may use JetStream"
        )
    return TransportUnavailable(transport=place.name, problem=problem)


async def connect(place: Place, lost: Lost) -> "NatsConnection":
    """Give a new connection; raises `TransportUnavailable`, `InvalidOption`."""
    credentials = _credentials(place)
    for _ in range(_HUNG_UP_MAX):
        # A server that refuses says why and hangs up at once, and the hang-up can overtake the reason.
        with contextlib.suppress(*_HANG_UPS):
            return await _connect(place, lost, credentials)
    raise TransportUnavailable(transport=place.name, problem="the server hangs up before it has greeted")


async def _connect(place: Place, lost: Lost, credentials: dict[str, Any]) -> "NatsConnection":
    client = Client()
    problems: list[Exception] = []

    async def on_error(error: Exception) -> None:
        del problems[:-1]
        problems.append(error)

    async def on_closed() -> None:
        problem = problems[-1] if problems else nats.errors.ConnectionClosedError()
        connection.lose(translated(problem, place))
        lost(str(problem) or type(problem).__name__)

    connection = NatsConnection(place, client)
    try:
        await client.connect(
            servers=list(place.servers),
            name="perdure",
            error_cb=on_error,
            closed_cb=on_closed,
            # Link connects again: each connection is a new one, for all that depends on it.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=max(1, round(place.connect_timeout_s)),
            ping_interval=_PING_S,
            **credentials,
        )
        await connection.check()
        connection.watch(on_closed)
    except BaseException as error:
        # Before the close, which brings problems of its own.
        told = problems[-1] if problems else error
        await connection.close()
        if isinstance(error, CLIENT_ERRORS) and not isinstance(told, _HANG_UPS):
            raise translated(told, place) from error
        raise
    return connection


def _credentials(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {"user": place.user, "password": place.password, "token": place.token}
    found |= {"user_credentials": place.credentials or None, "nkeys_seed": place.nkey or None}
    if place.is_tls or place.cafile:
        try:
            context = ssl.create_default_context(cafile=place.cafile or None)
            if place.certfile:
                context.load_cert_chain(place.certfile, place.keyfile or None)
        except OSError as error:
            raise InvalidOption(option=f"TLS for {place.name}", found=str(error), expected="files of certificates and keys") from error
        found["tls"] = context
    return found


class NatsConnection:
    """One connection, with what is published on it and not answered yet."""

    def __init__(self, place: Place, client: Client) -> None:
        self._place = place
        self._client = client
        self._stream = client.jetstream(timeout=place.answer_timeout_s)
        self._inbox = client.new_inbox()
        self._published = count()
        self._window = asyncio.Semaphore(_UNANSWERED_MAX)
        self._unanswered: dict[str, asyncio.Future[None]] = {}
        self._made: set[str] = set()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """JetStream is there, and its answers are listened to; raises ours and the client's errors."""
        try:
            await self._ask(self._stream.account_info())
        except (nats.js.errors.ServiceUnavailableError, nats.errors.NoRespondersError) as error:
            raise TransportUnavailable(transport=self._place.name, problem="JetStream is not enabled there, or not ready") from error
        await self._client.subscribe(f"{self._inbox}.*", cb=self._hear, pending_msgs_limit=0, pending_bytes_limit=0)

    def watch(self, on_closed: Callable[[], Awaitable[None]]) -> None:
        """``on_closed`` is called once the client is closed, whether it says so or not."""
        self._watcher = asyncio.get_running_loop().create_task(self._watch(on_closed), name=f"watch on {self._place.name}")

    async def _watch(self, on_closed: Callable[[], Awaitable[None]]) -> None:
        # A client that loses its connection with something left to write fails to write that, and never comes to the call that it owes.
        while not self._client.is_closed:  # noqa: ASYNC110 - and so there is no event to wait for.
            await asyncio.sleep(_WATCH_S)
        await self._finish()
        await on_closed()

    async def _finish(self) -> None:
        """A close that failed half-way, and left the client's subscriptions and its socket open, is gone through once more."""
        if self._client._subs:
            self._client._pending, self._client._pending_data_size = [], 0
            self._client._status = Client.DISCONNECTED
            with contextlib.suppress(*CLIENT_ERRORS):
                await self._client._close(Client.CLOSED, do_cbs=False)

    @property
    def bytes_max(self) -> int:
        """The largest message, headers and all."""
        return self._client.max_payload

    async def publish(self, subject: str, body: bytes, headers: dict[str, str]) -> "asyncio.Future[None]":
        """Give what is done when the stream has it, and fails with ours if it refuses or the connection is lost.

        The client's own `publish_async` never ends where a stream refuses: it raises beside the future.
        """
        await self._window.acquire()
        reply = f"{self._inbox}.{next(self._published)}"
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unanswered[reply] = answer
        answer.add_done_callback(partial(self._answered, reply))
        try:
            await self._client.publish(subject, body, reply=reply, headers=headers)
        except BaseException:
            answer.cancel()
            raise
        return answer

    def _answered(self, reply: str, answer: "asyncio.Future[None]") -> None:
        if not answer.cancelled():
            # Whoever asked may have given up waiting.
            answer.exception()
        self._unanswered.pop(reply, None)
        self._window.release()

    async def _hear(self, message: Msg) -> None:
        answer = self._unanswered.get(message.subject)
        if answer is None or answer.done():
            return
        if header(message, "Status"):
            answer.set_exception(nats.js.errors.NoStreamResponseError())
            return
        error = _decode(message.data).error
        if error is None:
            answer.set_result(None)
        else:
            problem = (
                f"{error.description} (packets_max is {self._place.packets_max})" if "maximum" in error.description else error.description
            )
            answer.set_exception(TransportUnavailable(transport=self._place.name, problem=problem))

    async def _ask(self, request: Coroutine[Any, Any, T]) -> T:
        """Give the answer. The client goes on waiting for it on a connection that is lost; this does not."""
        asking = asyncio.get_running_loop().create_task(request)
        asking.add_done_callback(lambda over: over.cancelled() or over.exception())
        try:
            ends: list[asyncio.Future[Any]] = [asking, self._lost]
            await asyncio.wait(ends, timeout=self._place.answer_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise nats.errors.ConnectionClosedError if self._lost.done() else nats.errors.TimeoutError
            return asking.result()
        finally:
            asking.cancel()

    async def say(self, subject: str, body: bytes, reply: str = "") -> None:
        """The server is told, if it is there to hear it."""
        try:
            await self._client.publish(subject, body, reply=reply)
        except CLIENT_ERRORS:
            # It was lost just now. Whatever is not acked is delivered again.
            pass

    async def make(self, lane: Lane, *, is_gone: bool = False) -> None:
        """Stream and consumer are there; a stream that is there already is left as it is. ``is_gone``: it may have been deleted."""
        if is_gone or lane.stream not in self._made:
            await self._make_stream(lane)
            self._made.add(lane.stream)
        await self._ask(self._stream.add_consumer(lane.stream, consumer_config(self._place, lane)))

    async def _make_stream(self, lane: Lane) -> None:
        for is_last in (False, False, True):
            try:
                await self._ask(self._stream.add_stream(stream_config(self._place, lane)))
            except nats.js.errors.APIError as error:
                # A server that deletes the last of its streams takes their folder away under the one that it makes meanwhile.
                if error.err_code == _STORE_NOT_MADE and not is_last:
                    continue
                if error.err_code != _NAME_IN_USE:
                    raise
            return

    async def subscribe(self, take: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Give a subscription to a new inbox."""
        return await self._client.subscribe(self._client.new_inbox(), cb=take, pending_msgs_limit=0, pending_bytes_limit=0)

    async def drain(self, inbox: Subscription) -> None:
        """What the server has sent to the inbox until it hears of this has come, and nothing comes any more."""
        with contextlib.suppress(*CLIENT_ERRORS):
            await self._ask(inbox.drain())  # type: ignore[no-untyped-call] # the client leaves it without types

    async def waiting(self, lane: Lane) -> int | None:
        """Give how many packets nobody has got yet; ``None`` if nobody has ever handled the address."""
        try:
            found = await self._ask(self._stream.consumer_info(lane.stream, lane.consumer))
        except nats.js.errors.NotFoundError:
            return None
        return found.num_pending or 0

    async def next_after(self, lane: Lane, number: int) -> RawStreamMsg | None:
        """Give the first message for the lane with a higher number, as it lies there; ``None`` if there is none."""
        try:
            return await self._ask(self._stream.get_msg(lane.stream, seq=number + 1, subject=lane.subject, next=True))
        except nats.js.errors.NotFoundError:
            return None

    async def delete(self, lane: Lane, number: int) -> None:
        """The message of that number lies there no longer."""
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await self._ask(self._stream.delete_msg(lane.stream, number))

    async def purge(self, lane: Lane) -> None:
        """No message for the lane lies there."""
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await self._ask(self._stream.purge_stream(lane.stream, subject=lane.subject))

    async def exists(self, lane: Lane) -> bool:
        """Tell whether the stream is there."""
        try:
            await self._ask(self._stream.stream_info(lane.stream))
        except nats.js.errors.NotFoundError:
            return False
        return True

    def lose(self, error: PerdureError) -> None:
        """What is not answered will not be."""
        if not self._lost.done():
            self._lost.set_result(None)
        for answer in tuple(self._unanswered.values()):
            if not answer.done():
                answer.set_exception(error)

    async def close(self) -> None:
        """It is closed."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._client.close()
        except CLIENT_ERRORS:
            # It was not open any more.
            pass


def header(message: Msg, name: str) -> str:
    """Give a header of a message of the server."""
    headers: Mapping[str, str] = message.headers or {}
    return headers.get(name, "")
