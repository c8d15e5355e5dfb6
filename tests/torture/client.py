"""The client of the torture: a process that orders, approves and pays, and writes down what it was told had been taken."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import asyncpg
import msgspec
from msgspec import Struct

from perdure import Engine, Run
from perdure.model.errors import AnswerOverdue, RunEnded, StoreUnavailable, Unsupported
from perdure.stores.postgres.failures import TRANSPORT_ERRORS
from perdure.stores.postgres.store import PostgresStore
from tests.torture import bank

T = TypeVar("T")

logger = logging.getLogger("torture.client")


class Orders(Struct):
    """What the client is to do. ``told``: the file of what was acknowledged. ``is_transactional``: the store shares transactions."""

    url: str
    seed: int
    told: str
    durability: str
    tellers: int = 8
    pause_s: float = 0.05


class Told(Struct):
    """One acknowledgement. ``what``: started, signalled, updated, sleeping. ``value``: what the run's result must agree with."""

    what: str
    run: str
    value: Any = None


class Client:
    """``tellers`` work at once, each with chances of its own, so that what one does hangs on nobody's speed."""

    def __init__(self, orders: Orders, engine: Engine, file: Any) -> None:
        self._orders = orders
        self._engine = engine
        self._file = file
        self.is_over = False

    def _note(self, what: str, run: str, value: Any = None) -> None:
        self._file.write(msgspec.json.encode(Told(what, run, value)).decode() + "\n")
        self._file.flush()

    async def work(self) -> None:
        """Order until it is over, and see to what was begun."""
        async with asyncio.TaskGroup() as group:
            for teller in range(self._orders.tellers):
                group.create_task(self._serve(teller))

    async def _serve(self, teller: int) -> None:
        number = 0
        while not self.is_over:
            random = Random(f"{self._orders.seed} {teller} {number}")
            await random.choice(_KINDS)(self, f"{teller}-{number}", random)
            await asyncio.sleep(self._orders.pause_s * 2 * random.random())
            number += 1

    async def _start(self, run: str, workflow: Any, *arguments: Any, twice: bool = False, what: str = "started") -> Run[Any]:
        started: Run[Any] | None = None
        for _ in range(1 + twice):
            started = await insist(lambda: self._begin(run, workflow, arguments))
            self._note(what, run, started.durability)
        assert started is not None
        return started

    async def _begin(self, run: str, workflow: Any, arguments: tuple[Any, ...]) -> Run[Any]:
        try:
            return await self._engine.start(workflow.options(id=run, durability=self._orders.durability), *arguments)
        except Unsupported:
            # The standby is gone, or not there yet: what is on the primary's disk is all that can be had.
            return await self._engine.start(workflow.options(id=run, durability="disk"), *arguments)

    # What customers want.

    async def order(self, id: str, random: Random) -> None:
        """A transfer; now and then it is ordered twice."""
        await self._start(f"transfer-{id}", bank.transfer, self._transfer(random), twice=random.random() < 0.2)

    async def order_with_a_request(self, id: str, random: Random) -> None:
        """A row of ours and the start are one transaction; some are rolled back."""
        run, transfer, keeps = f"request-{id}", self._transfer(random), random.random() < 0.7
        if not self._engine.store.traits.is_transactional:
            return
        connection = await insist(lambda: asyncpg.connect(self._orders.url, timeout=5, command_timeout=10))
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("insert into bank.request values ($1)", run)
            await self._engine.start_in(connection, bank.transfer.options(id=run), transfer)
            if not keeps:
                await transaction.rollback()
                return
            await transaction.commit()
            self._note("started", run)
        except (StoreUnavailable, *TRANSPORT_ERRORS) as error:
            logger.info("the request %s has an unknown end: %s", run, error)
        finally:
            connection.terminate()

    async def order_with_approval(self, id: str, random: Random) -> None:
        """A transfer that waits for a yes or a no, which may come twice."""
        run, says_yes = f"approved-{id}", random.random() < 0.8
        started = await self._start(run, bank.approved, self._transfer(random))
        await asyncio.sleep(random.random())
        for _ in range(1 + (random.random() < 0.3)):
            try:
                await insist(lambda: started.send(bank.approval, says_yes, id="the-answer"))
            except RunEnded:
                break  # The first of the two did it.
            self._note("signalled", run, says_yes)

    async def order_many(self, id: str, random: Random) -> None:
        """A batch of transfers, each a child."""
        orders = [self._transfer(random) for _ in range(random.randrange(2, 6))]
        await self._start(f"batch-{id}", bank.batch, orders)

    async def wait_a_while(self, id: str, random: Random) -> None:
        """A timer that no clock may shorten."""
        await self._start(f"timed-{id}", bank.timed, round(0.2 + 6 * random.random() ** 2, 2))

    async def pay_at_the_counter(self, id: str, random: Random) -> None:
        """Updates, each of which has an answer."""
        run, amounts = f"counter-{id}", [10 * n + random.randrange(10) for n in range(1, 4)]
        started = await self._start(run, bank.Counter, len(amounts))
        for amount in amounts:
            try:
                answer = await insist(partial(started.update, bank.Counter.pay, amount, update_id=f"pay-{amount}"))
            except RunEnded:
                return  # The answer to the last one was lost, and the run is over.
            self._note("updated", run, answer)

    async def leave_asleep(self, id: str, random: Random) -> None:
        """Runs that stay open: one that sleeps, one that nobody answers."""
        if random.random() < 0.3:
            await self._start(f"sleeper-{id}", bank.sleeper, what="sleeping")
            await self._start(f"waiter-{id}", bank.waiter, what="sleeping")

    def _transfer(self, random: Random) -> bank.Transfer:
        source, target = random.sample(range(bank.TILL), 2)
        shares = self._engine.store.traits.is_transactional and random.random() < 0.5
        return bank.Transfer(source, target, random.randrange(1, 400), round(random.random() ** 3, 2), shares)


_KINDS = (
    *(Client.order,) * 4,
    *(Client.order_with_a_request,) * 2,
    *(Client.order_with_approval,) * 3,
    Client.order_many,
    *(Client.wait_a_while,) * 2,
    Client.pay_at_the_counter,
    Client.leave_asleep,
)


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer: all that is asked here has an id and may be asked twice."""
    while True:
        try:
            return await ask()
        except (StoreUnavailable, AnswerOverdue, *TRANSPORT_ERRORS) as error:
            logger.info("asking again: %s", error)
            await asyncio.sleep(0.3)


async def live(orders: Orders) -> None:
    """Work until SIGTERM comes."""
    store = PostgresStore(f"{orders.url}&application_name=client")
    with Path(orders.told).open("a") as file:  # noqa: ASYNC230  # A line is written in microseconds.
        engine = Engine(store, is_client=True, patience="10s")
        await insist(engine.open)
        client = Client(orders, engine, file)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(client, "is_over", True))
        logger.info("open")
        await client.work()
        await engine.close()
        await store.close()


def main() -> None:
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s.%(msecs)03d client/{os.getpid()} %(message)s", datefmt="%H:%M:%S")
    asyncio.run(live(orders))


if __name__ == "__main__":
    main()
