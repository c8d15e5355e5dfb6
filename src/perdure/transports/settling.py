"""Tells the store what became of packets. Protects handlers from waiting for a store that is away, and packets from coming again for it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Final

from msgspec import Struct

from perdure.model.errors import PerdureError, Unavailable
from perdure.ports.clock import Clock, pause
from perdure.ports.packets import Claim, Settlement
from perdure.ports.store import Hint, Store
from perdure.ports.transport import DEAD
from perdure.transports.gathering import Gathering

logger = logging.getLogger("perdure.transports")

TOGETHER_MAX: Final = 2_000
PAUSE_FIRST_US: Final = 50_000
PAUSE_MAX_US: Final = 1_000_000


class Kind(Enum):
    """What became of a packet."""

    ACK = auto()
    BACK = auto()
    REFUSE = auto()


class Verdict(Struct, frozen=True, gc=False):
    """What a handler said of a claim, which ends at ``until_us``. ``reason``: that of a refusal."""

    kind: Kind
    claim: Claim
    until_us: int
    reason: str = ""


class Settling:
    """What the store did not hear is told again until the claim has ended: then the packet comes again anyhow."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._gathering = Gathering(self._tell, weight_max=TOGETHER_MAX)
        self._late: list[tuple[Verdict, Callable[[], None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def settle(self, verdict: Verdict, free: Callable[[], None]) -> None:
        """The store knows, and ``free`` was called; or the store is away, and both are done when it is back."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(error: Exception | None) -> None:
            self._told(verdict, free, error)
            if done.done():
                return  # A handler that is cancelled has settled all the same.
            if error is None or isinstance(error, Unavailable):
                done.set_result(None)
            else:
                done.set_exception(error)

        self._gathering.put([verdict], 1, told)
        await done

    def settle_soon(self, verdict: Verdict, free: Callable[[], None]) -> None:
        """As `settle`, without a wait."""
        self._gathering.put([verdict], 1, partial(self._told, verdict, free))

    def put(self, verdicts: Sequence[Verdict]) -> None:
        """The store will know, without anybody who waits for it."""
        for verdict in verdicts:
            self.settle_soon(verdict, _nothing)

    def _told(self, verdict: Verdict, free: Callable[[], None], error: Exception | None) -> None:
        if isinstance(error, Unavailable):
            logger.debug("settled later: %s", error)
            self._late.append((verdict, free))
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._repeat())
        else:
            free()
            if error is not None:
                logger.warning("a packet that was settled may come again: %s", error)

    async def _tell(self, verdicts: list[Verdict]) -> None:
        settlement = Settlement(
            acked=[one.claim for one in verdicts if one.kind is Kind.ACK],
            given_back=[one.claim for one in verdicts if one.kind is Kind.BACK],
            refused=[(one.claim, one.reason) for one in verdicts if one.kind is Kind.REFUSE],
        )
        await self._store.settle_packets(settlement, self._clock.now_us())
        called = {DEAD if one.kind is Kind.REFUSE else one.claim.address for one in verdicts if one.kind is not Kind.ACK}
        if called:
            self._store.announce(Hint(called=frozenset(called)))

    async def _repeat(self) -> None:
        pause_us = PAUSE_FIRST_US
        while self._late:
            await pause(self._clock, pause_us)
            pause_us = min(2 * pause_us, PAUSE_MAX_US)
            asked, now_us = self._late, self._clock.now_us()
            self._late = []
            try:
                await self._tell([verdict for verdict, _ in asked])
            except PerdureError as error:
                self._late += [(verdict, free) for verdict, free in asked if verdict.until_us > now_us]
                logger.log(logging.DEBUG if self._late else logging.WARNING, "packets that were settled may come again: %s", error)
                asked = [(verdict, free) for verdict, free in asked if verdict.until_us <= now_us]
            for _, free in asked:
                free()

    async def close(self) -> None:
        """What was said is told, if the store is there; if it is not, those packets come again."""
        await self._gathering.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        late, self._late = self._late, []
        for _, free in late:
            free()


def _nothing() -> None:
    pass
