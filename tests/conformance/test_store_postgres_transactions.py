"""The user's tables and the store's in one transaction."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from perdure.model.errors import InvalidOption, LeaseLost, StoreUnavailable, Unsupported
from perdure.model.ids import RunId
from perdure.ports.store import Batch
from perdure.stores.postgres import PostgresStore
from perdure.testing.conformance.harness import journal, message, start, step, take
from tests.postgres import execute

A = RunId("a")


async def _opened(url: str) -> PostgresStore:
    store = PostgresStore(url)
    await store.open()
    return store


@pytest.mark.covers("X12")
async def test_what_is_written_in_a_transaction_is_there_with_the_user_s_rows_or_not_at_all(postgres_url: str) -> None:
    store = await _opened(postgres_url)
    schema = postgres_url.rpartition("schema=")[2]
    batch = Batch(starts=[start("a")], checked={A}, posts=[message("a", "m")])
    async with store.transaction() as connection:
        await connection.execute(f'create table "{schema}".mine (x int)')

    async def give_up() -> None:
        async with store.transaction() as connection:
            await connection.execute(f'insert into "{schema}".mine values (1)')
            assert await store.write_in(connection, batch) == {}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await give_up()
    assert (await store.row(A), len(await execute(postgres_url.partition("?")[0], f'select 1 from "{schema}".mine'))) == (None, 0)
    async with store.transaction() as connection:
        await connection.execute(f'insert into "{schema}".mine values (1)')
        await store.write_in(connection, batch)
        assert await store.row(A) is None
    assert await store.row(A) == start("a")
    async with store.transaction() as connection:
        assert await store.write_in(connection, batch) == {A: start("a")}
    await store.close()


async def test_a_fenced_epoch_writes_nothing_in_a_transaction_either(postgres_url: str) -> None:
    store = await _opened(postgres_url)
    epoch = await take(store)
    async with store.transaction() as connection:
        await store.write_in(connection, Batch(epoch, rows=[step("a", 1)]))
    await store.release_lease(epoch)
    with pytest.raises(LeaseLost):
        async with store.transaction() as connection:
            await store.write_in(connection, Batch(epoch, rows=[step("a", 2)]))
    assert len(await journal(store, "a")) == 1
    await store.close()


async def test_a_connection_without_a_transaction_or_of_something_else_is_refused(postgres_url: str, postgres_server: str) -> None:
    store = await _opened(postgres_url)
    connection = await asyncpg.connect(postgres_server)
    for wrong in (connection, object()):
        with pytest.raises(InvalidOption):
            await store.write_in(wrong, Batch(starts=[start("a")]))
    await connection.close()
    await store.close()


async def test_a_connection_to_a_database_without_the_store_is_told_so(postgres_url: str, postgres_server: str) -> None:
    store = await _opened(postgres_url)
    await execute(postgres_server, f'drop schema "{postgres_url.rpartition("schema=")[2]}" cascade')
    with pytest.raises(Unsupported, match="schema apply"):
        async with store.transaction() as connection:
            await store.write_in(connection, Batch(starts=[start("a")]))
    await store.close()


async def test_the_caller_s_own_connection_will_do_and_keeps_its_durability(postgres_url: str, postgres_server: str) -> None:
    store = await _opened(postgres_url)
    async with _pool(postgres_server) as pool, pool.acquire() as connection, connection.transaction():
        await store.write_in(connection, Batch(starts=[start("a")]))
        assert await connection.fetchval("show synchronous_commit") == "on"
        await connection.execute("set local synchronous_commit = off")
        await store.write_in(connection, Batch(starts=[start("b")]))
        assert await connection.fetchval("show synchronous_commit") == "local"
    assert len(await store.load([A, RunId("b")])) == 2
    await store.close()


def _pool(url: str) -> AsyncIterator[asyncpg.Pool]:  # type: ignore[misc]
    return asyncpg.create_pool(url, min_size=1, max_size=1)  # type: ignore[return-value]


async def test_a_connection_that_was_lost_idle_is_replaced_and_one_lost_at_the_end_is_unavailable(
    postgres_url: str, postgres_server: str
) -> None:
    store = await _opened(postgres_url)
    for _ in range(2):
        async with store.transaction() as connection:
            process = connection.get_server_pid()
        await execute(postgres_server, f"select pg_terminate_backend({process}, 5000)")
    with pytest.raises(StoreUnavailable):
        async with store.transaction() as connection:
            await execute(postgres_server, f"select pg_terminate_backend({connection.get_server_pid()}, 5000)")
    await store.close()
