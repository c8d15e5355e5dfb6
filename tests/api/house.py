"""An engine with its API, asked over ASGI or over a socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import httpx

from perdure import Engine
from perdure.api.application import USUAL, Bounds
from perdure.api.opening import Surroundings, api, application_of
from perdure.api.waiting import Waiting
from perdure.insight import OutsideReason
from perdure.ports.system import SystemClock
from perdure.stores.memory import MemoryStore
from tests.api.flows import registry

T = TypeVar("T")
PATIENCE_S = 25


async def until(look: Callable[[], Awaitable[T]]) -> T:
    """Look again and again until there is something; gives it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.005)


async def open_key(engine: Engine, run: str) -> str:
    """Give the key of the call that a run's action has left open."""

    async def look() -> str:
        return next((reason.key for reason in await engine.get(run).why() if isinstance(reason, OutsideReason)), "")

    return await until(look)


def around(engine: Engine) -> Surroundings:
    return Surroundings(engine=engine, clock=SystemClock(), waiting=Waiting())


@contextlib.asynccontextmanager
async def asked(
    *, store: str | MemoryStore = "memory://", is_local: bool = True, bounds: Bounds = USUAL, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Engine]]:
    """Give a client of the application itself, and the engine."""
    async with Engine(store, registry=registry, **options) as engine:
        application = application_of(around(engine), is_local=is_local, bounds=bounds)
        transport = httpx.ASGITransport(application, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as client:
            yield client, engine


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[httpx.AsyncClient, Engine]]:
    """Give a client that goes over a socket, and the engine."""
    async with (
        Engine("memory://", registry=registry) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
    ):
        yield client, engine
