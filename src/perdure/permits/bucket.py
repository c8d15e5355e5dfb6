"""So many a second, over all nodes: a token bucket in the store. Source: the generic cell rate algorithm's virtual scheduling form.

The record has one instant: when the bucket would be full again. A node takes tokens for what waits there, several at once.
"""

import msgspec

from perdure.model.duration import MICROSECONDS
from perdure.permits.share import KIND, TRIES_MAX
from perdure.ports.clock import Clock
from perdure.ports.records import ABSENT, RecordChange, Records


class Bucket:
    """``rate``: tokens a second; ``burst``: how many an unused bucket holds."""

    def __init__(self, records: Records, clock: Clock, *, key: str, rate: float, burst: int) -> None:
        self._records = records
        self._clock = clock
        self._key = key
        self._token_us = MICROSECONDS / rate
        self._full_us = burst * self._token_us
        self.next_us = 0

    async def take(self, wanted: int) -> int:
        """Take up to so many tokens; gives how many there were, and knows then when the next one comes. Raises `StoreUnavailable`."""
        for _ in range(TRIES_MAX):
            taken = await self._try(wanted)
            if taken is not None:
                return taken
        return 0

    async def _try(self, wanted: int) -> int | None:
        now_us = self._clock.now_us()
        found = (await self._records.read(KIND, [self._key])).get(self._key)
        full_at = max(now_us, now_us if found is None else msgspec.json.decode(found.value, type=float))
        # Whatever a clock that is ahead wrote, nobody waits longer than for a whole bucket.
        full_at = min(full_at, now_us + self._full_us)
        room_us = now_us + self._full_us - full_at
        taken = min(wanted, int((room_us + 0.5) // self._token_us))
        self.next_us = now_us + max(1, round(self._token_us - room_us % self._token_us)) if taken < wanted else now_us
        if taken == 0:
            return 0
        full_at += taken * self._token_us
        value, expected = msgspec.json.encode(full_at), ABSENT if found is None else found.version
        change = RecordChange(KIND, self._key, value, expected, expires_us=round(full_at) + 60 * MICROSECONDS)
        return None if await self._records.write([change]) else taken
