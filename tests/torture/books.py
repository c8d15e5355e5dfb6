"""All that a storm has left in the tables, read in one snapshot, and in the client's file."""

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct, field

from perdure.model.fact import AnyFact, decode_facts
from tests.torture.client import Told
from tests.torture.cluster import Cluster


class RunEntry(Struct):
    """A run's row. ``holder_until_us``: the end of the lease of the node that has its partition, ``None`` if nobody has it."""

    id: str
    definition: str
    status: str
    wake_us: int | None
    base: int
    parent: str | None = None
    holder_until_us: int | None = None
    has_mail: bool = False


class Row(Struct):
    """A journal row."""

    number: int
    at_us: int
    facts: list[AnyFact]


class MoneyEntry(Struct):
    """What the bank did or refused."""

    key: str
    run: str
    kind: str
    account: int
    amount: int
    attempt: int
    node: str
    is_done: bool
    at_us: int


class Account(Struct):
    id: int
    began_with: int
    balance: int


class Books(Struct):
    now_us: int = 0
    runs: dict[str, RunEntry] = field(default_factory=dict)
    journals: dict[str, list[Row]] = field(default_factory=dict)
    money: dict[str, list[MoneyEntry]] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    requests: set[str] = field(default_factory=set)
    told: list[Told] = field(default_factory=list)

    @staticmethod
    def read(cluster: Cluster, told: Path) -> "Books":
        """Open the books."""
        books = asyncio.run(_read(cluster.primary.url))
        lines = told.read_text().splitlines()
        books.told = [msgspec.json.decode(line, type=Told) for line in lines]
        return books


async def _read(url: str) -> Books:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return Books(
                now_us=await connection.fetchval("select (extract(epoch from clock_timestamp()) * 1000000)::bigint"),
                runs={row["id"]: RunEntry(**row) for row in await connection.fetch(_RUNS)},
                journals=_grouped(await connection.fetch("select run, number, at_us, facts from perdure.journal order by 1, 2"), _row),
                money=_grouped(await connection.fetch(_MONEY), lambda row: MoneyEntry(**row)),
                accounts=[Account(**row) for row in await connection.fetch("select id, began_with, balance from bank.account order by id")],
                requests={row["run"] for row in await connection.fetch("select run from bank.request")},
            )
    finally:
        await connection.close()


def _row(row: Any) -> Row:
    return Row(row["number"], row["at_us"], decode_facts(row["facts"]))


def _grouped(rows: list[Any], make: Any) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        groups[row["run"]].append(make(row))
    return dict(groups)


_RUNS = """
select r.id, r.definition, r.status, r.wake_us, r.base, r.parent, n.until_us as holder_until_us,
    exists (select 1 from perdure.inbox as i where i.run = r.id) as has_mail
from perdure.run as r
left join perdure.partition as p on p.number = r.partition
left join perdure.node as n on n.epoch = p.epoch
order by r.id
"""
_MONEY = """
select key, run, kind, account, amount, attempt, node, is_done, (extract(epoch from at) * 1000000)::bigint as at_us
from bank.entry order by position
"""
