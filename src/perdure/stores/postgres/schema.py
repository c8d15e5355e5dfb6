"""Brings the schema up to date. Protects from two versions of Perdure that write one database differently.

Migrations add and never change what is there, and functions carry their version in their name: nodes of the version before go on meanwhile.
"""

from typing import Any, Final

import asyncpg

from perdure.model.errors import InvalidOption, Unsupported
from perdure.stores.postgres.failures import TRANSPORT_ERRORS, translated
from perdure.stores.postgres.link import Link, connect
from perdure.stores.postgres.place import Place, place_of
from perdure.stores.postgres.statements import quoted, read_migrations, read_statements

PARTITIONS: Final = 64
_PARTITIONS_MAX: Final = 4096
_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('perdure schema ' || $1, 0))"
_IS_THERE: Final = "select to_regclass($1) is not null"


async def apply_schema(url: str, schema: str | None = None, *, partitions: int = PARTITIONS) -> int:
    """The schema is the newest; gives its version. Safe to call while others do, and while nodes run.

    ``partitions``: into how many slices the runs of a new schema are cut, which stays so. Raises `StoreUnavailable`, `Unsupported`.
    """
    if not 1 <= partitions <= _PARTITIONS_MAX:
        raise InvalidOption(option="partitions", found=partitions, expected=f"1 to {_PARTITIONS_MAX}")
    place = place_of(url, schema)
    connection = await connect(place)
    try:
        async with connection.transaction():
            return await _apply(connection, place, partitions)
    except TRANSPORT_ERRORS as error:
        raise translated(error, place.name) from error
    finally:
        connection.terminate()


async def _apply(connection: "asyncpg.Connection[Any]", place: Place, partitions: int) -> int:
    await connection.execute("set local synchronous_commit = on")
    await connection.execute(_LOCK, place.schema)
    schema, migrations = quoted(place.schema), read_migrations(place.schema)
    found = 0
    if await connection.fetchval(_IS_THERE, f"{schema}.setting"):
        found = await connection.fetchval(read_statements(place.schema)["read_version"])
    newest = migrations[-1][0]
    if found == newest:
        return newest
    _refuse_newer(place, found, newest)
    if not found and not await connection.fetchval("select to_regnamespace($1) is not null", schema):
        await connection.execute(f"create schema {schema}")
    for version, text in migrations:
        if version > found:
            await connection.execute(text)
    await connection.execute(
        f"insert into {schema}.setting values ('version', $1) on conflict (name) do update set value = excluded.value", str(newest)
    )
    if not found:
        await connection.execute(f"insert into {schema}.setting values ('partitions', $1)", str(partitions))
        await connection.execute(f"insert into {schema}.partition select generate_series(0, $1 - 1)", partitions)
    return newest


def _refuse_newer(place: Place, found: int, newest: int) -> None:
    if found > newest:
        raise Unsupported(
            what=f"The store {place.name} with schema {found}",
            why=f"this version of Perdure knows schemas up to {newest}; install a newer one",
        )


async def check_schema(link: Link, place: Place, *, applies: bool, partitions: int) -> int:
    """The schema is one that this version can use; gives the number of its partitions. ``applies``: it is brought up to date first."""
    statements = read_statements(place.schema)
    newest = read_migrations(place.schema)[-1][0]
    found = 0
    if (await link.fetch(_IS_THERE, f"{quoted(place.schema)}.setting", again=True))[0][0]:
        found = (await link.fetch(statements["read_version"], again=True))[0][0]
    _refuse_newer(place, found, newest)
    if found < newest and not applies:
        state = f"has version {found} of {newest}" if found else "is not there"
        raise Unsupported(
            what=f"The store {place.name}", why=f"its schema {place.schema!r} {state}; run 'perdure schema apply' on it first"
        )
    if found < newest:
        await apply_schema(place.url, place.schema, partitions=partitions)
    rows = await link.fetch(statements["read_setting"], "partitions", again=True)
    return int(rows[0][0])
