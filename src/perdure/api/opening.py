"""Opens the API of an engine: puts its endpoints together, and decides who may reach it."""

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from msgspec import Struct
from starlette.types import ASGIApp

from perdure import Engine, Limits
from perdure.api import table
from perdure.api.access import Access
from perdure.api.application import USUAL, Bounds, make_application
from perdure.api.endpoint import Endpoint
from perdure.api.health import Probes
from perdure.api.people.table import tickets
from perdure.api.people.tickets import TicketDesk
from perdure.api.runs.asks import RunAsks
from perdure.api.runs.journals import RunJournals
from perdure.api.runs.reads import RunReads
from perdure.api.server import is_loopback, serving
from perdure.api.waiting import Waiting
from perdure.api.work.callbacks import Callbacks
from perdure.api.work.calls import CallEnds
from perdure.api.work.ending import Endings
from perdure.api.work.pulling import Pulling, Reporters
from perdure.api.work.workers import Workers
from perdure.client.tickets import Tickets
from perdure.control.receipts import receipt_secret
from perdure.control.tokens import Tokens
from perdure.model.errors import InvalidOption
from perdure.ports.clock import Clock
from perdure.ports.system import SystemClock
from perdure.remote.reporting import StoreReporter

PUSHED: Final = "http"
"""How the registry calls the transport of workers that are called at their URL."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """What the API of an engine works with."""

    engine: Engine
    clock: Clock
    waiting: Waiting


def surroundings_of(engine: Engine) -> Surroundings:
    """Give what the API of this engine works with."""
    return Surroundings(engine=engine, clock=SystemClock(), waiting=Waiting())


def endpoints_of(around: Surroundings) -> list[Endpoint]:
    """Give all endpoints."""
    pulling, endings = for_workers(around)
    return [
        *table.run_reads(RunReads(around.engine, around.waiting), RunJournals(around.engine)),
        *table.run_asks(RunAsks(around.engine)),
        *table.call_ends(CallEnds(around.engine, endings, pulling)),
        *table.worker_asks(Workers(pulling)),
        *tickets(TicketDesk(Tickets(around.engine, around.clock))),
        *table.callbacks(Callbacks(around.engine)),
        *table.probes(Probes(around.engine)),
    ]


def application_of(around: Surroundings, *, is_local: bool, bounds: Bounds = USUAL) -> ASGIApp:
    """Give the application. ``is_local``: only this machine can reach it, so that no token is needed as long as there is none."""
    tokens = Tokens(around.engine.store, around.clock, around.engine.store.name)
    access = Access(tokens, around.clock, is_local=is_local)
    return make_application(endpoints_of(around), access, version=_version(), bounds=bounds)


def for_workers(around: Surroundings) -> tuple[Pulling, Endings]:
    """Give what workers over HTTP ask, and what ends their attempts."""
    store, inline_max = around.engine.store, Limits().payload_inline_max
    reporters = Reporters(
        pulling=StoreReporter(store, around.clock, inline_max=inline_max),
        pushed=StoreReporter(store, around.clock, inline_max=inline_max, transport=PUSHED),
    )
    known: list[bytes] = []

    async def secret() -> bytes:
        if not known:
            known.append(await receipt_secret(store))
        return known[0]

    pulling = Pulling(store, around.clock, reporters, secret=secret, waiting=around.waiting)
    return pulling, Endings(store, around.clock, reporters.pulling, secret)


@contextlib.asynccontextmanager
async def api(engine: Engine, host: str, port: int, *, around: Surroundings | None = None) -> AsyncIterator[str]:
    """The API of an open engine answers there; gives its URL. Raises `InvalidOption` for an address that cannot be opened, or that others
    can reach while the store has no token.
    """
    around = around or surroundings_of(engine)
    is_local = is_loopback(host)
    if not is_local and not await Tokens(engine.store, around.clock).are_used():
        expected = f"a loopback address as long as {engine.store.name} has no API token; 'perdure token create NAME --scopes …' makes one"
        raise InvalidOption(option="the address of the API", found=f"{host}:{port}", expected=expected)
    async with serving(application_of(around, is_local=is_local), host, port, around.waiting) as url:
        yield url


def _version() -> str:
    try:
        return version("perdure")
    except PackageNotFoundError:
        return "0"
