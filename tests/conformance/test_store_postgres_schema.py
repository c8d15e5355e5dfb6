"""The schema of the store in PostgreSQL: it is the sum of its migrations, safe to apply at any time, readable with any tool."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from perdure.model.errors import InvalidOption, Unsupported
from perdure.model.ids import CallName, RunId
from perdure.ports.store import Batch, Heartbeat
from perdure.stores.postgres import PostgresStore, apply_schema
from perdure.stores.postgres import schema as schema_module
from perdure.stores.postgres.statements import read_migrations, read_statements
from perdure.testing.conformance.harness import message, put, start, step, take
from tests.postgres import execute

REFERENCE = Path(__file__).with_name("postgres_schema.txt")

# Everything that migrations make, one line each; bodies of functions and views by their hash. PostgreSQL 18 keeps "not null" among the
# constraints as well, where columns say it already.
DUMP = """
select line from (
    select format('column %s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
        case when a.attnotnull then ' not null' else '' end,
        coalesce(' collate ' || nullif(l.collname, 'default'), '')) as line
    from pg_attribute a join pg_class c on c.oid = a.attrelid left join pg_collation l on l.oid = a.attcollation
    where c.relnamespace = '{schema}'::regnamespace and c.relkind in ('r', 'v') and a.attnum > 0 and not a.attisdropped
    union all
    select format('table %s %s', relname, array_to_string(reloptions, ' ')) from pg_class
    where relnamespace = '{schema}'::regnamespace and relkind = 'r'
    union all
    select 'index ' || replace(indexdef, '{schema}.', '') from pg_indexes where schemaname = '{schema}'
    union all
    select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
    where connamespace = '{schema}'::regnamespace and contype <> 'n'
    union all
    select format('function %s(%s) %s', proname, pg_get_function_identity_arguments(oid), md5(replace(prosrc, '{schema}', ''))) from pg_proc
    where pronamespace = '{schema}'::regnamespace
    union all
    select format('sequence %s', relname) from pg_class where relnamespace = '{schema}'::regnamespace and relkind = 'S'
    union all
    select format('setting %s = %s', name, value) from {schema}.setting
) as lines order by line collate "C"
"""


def schema_of(url: str) -> str:
    return url.rpartition("schema=")[2]


def dump(url: str, server: str) -> list[str]:
    schema = schema_of(url)
    rows = asyncio.run(execute(server, DUMP.replace("{schema}", schema)))
    return [row["line"].replace(f"{schema}.", "").replace(f'"{schema}"', "") for row in rows]


def test_the_schema_is_the_sum_of_its_migrations(postgres_url: str, postgres_server: str) -> None:
    asyncio.run(apply_schema(postgres_url))
    found = dump(postgres_url, postgres_server)
    assert found == REFERENCE.read_text(encoding="utf-8").splitlines()
    assert len(found) > 50


def test_applying_twice_changes_nothing(postgres_url: str, postgres_server: str) -> None:
    first = asyncio.run(apply_schema(postgres_url, partitions=8))
    before = dump(postgres_url, postgres_server)
    assert asyncio.run(apply_schema(postgres_url, partitions=16)) == first == read_migrations("x")[-1][0]
    assert dump(postgres_url, postgres_server) == before
    assert "setting partitions = 8" in before


def test_processes_that_apply_at_once_take_turns(postgres_url: str, postgres_server: str) -> None:
    code = "import asyncio, sys; from perdure.stores.postgres import apply_schema; print(asyncio.run(apply_schema(sys.argv[1])))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, postgres_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    versions = [int(process.communicate(timeout=50)[0]) for process in processes]
    assert versions == [read_migrations("x")[-1][0]] * 3
    assert dump(postgres_url, postgres_server) == REFERENCE.read_text(encoding="utf-8").splitlines()


async def test_a_store_may_be_told_to_leave_the_schema_to_the_administrator(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, apply_schema=False)
    with pytest.raises(Unsupported, match="perdure schema apply"):
        await store.open()
    await apply_schema(postgres_url)
    await store.open()
    await put(store, start("a"))
    await store.close()


async def test_a_schema_newer_than_ours_is_refused(postgres_url: str, postgres_server: str) -> None:
    await apply_schema(postgres_url)
    await execute(postgres_server, f"update \"{schema_of(postgres_url)}\".setting set value = '999' where name = 'version'")
    for attempt in (PostgresStore(postgres_url).open(), apply_schema(postgres_url)):
        with pytest.raises(Unsupported, match="schema 999"):
            await attempt


async def test_a_store_goes_on_while_a_newer_schema_is_applied(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PostgresStore(postgres_url)
    await store.open()
    epoch = await take(store)
    await store.commit(Batch(epoch, [start("a")], rows=[step("a", 1)]))
    known = read_migrations(schema_of(postgres_url))
    newer = f'alter table "{schema_of(postgres_url)}".run add column later text; create table "{schema_of(postgres_url)}".more (x int)'
    monkeypatch.setattr(schema_module, "read_migrations", lambda _: [*known, (known[-1][0] + 1, newer)])
    committing = asyncio.gather(*(store.commit(Batch(epoch, rows=[step("a", number)])) for number in range(2, 60)))
    assert await apply_schema(postgres_url) == known[-1][0] + 1
    await committing
    await store.commit(Batch(epoch, [start("b")], rows=[step("b", 1)]))
    assert len(await store.load([start("a").id, start("b").id])) == 2
    await store.close()


async def test_several_may_open_a_new_schema_at_once(postgres_url: str) -> None:
    stores = [PostgresStore(postgres_url) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(put(store, start(str(number))) for number, store in enumerate(stores)))
    assert len(await stores[0].held(range(64))) == 4
    await asyncio.gather(*(store.close() for store in stores))


async def test_each_schema_is_a_namespace_of_its_own(postgres_url: str) -> None:
    other = f"{schema_of(postgres_url)}_b"
    first, second = PostgresStore(postgres_url), PostgresStore(postgres_url, other)
    try:
        for store in (first, second):
            await store.open()
        await put(first, start("a"))
        assert (await second.row(start("a").id), await first.row(start("a").id)) == (None, start("a"))
        assert await take(first) == await take(second)
    finally:
        for store in (first, second):
            await store.close()
        await execute(postgres_url.partition("?")[0], f'drop schema if exists "{other}" cascade')


@pytest.mark.parametrize("schema", ["", "pg_x", 'a"b', "a b", "x" * 64, "1a", "a;b"])
def test_a_name_that_postgresql_would_not_keep_as_it_is_is_refused(schema: str) -> None:
    with pytest.raises(InvalidOption):
        PostgresStore("postgresql://h/d", schema)


def test_a_number_of_partitions_out_of_range_is_refused() -> None:
    for partitions in (0, 5_000):
        with pytest.raises(InvalidOption):
            asyncio.run(apply_schema("postgresql://h/d", partitions=partitions))


async def test_journals_can_be_read_with_any_tool(postgres_url: str, postgres_server: str) -> None:
    facts = b'[{"fact":"SignalTaken","call":"3","id":"x"},{"fact":"RunCompleted","value":{"json":1}}]'
    store = PostgresStore(postgres_url)
    await store.open()
    await store.commit(Batch(rows=[step("a", 1, facts, b"\x00\x01")]))
    await store.close()
    schema = schema_of(postgres_url)
    rows = [tuple(row) for row in await execute(postgres_server, f'select * from "{schema}".journal_json')]
    assert rows == [("a", 1, "1970-01-01T00:00:00.001001Z", facts.decode(), 2)]
    read = await execute(postgres_server, f'select number, position, fact, call from "{schema}".fact order by position')
    assert [tuple(row) for row in read] == [(1, 0, "SignalTaken", "3"), (1, 1, "RunCompleted", None)]


async def test_reads_of_a_node_use_indexes_among_many_runs(postgres_url: str, postgres_server: str) -> None:
    store = PostgresStore(postgres_url)
    await store.open()
    for at in range(0, 100_000, 10_000):
        rows = [start(f"r{n:06}", partition=n % 64, wake_us=None if n % 3 else n, created_us=n) for n in range(at, at + 10_000)]
        await store.commit(Batch(starts=rows))
    ids = [f"r{number:06}" for number in range(0, 100_000, 50)]
    beats = [Heartbeat(RunId(id), CallName("1"), 1, b"x" * 50) for id in ids]
    await store.commit(Batch(rows=[step(id, 1) for id in ids], posts=[message(id, "m") for id in ids], heartbeats=beats))
    await store.close()
    statements = read_statements(schema_of(postgres_url))
    connection = await asyncpg.connect(postgres_server)
    try:
        for table in ("run", "journal", "inbox", "heartbeat"):
            await connection.execute(f'analyze "{schema_of(postgres_url)}".{table}')
        seen = await connection.fetchval("select pg_current_snapshot()::text")
        asked = {
            "list_held": ([1, 2],), "list_due": ([1, 2], 50_000, 100), "read_next_wake": ([1, 2],), "list_addressed": ([1, 2], 100),
            "has_news": ([1, 2], seen, 1), "load_runs": (["r000001", "r000002"], [1, 2]),
        }  # fmt: skip
        for name, arguments in asked.items():
            plan = await connection.fetch(f"explain {statements[name]}", *arguments)
            assert "Seq Scan" not in "\n".join(row[0] for row in plan), name
    finally:
        await connection.close()
