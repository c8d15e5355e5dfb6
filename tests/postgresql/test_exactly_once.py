"""The user's own tables and runs in one transaction: exactly once (X2, X12)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

import perdure
from perdure import Engine, Registry, Retry, action, workflow
from perdure.model.errors import InvalidOption, Unsupported
from perdure.stores.postgres import PostgresStore
from tests.postgres import execute

registry = Registry()
gate: dict[str, asyncio.Event] = {}
began: dict[str, asyncio.Event] = {}
tries: list[int] = []


@action(registry=registry, transactional=True, retry=Retry(attempts=3, first="1ms"))
async def book(table: str, amount: int, failures: int = 0) -> int:
    connection = perdure.attempt().connection
    await connection.execute(f'insert into "{table}".booking values ($1)', amount)
    tries.append(perdure.attempt().number)
    if len(tries) <= failures:
        raise ValueError("not yet")
    if table in gate:
        began[table].set()
        await gate[table].wait()
    return amount


@workflow(registry=registry)
async def booked(table: str, amount: int, failures: int = 0) -> int:
    return await book(table, amount, failures)


@pytest.fixture(autouse=True)
def _no_tries() -> None:
    tries.clear()
    gate.clear()
    began.clear()


@asynccontextmanager
async def engine_on(url: str, **options: Any) -> AsyncIterator[tuple[Engine, str, str]]:
    """Give an engine, the schema of its store, in which there is a table for bookings, and the URL of the database."""
    server, _, schema = url.rpartition("schema=")
    store = PostgresStore(url)
    await store.open()
    await execute(server.rstrip("?&"), f'create table if not exists "{schema}".booking (amount int)')
    async with Engine(store, registry=registry, **options) as engine:
        yield engine, schema, server.rstrip("?&")
    await store.close()


async def bookings(server: str, schema: str) -> list[int]:
    return [row[0] for row in await execute(server, f'select amount from "{schema}".booking order by 1')]


@pytest.mark.covers("X2")
async def test_a_transactional_action_and_its_outcome_are_one_commit(postgres_url: str) -> None:
    async with engine_on(postgres_url) as (engine, schema, server):
        assert await engine.run(booked, schema, 5) == 5
        assert await bookings(server, schema) == [5]


async def test_an_attempt_that_fails_leaves_nothing_and_the_next_one_counts(postgres_url: str) -> None:
    async with engine_on(postgres_url) as (engine, schema, server):
        assert await engine.run(booked, schema, 7, 2) == 7
        assert tries == [1, 2, 3]
        assert await bookings(server, schema) == [7]


async def test_an_attempt_that_a_dead_node_had_under_way_left_nothing(postgres_url: str) -> None:
    async with engine_on(postgres_url, lease="1s") as (engine, schema, server):
        gate[schema], began[schema] = asyncio.Event(), asyncio.Event()
        run = await engine.start(booked, schema, 9)
        await began[schema].wait()
        await engine.crash()
        gate.pop(schema)
        async with Engine(PostgresStore(postgres_url), registry=registry, lease="1s") as other:
            assert await other.get(run.id).result() == 9
        assert await bookings(server, schema) == [9]
        assert tries == [1, 2]


async def test_an_attempt_of_a_fenced_node_cannot_commit(postgres_url: str) -> None:
    async with engine_on(postgres_url, lease="60s") as (engine, schema, server):
        gate[schema], began[schema] = asyncio.Event(), asyncio.Event()
        run = await engine.start(booked, schema, 3)
        await began[schema].wait()
        await execute(server, f'delete from "{schema}".node')
        gate[schema].set()
        # The node finds out, comes again under a new epoch, and makes the attempt anew.
        assert await run.result() == 3
        assert await bookings(server, schema) == [3]
        assert len(tries) == 2


async def test_a_transactional_action_on_another_store_fails_and_says_why() -> None:
    async with Engine("memory://", registry=registry) as engine:
        with pytest.raises(Unsupported, match="PostgreSQL"):
            await engine.run(booked, "nowhere", 1)


def test_a_plain_function_cannot_be_transactional() -> None:
    with pytest.raises(InvalidOption, match="async def"):

        @action(registry=Registry(), transactional=True)
        def plain() -> None: ...


@pytest.mark.covers("X12")
async def test_a_start_in_the_caller_s_transaction_is_there_if_it_commits_and_not_if_it_rolls_back(postgres_url: str) -> None:
    async with engine_on(postgres_url) as (engine, schema, server):
        connection = await asyncpg.connect(server)
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(f'insert into "{schema}".booking values (100)')
            lost = await engine.start_in(connection, booked.options(id="lost"), schema, 1)
            await transaction.rollback()
            async with connection.transaction():
                await connection.execute(f'insert into "{schema}".booking values (200)')
                run = await engine.start_in(connection, booked.options(id="kept"), schema, 1)
            assert await run.result() == 1
            with pytest.raises(perdure.errors.RunNotFound):
                await lost.status()
            async with connection.transaction():
                again = await engine.start_in(connection, booked.options(id="kept"), schema, 1)
            assert await again.result() == 1
            with pytest.raises(perdure.errors.RunConflict):
                async with connection.transaction():
                    await engine.start_in(connection, booked.options(id="kept"), schema, 2)
        finally:
            await connection.close()
        assert await bookings(server, schema) == [1, 200]


async def test_a_start_in_a_transaction_needs_a_store_in_postgresql() -> None:
    async with Engine("memory://", registry=registry) as engine:
        with pytest.raises(Unsupported, match="PostgreSQL"):
            await engine.start_in(None, booked, "x", 1)
