"""Connections and channels, with the client's errors as ours and its log lines left out."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

import aiormq
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionClosed,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from perdure.model.errors import InvalidOption, PerdureError, TransportUnavailable
from perdure.transports.link import Lost
from perdure.transports.rabbitmq.queues import Place, Queue

_CLOSE_S: Final = 3.0
_is_ours: ContextVar[bool] = ContextVar("perdure_rabbitmq", default=False)


class _Quiet(logging.Filter):
    """The client warns with tracebacks whenever a connection is lost. Ours are told of by `Link`; other programs' still by the client."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_ours.get()


_QUIET: Final = _Quiet()
_LOGGERS: Final = ("aiormq.connection", "aiormq.channel", "aiormq.abc")


@contextmanager
def client_errors(place: Place) -> Iterator[None]:
    """What the client raises in this block is ours."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        # The client cancels what waits on a connection that is lost; nobody asked for that.
        if task is not None and task.cancelling():
            raise
        raise TransportUnavailable(transport=place.name, problem="the connection was lost meanwhile") from error
    except StopAsyncIteration as error:
        # What the client says of a broker that hung up between two frames of the greeting, as one that is starting or dying does.
        raise TransportUnavailable(transport=place.name, problem="it hung up before it had greeted") from error
    except (AMQPError, OSError, RuntimeError, EOFError) as error:
        raise translated(error, place) from error


def translated(error: BaseException, place: Place) -> PerdureError:
    """Give our error for one of the client's."""
    problem = str(error) or type(error).__name__
    match error:
        case ProbableAuthenticationError() | AuthenticationError():
            return InvalidOption(
                option=f"the credentials of {place.name}", found=f"refused ({problem})", expected="a user and its password"
            )
        case ConnectionNotAllowed() | ChannelAccessRefused():
            return InvalidOption(
                option=f"the URL of the transport {place.name}", found=f"refused ({problem})", expected="a vhost of this user"
            )
        case ChannelPreconditionFailed():
            return InvalidOption(
                option=f"packets_max and prefix in the URL of the transport {place.name}",
                found=f"a queue that was declared otherwise ({problem})",
                expected="what the queue was declared with, another prefix, or no such queue",
            )
        case InvalidFrameError() if "OpenOk" in problem:
            # The client drops what the broker said: no such vhost, not this user's, too many connections.
            problem = "it refused the vhost of the URL; is there one of that name, may the user use it, has it room for connections?"
            return TransportUnavailable(transport=place.name, problem=problem)
        case _:
            return TransportUnavailable(transport=place.name, problem=problem)


@contextmanager
def quiet() -> Iterator[None]:
    """What the client starts in this block logs nothing, for as long as it lives."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_QUIET)
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)


async def connect(place: Place, lost: Lost) -> "RabbitMQConnection":
    """Give a new connection; raises `TransportUnavailable`, `InvalidOption`."""
    with quiet(), client_errors(place):
        raw = aiormq.Connection(place.url)
        try:
            await raw.connect(client_properties={"product": "Perdure"})
        except BaseException:
            await _closed(raw)
            raise
    return RabbitMQConnection(place, raw, lost)


class RabbitMQConnection:
    """One connection. It is given up as a whole if the broker closes one of its channels."""

    def __init__(self, place: Place, raw: aiormq.Connection, lost: Lost) -> None:
        self._place = place
        self._raw = raw
        self._lost = lost
        self._released: set[aiormq.Channel] = set()
        self._closing: asyncio.Task[None] | None = None
        raw.closing.add_done_callback(lambda over: lost(_problem(over)))

    async def channel(self, *, confirms: bool) -> aiormq.Channel:
        """Give a new channel; raises `TransportUnavailable`."""
        with quiet(), client_errors(self._place):
            channel = await self._raw.channel(publisher_confirms=confirms, timeout=self._place.answer_timeout_s)
        assert isinstance(channel, aiormq.Channel)
        channel.closing.add_done_callback(lambda over: self._on_closed(channel, over))
        return channel

    async def release(self, channel: aiormq.Channel) -> None:
        """The channel is closed; what was unsettled on it is delivered elsewhere."""
        self._released.add(channel)
        with quiet():
            try:
                await channel.close(ChannelClosed(0, "closed"), timeout=_CLOSE_S)
            except (AMQPError, OSError, RuntimeError):
                # It was closed with its connection.
                pass
        self._released.discard(channel)

    async def declare(self, channel: aiormq.Channel, queue: Queue) -> None:
        """The queue is there; raises `InvalidOption` if it is there with other arguments, and is not one that is kept so."""
        if queue.is_kept:
            await self._keep(queue)
            return
        with quiet(), client_errors(self._place):
            await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments, timeout=self._place.answer_timeout_s)

    async def _keep(self, queue: Queue) -> None:
        if await self.count(queue.name) is not None:
            return
        async with self.apart() as channel:
            try:
                with quiet(), client_errors(self._place):
                    await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments, timeout=self._place.answer_timeout_s)
            except InvalidOption as error:
                # Another process has made it since, with other arguments.
                if not isinstance(error.__cause__, ChannelPreconditionFailed):
                    raise

    async def count(self, queue: str) -> int | None:
        """Give how many messages are ready there; ``None`` for a queue that is not there."""
        async with self.apart() as channel:
            try:
                with quiet(), client_errors(self._place):
                    found = await channel.queue_declare(queue, passive=True, timeout=self._place.answer_timeout_s)
                    return found.message_count or 0
            except TransportUnavailable as error:
                if isinstance(error.__cause__, ChannelNotFoundEntity):
                    return None
                raise

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[aiormq.Channel]:
        """Give a channel that the broker may close, as it does for what it cannot do, and everything else goes on."""
        channel = await self.channel(confirms=False)
        self._released.add(channel)
        try:
            yield channel
        finally:
            await self.release(channel)

    async def give_up(self, problem: str) -> None:
        """It is lost, as far as anybody is concerned."""
        self._lost(problem)
        await self.close()

    async def close(self) -> None:
        """It is closed; what the broker does not hear of in time it notices by itself."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(_closed(self._raw))
        await asyncio.shield(self._closing)

    def _on_closed(self, channel: aiormq.Channel, over: "asyncio.Future[Any]") -> None:
        problem = _problem(over)
        if channel not in self._released and self._closing is None:
            self._lost(f"a channel was closed: {problem}")
            self._closing = asyncio.get_running_loop().create_task(_closed(self._raw))


async def _closed(raw: aiormq.Connection) -> None:
    with quiet():
        try:
            await raw.close(ConnectionClosed(0, "closed"), timeout=_CLOSE_S)
        except (AMQPError, OSError, RuntimeError):
            # It was not open any more, or the broker is not there to answer.
            pass


def _problem(over: "asyncio.Future[Any]") -> str:
    error = None if over.cancelled() else over.exception()
    return str(error) or type(error).__name__ if error is not None else "it was closed"
