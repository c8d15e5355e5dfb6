"""Nodes and clients behind PgBouncer in transaction mode, which gives each transaction another server's session (M17)."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

import perdure
from perdure import Engine, Registry, action, signal, update, workflow
from perdure.stores.postgres import PostgresStore
from tests import pgbouncer
from tests.conformance.test_store_postgres import TestPostgresStoreBehindPooler as _BehindPooler
from tests.postgres import execute

registry = Registry()
go = signal("go", str)
BEHIND = "&prepared=off&notify=off"


@pytest.fixture(scope="module")
def pooled_server(postgres_server: str) -> Iterator[str]:
    """Give the URL of the database behind a PgBouncer."""
    path = pgbouncer.program()
    if path is None:
        pytest.skip("pgbouncer is not installed (Debian and Ubuntu: sudo apt install pgbouncer)")
    with pgbouncer.before(postgres_server, path) as url:
        yield url


@pytest.fixture
def pooled_url(pooled_server: str, postgres_url: str) -> str:
    """Give the URL of a store behind it, in a schema of its own."""
    return f"{pooled_server}?schema={postgres_url.rpartition('schema=')[2]}"


@pytest.mark.covers("M17")
class TestPostgresStoreBehindPgBouncer(_BehindPooler):
    @pytest.fixture(autouse=True)
    def _place(self, pooled_server: str, renewed_postgres_url: str) -> None:
        self.url = f"{pooled_server}?schema={renewed_postgres_url.rpartition('schema=')[2]}{self.options}"


@action(registry=registry)
async def twice(number: int) -> int:
    return 2 * number


@action(registry=registry, transactional=True)
async def book(schema: str, amount: int) -> int:
    await perdure.attempt().connection.execute(f'insert into "{schema}".booking values ($1)', amount)
    return amount


class Cart:
    def __init__(self) -> None:
        self.total = 0

    async def run(self, schema: str) -> str:
        await asyncio.sleep(0.05)
        booked = await book(schema, await twice(21))
        return f"{await go.receive()} {booked} {self.total}"

    @update
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total


cart = workflow(registry=registry)(Cart)


async def test_two_nodes_and_a_client_work_behind_it(pooled_url: str, postgres_server: str) -> None:
    url, schema = pooled_url + BEHIND, pooled_url.rpartition("schema=")[2]
    async with (
        Engine(url, registry=registry, lease="1s", name="one") as one,
        Engine(url, registry=registry, lease="1s", name="two") as two,
        Engine(url, registry=registry, is_client=True) as client,
    ):
        while not (len(one.node.share.mine) == len(two.node.share.mine) == 32):  # noqa: ASYNC110  # No signal tells of it.
            await asyncio.sleep(0.05)
        await execute(postgres_server, f'create table "{schema}".booking (amount int)')
        runs = [await client.start(cart.options(id=f"r{number}"), schema) for number in range(12)]
        assert await asyncio.gather(*(run.update(Cart.add, 5, update_id="u") for run in runs)) == [5] * 12
        await asyncio.gather(*(run.send(go, "gone", id="s") for run in runs))
        assert await asyncio.gather(*(run.result() for run in runs)) == ["gone 42 5"] * 12
        connection = await asyncpg.connect(pooled_url.partition("?")[0], statement_cache_size=0)
        try:
            async with connection.transaction():
                run = await one.start_in(connection, cart, schema)
        finally:
            await connection.close()
        await run.send(go, "on")
        assert await run.result() == "on 42 0"
        assert len(await execute(postgres_server, f'select 1 from "{schema}".booking')) == 13


async def test_a_node_that_dies_behind_it_is_replaced(pooled_url: str, postgres_server: str) -> None:
    url, schema = pooled_url + BEHIND, pooled_url.rpartition("schema=")[2]
    store = PostgresStore(url)
    await store.open()
    await execute(postgres_server, f'create table "{schema}".booking (amount int)')
    async with Engine(store, registry=registry, lease="1s", name="first") as first:
        run = await first.start(cart, schema)
        await run.update(Cart.add, 1)
        await first.crash()
        async with Engine(url, registry=registry, lease="1s", name="second") as second:
            await second.get(run.id).send(go, "on")
            assert await second.get(run.id).result() == "on 42 1"
    await store.close()
