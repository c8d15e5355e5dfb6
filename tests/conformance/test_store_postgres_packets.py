"""The queue table in PostgreSQL stays quick: what its design relies on is true."""

import asyncio

import asyncpg

from perdure.ports.packets import Settlement
from perdure.ports.transport import Packet
from perdure.stores.postgres import PostgresStore
from tests.conformance.test_store_postgres_schema import schema_of

A = "perdure.calls.default.a.v1"
MANY = 20_000
_USE = "select seq_scan, n_tup_upd, n_tup_hot_upd, n_tup_del from pg_stat_user_tables where schemaname = $1 and relname = 'packet'"


async def drain(store: PostgresStore, rounds: int) -> int:
    taken = 0
    for _ in range(rounds):
        claims = await store.take_packets({A: 100, "nobody": 5}, 1, now_us=1, until_us=1_000)
        await store.settle_packets(Settlement(acked=claims[5:], given_back=claims[:5]), 1)
        taken += len(claims)
    return taken


async def use_of(server: str, schema: str, deleted: int) -> asyncpg.Record:
    """Give what the server has counted, once it has counted all."""
    connection = await asyncpg.connect(server)
    try:
        async with asyncio.timeout(20):
            while True:
                row = await connection.fetchrow(_USE, schema)
                if row is not None and row["n_tup_del"] >= deleted:
                    return row
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def test_a_backlog_is_never_scanned_though_the_table_was_empty_when_it_was_analysed(postgres_url: str, postgres_server: str) -> None:
    schema = schema_of(postgres_url)
    store = PostgresStore(postgres_url)
    await store.open()
    connection = await asyncpg.connect(postgres_server)
    await connection.execute(f'analyze "{schema}".packet')
    # Plans are made for an empty table, and kept.
    assert await drain(store, 20) == 0
    before = await connection.fetchrow(_USE, schema)
    await connection.close()
    for at in range(0, MANY, 2_000):
        await store.put_packets([(A, Packet(f"p{number}", b"{}")) for number in range(at, at + 2_000)], 1)
    assert await drain(store, 50) == 5_000
    assert await store.count_packets(A, 1) == MANY - 5_000 + 250
    await store.drop_packets(A, [f"p{number}" for number in range(MANY - 100, MANY)])
    await store.close()
    after = await use_of(postgres_server, schema, 4_750 + 100)
    assert before is not None
    # Counting a backlog of a large part of the table may scan it; taking, settling and dropping may not.
    assert after["seq_scan"] - before["seq_scan"] <= 1
    # A snapshot of another session keeps old versions on their pages, which then have less room.
    assert after["n_tup_upd"] == 5_000 + 250
    assert after["n_tup_hot_upd"] > 0.9 * after["n_tup_upd"]
