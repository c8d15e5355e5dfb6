"""A node's lease and its share of the partitions. Protects from a dead node's runs waiting, and from two nodes that both go on (G1)."""

import logging
from collections.abc import Callable, Collection

from perdure.engine.patience import patiently
from perdure.engine.sharing.share import Share, plan
from perdure.model.errors import EngineClosed
from perdure.ports.clock import Clock
from perdure.ports.store import Store, Survey

logger = logging.getLogger("perdure.engine")

LOOK_AFTER_US = 1_000
"""How long after the end of another node's lease this one looks whether it has been renewed."""


class Tenure:
    """``on_taken`` looks after partitions that are this node's now; ``on_asked`` hands over some; ``on_lost``: the node was fenced.

    ``is_leaving``: the node is about to go, and takes no more.
    """

    def __init__(self, store: Store, clock: Clock, *, name: str, lease_us: int) -> None:
        self._store = store
        self._clock = clock
        self._name = name
        self._lease_us = lease_us
        self._next_end_us: int | None = None
        self._end_us = 0
        self._giving: set[int] = set()
        self.is_leaving = False
        self.share = Share(store.traits.partitions)
        self.epoch = 0
        self.on_taken: Callable[[Collection[int]], None]
        self.on_asked: Callable[[Collection[int]], None]
        self.on_lost: Callable[[BaseException], None]

    async def begin(self) -> bool:
        """The node has come; ``False`` if there is no place for it."""
        epoch = await self._store.take_lease(self._name, self._clock.now_us(), self._lease_us)
        if epoch is None:
            return False
        self.epoch = epoch
        self._end_us = self._clock.now_us() + self._lease_us
        return True

    async def renew(self) -> None:
        """The lease is longer, and the share is what it should be, or on its way there."""
        survey = await self._store.renew_lease(self.epoch, self._clock.now_us(), self._lease_us)
        if survey is None:
            self.on_lost(EngineClosed(state="fenced", asked="the renewal of the lease"))
            return
        if survey.now_us is not None:
            self._clock.calibrate(survey.now_us)
        # After a time without the store all leases have ended, and those who renew a moment later are not dead.
        was_away, self._end_us = self._clock.now_us() > self._end_us, self._clock.now_us() + self._lease_us
        self._note_ends(survey)
        if not was_away:
            await self._balance(survey)

    async def _balance(self, survey: Survey) -> None:
        wanted = plan(survey, self.epoch)
        # The store may say of some that they are this node's already: the answer to an earlier request was lost on the way.
        fresh = {number for number, holder in enumerate(survey.holders) if holder == self.epoch}
        if wanted.take and not self.is_leaving:
            fresh |= set(await self._store.take_partitions(self.epoch, wanted.take, self._clock.now_us()))
        fresh -= self.share.held | self._giving
        if fresh:
            self.share.take(fresh)
            self.on_taken(fresh)
        # One that is on its way out already is not asked for again.
        if given := frozenset(wanted.give) & self.share.mine:
            self.on_asked(given)

    def _note_ends(self, survey: Survey) -> None:
        self._next_end_us = min((seat.until_us for seat in survey.nodes if seat.epoch != self.epoch), default=None)

    def pause_us(self) -> int:
        """Give the span until the next renewal: a third of the lease, or less if another's lease ends before, for then it may be dead."""
        usual = self._lease_us // 3
        if self._next_end_us is None:
            return usual
        return max(LOOK_AFTER_US, min(usual, self._next_end_us - self._clock.now_us() + LOOK_AFTER_US))

    async def give(self, numbers: Collection[int]) -> None:
        """Partitions with which this node is done are free for others."""
        self._giving |= set(numbers)
        self.share.leave(numbers)
        await patiently(self._clock, lambda: self._store.give_partitions(self.epoch, sorted(numbers)))
        self._giving -= set(numbers)

    async def end(self) -> None:
        """The node has gone."""
        self.share.leave(self.share.held)
        await self._store.release_lease(self.epoch)
