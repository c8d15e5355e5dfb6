"""The same program runs with any transport by changing a URL, and its journal is the same but for ids and times (F9, I5)."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, Registry, Retry, Worker, action, attempt, workflow
from perdure.api.opening import api
from tests import postgres

tries: list[int] = []
API = "http:"
there, here = Registry(), Registry()


@action(registry=there)
async def quote(item: str) -> dict[str, Any]:
    return {"item": item, "price": len(item)}


@action(registry=there, retry=Retry(first="1ms", attempts=4))
def pay(amount: int) -> str:
    tries.append(attempt().number)
    if len(tries) < 3:
        raise ConnectionError("the bank is away")
    return f"paid {amount}"


@action(registry=there)
async def refuse(amount: int) -> None:
    raise ValueError(f"{amount} is too much")


@workflow(registry=here)
async def shop(items: list[str]) -> list[Any]:
    found = [await quote(item) for item in items]
    paid = await pay(sum(entry["price"] for entry in found))
    try:
        await refuse(99)
    except ValueError as error:
        return [found, paid, str(error)]
    return []


def expect(result: Any) -> None:
    assert result == [[{"item": "ab", "price": 2}, {"item": "cde", "price": 3}], "paid 5", "99 is too much"]


async def journal_of(engine: Engine) -> list[tuple[str, str, Any]]:
    """Run the program; give its journal without instants and ids."""
    tries.clear()
    run = await engine.start(shop, ["ab", "cde"])
    expect(await run.result())
    return [(entry.name, str(getattr(entry.fact, "call", "")), getattr(entry.fact, "attempt", None)) async for entry in run.journal()]


@pytest.fixture(params=["sqlite", "postgresql", "http", "amqp", "nats"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[str], str]]:
    """Give the store's URL, the node's transports, and what the worker connects to."""
    file = f"sqlite:///{tmp_path / 'node.db'}"
    match request.param:
        case "sqlite":
            yield file, [], file
        case "postgresql":
            server = request.getfixturevalue("postgres_server")
            with postgres.fresh_schema(server) as url:
                yield url, [], url
        case "http":
            yield file, [], API
        case name:
            url = request.getfixturevalue(f"{name}_url")
            yield file, [url], url


@pytest.mark.covers("F9")
@pytest.mark.covers("I5")
@pytest.mark.covers("M12")
async def test_the_journal_is_the_same_whoever_carries_the_calls(places: tuple[str, list[str], str]) -> None:
    store, transports, connect = places
    async with Engine("memory://", registry=here) as engine:
        local = await journal_of(engine)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(Engine(store, registry=here, transports=transports, is_serving=False, drain="0s"))
        if connect == API:
            connect = await stack.enter_async_context(api(engine, "127.0.0.1", 0))
        await stack.enter_async_context(Worker(connect, [quote, pay, refuse], interval="200ms"))
        assert await journal_of(engine) == local
