"""So many at once, over all nodes. Protects what stands behind an action from more attempts than it bears, whoever makes them.

The nodes that have work share the permits in one record: each says how many it wants and has, until when. A node that dies gives its share
back when that has passed. A node that has more than its part gives up what is not in use as soon as others want some.
"""

import math

import msgspec
from msgspec import Struct

from perdure.ports.clock import Clock
from perdure.ports.records import ABSENT, RecordChange, Records

KIND = "limit"
TRIES_MAX = 20


class Part(Struct):
    """What one node wants and has; after ``until_us`` it counts no more."""

    want: int
    have: int
    until_us: int


_decoder = msgspec.json.Decoder(dict[str, Part])


class Share:
    """The permits of one limit as one node has them. ``lease_us``: how long they are its own unless it says so again."""

    def __init__(self, records: Records, clock: Clock, *, key: str, node: str, total: int, lease_us: int) -> None:
        self._records = records
        self._clock = clock
        self._key = key
        self._node = node
        self.total = total
        self._lease_us = lease_us
        self._renew_us = 0
        self._fair = total
        self.have = 0
        self.used = 0

    @property
    def free(self) -> int:
        """How many more may begin here now."""
        return min(self.have, self._fair, self.total) - self.used

    @property
    def is_excessive(self) -> bool:
        """Tell whether others want some of what lies unused here."""
        return self.have > max(self.used, self._fair)

    @property
    def is_due(self) -> bool:
        """Tell whether the store must hear of it again soon, or the permits in use would be others'."""
        return self.have > 0 and self._clock.now_us() >= self._renew_us

    async def settle(self, wanted: int) -> int:
        """The store knows that this node wants so many, those in use included; gives how many are free then. Raises `StoreUnavailable`."""
        for _ in range(TRIES_MAX):
            if await self._try(max(wanted, self.used)):
                break
        return self.free

    async def give_back(self) -> None:
        """None of the permits is this node's any more. Raises `StoreUnavailable`."""
        self.used = 0
        if self.have:
            await self.settle(0)

    async def _try(self, wanted: int) -> bool:
        now_us = self._clock.now_us()
        found = (await self._records.read(KIND, [self._key])).get(self._key)
        parts = {} if found is None else _decoder.decode(found.value)
        others = {node: part for node, part in parts.items() if node != self._node and part.until_us > now_us}
        have = self._due(wanted, others)
        until_us = now_us + self._lease_us
        mine = {self._node: Part(wanted, have, until_us)} if wanted or have else {}
        value = msgspec.json.encode(others | mine)
        change = RecordChange(KIND, self._key, value, ABSENT if found is None else found.version, expires_us=until_us + self._lease_us)
        if await self._records.write([change]):
            return False
        self.have, self._renew_us = have, now_us + self._lease_us // 3
        return True

    def _due(self, wanted: int, others: dict[str, Part]) -> int:
        """As many as wanted, as far as they are free; while others want more than they have, no more than a fair part."""
        free = self.total - sum(part.have for part in others.values())
        hungry = sum(part.want > part.have for part in others.values())
        self._fair = math.ceil(self.total / (len(others) + 1)) if hungry else self.total
        return max(self.used, min(wanted, max(0, free), self._fair))
