"""The bank: transfers as workflows. Whatever happens to the processes and the database, the money must come out right."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct

import perdure
from perdure import GiveUp, Retry, action, signal, update, workflow
from tests.torture.cluster import Cluster

ACCOUNTS = 24
CLOSED = 3
"""How many of the accounts take no money: a deposit there is refused, and the withdrawal has to be undone."""
TILL = ACCOUNTS - 1
"""An account that no transfer touches, so that what was paid in can be fetched."""
BEGIN_WITH = 1_000
HOUR_S = 3_600.0

FOREVER = Retry(first="50ms", cap="1s")


class Refused(Exception):
    """The bank does not move this money, and will not."""


class Transfer(Struct, frozen=True):
    """``is_shared``: by actions that share a transaction with their outcome; else by ones that may be made twice, and tell the bank."""

    source: int
    target: int
    amount: int
    pause_s: float = 0.0
    is_shared: bool = False


class Till:
    """Where a node's actions reach the bank: connections of its own, as an outside service would have."""

    def __init__(self) -> None:
        self.url = ""
        self.node = ""
        self.work_s = 0.0
        self._pool: Any = None
        self._lock = asyncio.Lock()

    async def pool(self) -> Any:
        """Connections to whichever server takes writes."""
        async with self._lock:
            if self._pool is None:
                settings = {"application_name": f"bank-{self.node}", "synchronous_commit": "on"}
                self._pool = await asyncpg.create_pool(
                    self.url, min_size=0, max_size=6, command_timeout=10, timeout=5, server_settings=settings
                )
            return self._pool


till = Till()


def build_bank(cluster: Cluster) -> None:
    """The bank is open, and everyone has the same."""
    cluster.primary.sql(Path(__file__).with_name("bank.sql").read_text())
    cluster.primary.sql(
        f"insert into bank.account select n, {BEGIN_WITH}, {BEGIN_WITH}, n >= {CLOSED} from generate_series(0, {ACCOUNTS - 1}) as n"
    )


async def _ask(connection: Any, function: str, kind: str, account: int, amount: int) -> None:
    attempt = perdure.attempt()
    await asyncio.sleep(till.work_s)
    done = await connection.fetchval(
        f"select bank.{function}($1, $2, $3, $4, $5, $6, $7)", attempt.key, attempt.run, kind, account, amount, attempt.number, till.node
    )
    # The window in which a crash leaves an effect without its outcome.
    await asyncio.sleep(till.work_s)
    if not done:
        raise GiveUp(f"{kind} of {amount} at {account}") from Refused(f"{kind} of {amount} at {account}")


@action(name="bank_move", retry=FOREVER)
async def move(kind: str, account: int, amount: int) -> None:
    """May be made twice: the bank knows its key."""
    async with (await till.pool()).acquire() as connection:
        await _ask(connection, "move_once", kind, account, amount)


@action(name="bank_move_shared", retry=FOREVER, transactional=True)
async def move_shared(kind: str, account: int, amount: int) -> None:
    """Knows nothing of keys: what it does and its outcome are one commit."""
    await _ask(perdure.attempt().connection, "move", kind, account, amount)


async def transferred(order: Transfer) -> str:
    """Take the money from one and give it to the other, or give it back."""
    act = move_shared if order.is_shared else move
    try:
        await act("withdraw", order.source, -order.amount)
    except Refused:
        return "refused"
    if order.pause_s:
        await asyncio.sleep(order.pause_s)
    try:
        await act("deposit", order.target, order.amount)
    except Refused:
        await act("undo", order.source, order.amount)
        return "undone"
    return "moved"


@workflow(name="bank_transfer")
async def transfer(order: Transfer) -> str:
    return await transferred(order)


approval = signal("approval", bool)


@workflow(name="bank_approved")
async def approved(order: Transfer) -> str:
    """Somebody has to say yes."""
    return await transferred(order) if await approval.receive() else "declined"


@workflow(name="bank_batch")
async def batch(orders: list[Transfer]) -> list[str]:
    """Each transfer is a child."""
    return list(await asyncio.gather(*(transfer(order) for order in orders)))


@action(name="bank_stamp", retry=FOREVER)
async def stamp(what: str) -> None:
    """The bank's own clock says when this was."""
    async with (await till.pool()).acquire() as connection:
        await _ask(connection, "move_once", what, TILL, 0)


@workflow(name="bank_timed")
async def timed(span_s: float) -> str:
    """By the bank's clock, at least that span lies between."""
    await stamp("before")
    await asyncio.sleep(span_s)
    await stamp("after")
    return "waited"


@workflow(name="bank_counter")
class Counter:
    """Orders come as updates, and each is paid out once."""

    def __init__(self) -> None:
        self.paid: list[int] = []
        self.changed = asyncio.Event()

    async def run(self, count: int) -> list[int]:
        while len(self.paid) < count:
            await self.changed.wait()
            self.changed.clear()
        return sorted(self.paid)

    @update
    async def pay(self, amount: int) -> int:
        await move("pay", TILL, amount)
        await move("fetch", TILL, -amount)
        self.paid.append(amount)
        self.changed.set()
        return amount


@workflow(name="bank_sleeper")
async def sleeper() -> None:
    """Still asleep when all is over: no clock that jumps may wake it."""
    await asyncio.sleep(2 * HOUR_S)


@workflow(name="bank_waiter")
async def waiter() -> None:
    """Nobody ever says yes."""
    await approval.receive()
