"""The calls of one limited action on one node, and who of them may begin. Protects one key's work from another's, and the limit from both.

Nothing is polled while nothing waits: a permit that comes back here goes to the next one here, and only what the node lacks is asked of the
store.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from perdure.model.call import Limit
from perdure.model.duration import MICROSECONDS
from perdure.model.errors import Unavailable
from perdure.model.line import FairLine
from perdure.permits.bucket import Bucket
from perdure.permits.share import Share
from perdure.ports.clock import Alarm, Clock
from perdure.ports.records import Records

logger = logging.getLogger("perdure.permits")

AGAIN_US = 250_000
"""How soon a node that got less than it wants asks again."""
AWAY_MAX_US = 5_000_000
"""How soon, at the latest, a store that was away is asked again."""

Begin = Callable[[], None]


class Place:
    """Where this node's permits come from."""

    def __init__(self, records: Records, clock: Clock, *, node: str, lease_us: int) -> None:
        self.records = records
        self.clock = clock
        self.node = node
        self.lease_us = lease_us

    def share(self, key: str, total: int) -> Share:
        """Give the part of this node in the permits of a limit."""
        return Share(self.records, self.clock, key=key, node=self.node, total=total, lease_us=self.lease_us)


class Turnstile:
    """``action`` names the limit in the store: all nodes that say the same name share it."""

    def __init__(self, place: Place, action: str, limit: Limit) -> None:
        self._place = place
        self._action = action
        self._line: FairLine[Begin] = FairLine()
        self._whole: Share | None = None
        self._shares: dict[str, Share] = {}
        self._held: dict[str, str] = {}
        self._bucket: Bucket | None = None
        self._tokens = 0
        self._away_us = 0
        self._task: asyncio.Task[None] | None = None
        self._alarm: Alarm | None = None
        self._is_again = False
        self._is_closed = False
        self._limit = limit
        self._set_up()

    def change(self, limit: Limit) -> None:
        """The limit is another from now on; what has begun under the one before counts."""
        if limit != self._limit:
            self._limit = limit
            self._set_up()
            self._look()

    def _set_up(self) -> None:
        limit, place, whole = self._limit, self._place, self._whole
        if limit.concurrency is None:
            self._whole = None  # What it had in the store ends with the lease on it.
        elif whole is None:
            self._whole = place.share(f"{self._action}/all", limit.concurrency)
            self._whole.used = len(self._held)
        else:
            whole.total = limit.concurrency
        keyed, self._shares = self._shares, {}
        for key in self._held.values() if limit.key_concurrency is not None else ():
            self._share_of(key, keyed).used += key not in keyed
        self._bucket, self._tokens = None, 0
        if limit.rate is not None:
            burst = limit.burst or max(1, round(limit.rate))
            self._bucket = Bucket(place.records, place.clock, key=f"{self._action}/rate", rate=limit.rate, burst=burst)

    def enter(self, id: str, key: str, begin: Begin, *, priority: int = 0) -> None:
        """``begin`` is called when it may begin; `leave` must follow."""
        self._line.put(id, begin, priority=priority, key=key)
        self._look()

    def give_up(self, id: str) -> None:
        """It does not wait any more."""
        self._line.remove(id)

    def leave(self, id: str) -> None:
        """One that had begun has ended; told again, nothing follows."""
        key = self._held.pop(id, None)
        if key is not None:
            for share in self._shares_of(key):
                share.used -= 1
            self._look()

    def _shares_of(self, key: str) -> Iterable[Share]:
        if self._whole is not None:
            yield self._whole
        if self._limit.key_concurrency is not None:
            yield self._share_of(key, {})

    def _share_of(self, key: str, known: Mapping[str, Share]) -> Share:
        total = self._limit.key_concurrency or 0
        if key not in self._shares:
            self._shares[key] = known.get(key) or self._place.share(f"{self._action}/key/{key}", total)
        self._shares[key].total = total
        return self._shares[key]

    def _look(self) -> None:
        self._is_again = True
        if self._task is None and not self._is_closed:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._is_again:
                self._is_again = False
                await self._settle()
                await self._admit()
            self._away_us = 0
        except Unavailable as error:
            if not self._away_us:
                logger.warning("%s", error)
            self._away_us = min(2 * self._away_us, AWAY_MAX_US) or AGAIN_US
        except Exception:
            logger.exception("the limit of %s could not be looked after; it is tried again", self._action)
        finally:
            self._task = None
        self._wake_later()

    async def _settle(self) -> None:
        """What is due is said to the store; and permits that are not used go back, for others to have."""
        waiting = {key for _, key in self._line.heads()}
        whole = [(bool(self._line), self._whole)] if self._whole is not None else []
        for waits, share in [*whole, *((key in waiting, share) for key, share in self._shares.items())]:
            if share.is_due or share.is_excessive or (share.free > 0 and not waits):
                await share.settle(share.used + (self._count(share) if waits else 0))
        # The store was asked meanwhile: who waits now may not have waited then.
        waiting = {key for _, key in self._line.heads()}
        for key in [key for key, share in self._shares.items() if not share.have and not share.used and key not in waiting]:
            del self._shares[key]

    async def _admit(self) -> None:
        """Go through the keys in turn as long as somebody may begin."""
        while self._line:
            began = 0
            for id, key in self._line.heads():
                if await self._may_begin(key):
                    began += self._begin(id, key)
            if not began:
                return

    async def _may_begin(self, key: str) -> bool:
        for share in self._shares_of(key):
            if share.free <= 0 and await share.settle(share.used + self._count(share)) <= 0:
                return False
        if self._bucket is not None and self._tokens <= 0:
            self._tokens = await self._bucket.take(min(len(self._line), max(1, round(self._limit.rate or 1) // 10)))
        return self._bucket is None or self._tokens > 0

    def _count(self, share: Share) -> int:
        return len(self._line) if share is self._whole else 1

    def _begin(self, id: str, key: str) -> bool:
        try:
            begin = self._line.take(id)
        except KeyError:
            return False  # It gave up while the store was asked.
        self._held[id] = key
        for share in self._shares_of(key):
            share.used += 1
        self._tokens -= self._bucket is not None
        begin()
        return True

    def _wake_later(self) -> None:
        """While somebody waits, or has a permit that must be renewed, there is a next look."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._is_closed:
            return
        now_us, times = self._place.clock.now_us(), []
        if self._away_us and (self._line or self._held):
            times.append(now_us + self._away_us)
        elif self._line:
            times.append(now_us + AGAIN_US if self._bucket is None else max(now_us + 1, min(self._bucket.next_us, now_us + MICROSECONDS)))
        if any(share.have for share in [*self._shares.values(), *([] if self._whole is None else [self._whole])]):
            times.append(now_us + self._place.lease_us // 3)
        if times:
            self._alarm = self._place.clock.call_at(min(times), partial(self._look))

    def stop(self) -> None:
        """Nobody begins any more."""
        self._is_closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Nobody begins any more; the permits of this node are others' at once, or if the store is away when its lease on them ends."""
        self.stop()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            for share in [*self._shares.values(), *([] if self._whole is None else [self._whole])]:
                await share.give_back()
        except Unavailable as error:
            logger.warning("%s", error)
