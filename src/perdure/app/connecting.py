"""How a worker reaches the nodes: which transport and which reporter a URL names."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from msgspec import Struct

from perdure.app.stores import Opening
from perdure.app.transports import make_transport
from perdure.config import api_token
from perdure.model.errors import InvalidOption, Unsupported
from perdure.model.limits import Limits
from perdure.ports.clock import Clock
from perdure.ports.reporter import Reporter
from perdure.ports.store import Store
from perdure.ports.transport import Transport
from perdure.remote.reporting import StoreReporter
from perdure.wire.encoding import JSON
from perdure.workers.beating import Connect
from perdure.workers.telling import TransportReporter

_STORES = frozenset({"sqlite", "postgresql", "postgres"})
_SERVERS = frozenset({"http", "https"})
_BROKERS = frozenset({"amqp", "amqps", "nats", "tls"})


class Connection(Struct, frozen=True):
    """A worker's way to the nodes: calls come by ``transport``, what it says goes by ``reporter``.

    ``connect``: opens a reporter of its own for the thread from which beats leave; without it they leave from the event loop. ``store``:
    on which the transport is; opened before it and closed after it. ``check``: raises what is wrong before anything is opened.
    """

    transport: Transport
    reporter: Reporter
    connect: Connect | None = None
    store: Store | None = None
    check: Callable[[], Awaitable[None]] | None = None


class Terms(Struct, frozen=True, kw_only=True):
    """How a worker wants to be connected. ``namespace``: of the store. ``token``: a reference to the token for the HTTP API.
    ``content_type``: of what it says.
    """

    limits: Limits
    namespace: str | None = None
    token: str | None = None
    content_type: str = JSON


def connection_of(url: str, clock: Clock, terms: Terms) -> Connection:
    """Give the connection that a URL names: a broker's, the HTTP API's, or that of the nodes' store. Raises `InvalidOption` for other
    URLs, `Unsupported` where the extra that it needs is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme in _SERVERS:
        return _by_server(url, terms)
    if terms.token is not None:
        raise InvalidOption(option="token", found=f"one with {scheme}://", expected="an API's URL, http:// or https://; none with others")
    if scheme in _STORES:
        return _by_store(url, clock, terms)
    if scheme in _BROKERS:
        if terms.namespace is not None:
            expected = "the URL of a store; on a broker, give each namespace a prefix of its own (?prefix=…), for its nodes and its workers"
            raise InvalidOption(option="namespace", found=f"{terms.namespace!r} with {scheme}://", expected=expected)
        return _by_broker(lambda: make_transport(url))
    expected = ", ".join(f"{known}://" for known in sorted(_STORES | _BROKERS | _SERVERS))
    raise InvalidOption(option="connect", found=repr(scheme or url), expected=f"a URL that begins with {expected}")


def _by_broker(make: Callable[[], Transport]) -> Connection:
    @asynccontextmanager
    async def connect() -> AsyncIterator[Reporter]:
        transport = make()
        await transport.open()
        try:
            yield TransportReporter(transport)
        finally:
            await transport.close()

    transport = make()
    return Connection(transport, TransportReporter(transport), connect)


def _by_server(url: str, terms: Terms) -> Connection:
    if terms.namespace is not None:
        expected = "the URL of a store; an API is that of one namespace"
        raise InvalidOption(option="namespace", found=f"{terms.namespace!r} with an API's URL", expected=expected)
    if terms.content_type != JSON:
        raise InvalidOption(option="wire", found=f"{terms.content_type} with an API's URL", expected="'json', which the API speaks")
    try:
        from perdure.transports.pull import Api, Desk, PullReporter, PullTransport
    except ModuleNotFoundError as error:
        raise Unsupported(what="A worker over HTTP", why=f"{error.name} is missing: pip install 'perdure[http]'") from error
    token, desk = api_token(terms.token), Desk()

    @asynccontextmanager
    async def connect() -> AsyncIterator[Reporter]:
        own = Api(url, token)
        await own.open()
        try:
            yield PullReporter(own, desk)
        finally:
            await own.close()

    server = Api(url, token)
    return Connection(PullTransport(server, desk), PullReporter(server, desk), connect)


def _by_store(url: str, clock: Clock, terms: Terms) -> Connection:
    from perdure.transports.database import DatabaseTransport

    @asynccontextmanager
    async def connect() -> AsyncIterator[Reporter]:
        store = Opening(url, terms.namespace).store
        await store.open()
        try:
            yield StoreReporter(store, clock, inline_max=terms.limits.payload_inline_max)
        finally:
            await store.close()

    opening = Opening(url, terms.namespace)
    store = opening.store
    reporter = StoreReporter(store, clock, inline_max=terms.limits.payload_inline_max)
    return Connection(DatabaseTransport(store, clock), reporter, connect, store, opening.check)
