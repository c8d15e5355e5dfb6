"""Deletes what has been kept long enough. Protects the store from growing for ever, and its users from one large deletion."""

from collections.abc import Callable
from typing import Final

from perdure.model.duration import span_us
from perdure.model.retention import Retention
from perdure.ports.clock import Clock
from perdure.ports.store import Store
from perdure.ports.transport import DEAD

RUNS_TOGETHER: Final = 200
RECORDS_TOGETHER: Final = 500
LETTERS_TOGETHER: Final = 500
PAUSE_US: Final = 60_000_000
PAUSE_BEHIND_US: Final = 500_000
"""The pause while there is more to delete: some hundred runs a second, a small part of what a store can take."""


class Pruner:
    """Looks after the runs of the node's own partitions, so that nodes do not meet. ``retention`` may be replaced at any time.

    ``letters_max`` gives how many dead letters the store may have at present.
    """

    def __init__(
        self, store: Store, clock: Clock, retention: Retention, *, mine: Callable[[], frozenset[int]], letters_max: Callable[[], int]
    ) -> None:
        self._store = store
        self._clock = clock
        self._mine = mine
        self._letters_max = letters_max
        self._is_behind = False
        self.retention = retention
        self.pruned = 0

    def pause_us(self) -> int:
        """Give the span until the next round."""
        return PAUSE_BEHIND_US if self._is_behind else PAUSE_US

    async def run_once(self) -> int:
        """A bounded number of runs, of expired records and of dead letters, and old replies, are gone; gives the number of runs."""
        now_us, mine, count = self._clock.now_us(), self._mine(), 0
        self._is_behind = False
        for outdated in self.retention.outdated(now_us):
            gone = await self._store.prune_runs(outdated, mine, limit=RUNS_TOGETHER)
            self._is_behind |= gone == RUNS_TOGETHER
            count += gone
        if 0 in mine:
            await self._store.prune_replies(now_us - span_us(self.retention.replies))
            self._is_behind |= await self._store.expire(now_us, RECORDS_TOGETHER) == RECORDS_TOGETHER
            before_us = self.retention.letters_before(now_us)
            gone = await self._store.prune_packets(DEAD, before_us, self._letters_max(), limit=LETTERS_TOGETHER)
            self._is_behind |= gone == LETTERS_TOGETHER
        self.pruned += count
        return count
