"""A start in the caller's own transaction, on connections of other drivers than the store's (X12)."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from perdure import Engine, Registry, workflow
from perdure.model.errors import InvalidOption, RunConflict, RunNotFound, StoreUnavailable, Unsupported
from tests.postgres import execute

registry = Registry()
LARGE = "lärge\x1f→" * 20_000


@workflow(registry=registry)
async def echo(value: Any) -> Any:
    return value


@asynccontextmanager
async def table_on(url: str) -> AsyncIterator[tuple[Engine, str, Callable[[], Any]]]:
    """Give an engine, the URL of its database with a table ``mine`` of the user's beside the store, and what reads that table."""
    server, _, schema = url.rpartition("schema=")
    server = server.rstrip("?&")
    async with Engine(url, registry=registry) as engine:
        await execute(server, f'create table "{schema}".mine (x int)')

        async def mine() -> Sequence[int]:
            return [row[0] for row in await execute(server, f'select x from "{schema}".mine order by x')]

        yield engine, server, mine


def insert(url: str, value: int) -> str:
    return f'insert into "{url.rpartition("schema=")[2]}".mine values ({value})'


@pytest.mark.covers("X12")
@pytest.mark.parametrize("options", [{}, {"autocommit": True}, {"row_factory": dict_row}, {"prepare_threshold": 0}])
async def test_a_start_in_a_transaction_of_psycopg_is_there_if_it_commits_and_not_if_it_rolls_back(
    postgres_url: str, options: dict[str, Any]
) -> None:
    async with table_on(postgres_url) as (engine, server, mine), await psycopg.AsyncConnection.connect(server, **options) as connection:
        async with connection.transaction(force_rollback=True):
            await connection.execute(insert(postgres_url, 100))
            lost = await engine.start_in(connection, echo.options(id="lost"), 1)
        for value in (200, 201):
            async with connection.transaction():
                await connection.execute(insert(postgres_url, value))
                run = await engine.start_in(connection, echo.options(id=f"kept {value}", tags=("t", "ü")), [value, LARGE])
                with pytest.raises(RunNotFound):
                    await run.status()
            assert await run.result() == [value, LARGE]
        with pytest.raises(RunNotFound):
            await lost.status()
        async with connection.transaction():
            again = await engine.start_in(connection, echo.options(id="kept 200"), [200, LARGE])
        assert await again.result() == [200, LARGE]
        with pytest.raises(RunConflict):
            async with connection.transaction():
                await engine.start_in(connection, echo.options(id="kept 200"), "other")
        assert await mine() == [200, 201]


async def test_a_transaction_of_psycopg_may_begin_with_the_start(postgres_url: str) -> None:
    async with table_on(postgres_url) as (engine, server, _), await psycopg.AsyncConnection.connect(server) as connection:
        lost = await engine.start_in(connection, echo, 1)
        await connection.rollback()
        run = await engine.start_in(connection, echo, 2)
        await connection.commit()
        assert await run.result() == 2
        with pytest.raises(RunNotFound):
            await lost.status()


async def test_what_psycopg_or_the_server_refuses_is_told_as_ours(postgres_url: str) -> None:
    async with table_on(postgres_url) as (engine, server, _), await psycopg.AsyncConnection.connect(server) as connection:
        for id, refusal, said in (("a\x00b", InvalidOption, "NUL"), ("\ud800", Unsupported, "PostgreSQL has no text for")):
            with pytest.raises(refusal, match=said):
                await engine.start_in(connection, echo.options(id=id), 1)
            await connection.rollback()
        await execute(server, f"select pg_terminate_backend({connection.info.backend_pid})")
        with pytest.raises(StoreUnavailable):
            await engine.start_in(connection, echo, 1)


async def test_a_connection_without_a_transaction_or_of_another_kind_is_refused_by_name(postgres_url: str) -> None:
    async with table_on(postgres_url) as (engine, server, _):
        async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
            with pytest.raises(InvalidOption, match="no transaction"):
                await engine.start_in(connection, echo, 1)
        with psycopg.connect(server) as plain, pytest.raises(InvalidOption, match=r"psycopg\.Connection.*AsyncConnection of psycopg 3"):
            await engine.start_in(plain, echo, 1)
        assert await engine.list() == []


@pytest.mark.covers("X12")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_start_in_a_transaction_of_sqlalchemy_is_part_of_it(postgres_url: str, driver: str) -> None:
    async with table_on(postgres_url) as (engine, server, mine):
        database = create_async_engine(server.replace("postgresql://", f"postgresql+{driver}://"))
        try:
            with pytest.raises(ZeroDivisionError):
                await _lost(database, engine, postgres_url)
            async with database.begin() as session:
                await session.execute(text(insert(postgres_url, 7)))
                run = await engine.start_in((await session.get_raw_connection()).driver_connection, echo.options(id="kept"), 7)
            assert await run.result() == 7
        finally:
            await database.dispose()
        assert await mine() == [7]
        assert [row.id for row in await engine.list()] == ["kept"]


async def _lost(database: AsyncEngine, engine: Engine, url: str) -> None:
    async with database.begin() as session:
        await session.execute(text(insert(url, 6)))
        await engine.start_in((await session.get_raw_connection()).driver_connection, echo.options(id="lost"), 6)
        raise ZeroDivisionError
