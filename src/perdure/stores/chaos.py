"""A store that misbehaves by chance, around any other: for soak tests of real services, never for production.

It breaks no promise of the port: what it does is what a network, a disk and a power cut do. A commit that raises `StoreUnavailable` may
have been written. Every other call raises it before it has an effect only: a seat that was taken without a word would stay taken.
`Chaos` reads ``storage=0.05,suicide=0.01,slow=0.1,seed=7``. Each kind of fault has its own chance from the seed: equal seeds give each kind
the same faults at the same number of calls.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random, SystemRandom
from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from perdure.model.durability import Durability
from perdure.model.errors import InvalidOption, StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.retention import Outdated
from perdure.model.run import RunRow, Transition
from perdure.ports.store import Batch, Hint, InboxItem, Loaded, Reply, RunQuery, Store, Survey, Traits
from perdure.ports.transactions import Transactions
from perdure.stores.forwarding import ForwardedTables

logger = logging.getLogger("perdure.chaos")

T = TypeVar("T")

LATE_MAX_S = 0.2
SUICIDE_CODE = 137
"""The exit code of a process that was killed: whoever looks after it must start it again."""
_EXPECTED = "such as storage=0.05,suicide=0.01,slow=0.1,seed=7: chances from 0 to 1, and a whole number"


class Chaos(Struct, frozen=True, kw_only=True):
    """``storage``: the chance that a call raises `StoreUnavailable`. ``suicide``: that the process dies after a commit. ``slow``: that a
    call is late, by up to 0.2 s. ``seed``: repeats the faults.
    """

    storage: float = 0.0
    suicide: float = 0.0
    slow: float = 0.0
    seed: int

    def __str__(self) -> str:
        return f"storage={self.storage:g},suicide={self.suicide:g},slow={self.slow:g},seed={self.seed}"


def chaos_of(text: str) -> Chaos:
    """Read what is asked for; a seed is drawn if none is given. Raises `InvalidOption`."""
    chaos = Chaos(seed=SystemRandom().randrange(1 << 32))
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            chaos = replace(chaos, **{name: int(value) if name == "seed" else float(value)})
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidOption(option="chaos", found=repr(part), expected=_EXPECTED) from error
    if not all(0 <= chance <= 1 for chance in (chaos.storage, chaos.suicide, chaos.slow)):
        raise InvalidOption(option="chaos", found=repr(text), expected=_EXPECTED)
    return chaos


def _die() -> None:
    logging.shutdown()
    os._exit(SUICIDE_CODE)


class ChaosStore(ForwardedTables):
    """``die`` ends the process, or what a test takes for it: the commit does not return after it."""

    def __init__(self, store: Store, chaos: Chaos, *, die: Callable[[], None] = _die) -> None:
        self.inner = store
        self._chaos = chaos
        self._die = die
        self._storage, self._suicide, self._slow = (Random(f"{chaos.seed}/{kind}") for kind in ("storage", "suicide", "slow"))

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        """As the port promises, but for the faults of chance."""
        fault = await self._before()
        refused = await self.inner.commit(batch)
        if self._suicide.random() < self._chaos.suicide:
            logger.warning("chaos: this process dies after a commit")
            self._die()
            await asyncio.get_running_loop().create_future()
        if fault is not None:
            raise fault
        return refused

    @property
    def _inside(self) -> Store:
        return self.inner

    async def _before(self) -> StoreUnavailable | None:
        """A call may be late and may fail; gives the error of one that fails when its effect is there."""
        if self._slow.random() < self._chaos.slow:
            await asyncio.sleep(LATE_MAX_S * self._slow.random())
        if self._storage.random() >= self._chaos.storage:
            return None
        if self._storage.random() < 0.5:
            raise StoreUnavailable(store=self.name, problem="chaos, before the commit")
        return StoreUnavailable(store=self.name, problem="chaos, after the commit")

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Any call but a commit fails before it has an effect."""
        if await self._before() is not None:
            raise StoreUnavailable(store=self.name, problem="chaos")
        return await ask()

    async def open(self) -> None:
        """As the port promises, without faults; says loudly what is on."""
        logger.warning(
            "CHAOS IS ON (%s): calls of %s fail by chance and this process may die. Never do this in production.", self._chaos, self.name
        )
        await self.inner.open()

    # Transactions: what is written in the caller's own is the caller's to lose.

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        return cast(Transactions, self.inner).transaction()

    async def write_in(self, connection: Any, batch: Batch) -> Mapping[RunId, RunRow]:
        return await cast(Transactions, self.inner).write_in(connection, batch)

    # The rest is the store's own.

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.inner.name

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    def grants(self, asked: Durability | None) -> Durability:
        return self.inner.grants(asked)

    async def close(self) -> None:
        await self.inner.close()

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        return await self._asked(lambda: self.inner.take_lease(node, now_us, lease_us))

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        return await self._asked(lambda: self.inner.renew_lease(epoch, now_us, lease_us))

    async def survey(self) -> Survey:
        return await self._asked(lambda: self.inner.survey())

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        return await self._asked(lambda: self.inner.take_partitions(epoch, wanted, now_us))

    async def give_partitions(self, epoch: int, given: Sequence[int]) -> None:
        await self._asked(lambda: self.inner.give_partitions(epoch, given))

    async def release_lease(self, epoch: int) -> None:
        await self.inner.release_lease(epoch)

    async def row(self, run: RunId) -> RunRow | None:
        return await self._asked(lambda: self.inner.row(run))

    async def find(self, query: RunQuery) -> list[RunRow]:
        return await self._asked(lambda: self.inner.find(query))

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        return await self._asked(lambda: self.inner.transitions(run, after, limit))

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        return await self._asked(lambda: self.inner.load(runs, within))

    async def mentions(self, run: RunId, text: bytes) -> Loaded | None:
        return await self._asked(lambda: self.inner.mentions(run, text))

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        return await self._asked(lambda: self.inner.blobs(hashes))

    async def reply(self, id: str) -> Reply | None:
        return await self._asked(lambda: self.inner.reply(id))

    async def held(self, partitions: Collection[int]) -> list[RunId]:
        return await self._asked(lambda: self.inner.held(partitions))

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        return await self._asked(lambda: self.inner.due(partitions, now_us, limit))

    async def next_wake_us(self, partitions: Collection[int]) -> int | None:
        return await self._asked(lambda: self.inner.next_wake_us(partitions))

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        return await self._asked(lambda: self.inner.addressed(partitions, limit))

    async def has_news(self, partitions: Collection[int]) -> bool:
        return await self._asked(lambda: self.inner.has_news(partitions))

    def announce(self, hint: Hint) -> None:
        self.inner.announce(hint)

    def subscribe(self, heard: Callable[[Hint], None]) -> Callable[[], None]:
        return self.inner.subscribe(heard)

    async def setting(self, name: str) -> str | None:
        return await self._asked(lambda: self.inner.setting(name))

    async def set_setting(self, name: str, value: str) -> None:
        await self._asked(lambda: self.inner.set_setting(name, value))

    async def schema_version(self) -> int:
        return await self._asked(lambda: self.inner.schema_version())

    async def prune_runs(self, outdated: Outdated, partitions: Collection[int], *, limit: int) -> int:
        return await self._asked(lambda: self.inner.prune_runs(outdated, partitions, limit=limit))

    async def count_outdated(self, outdated: Outdated) -> int:
        return await self._asked(lambda: self.inner.count_outdated(outdated))

    async def prune_replies(self, before_us: int) -> int:
        return await self._asked(lambda: self.inner.prune_replies(before_us))
