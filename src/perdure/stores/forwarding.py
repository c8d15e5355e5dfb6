"""What a store that wraps another passes on as it is, but for how it asks. Protects wrappers from saying each method three times."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from perdure.ports.packets import Claim, Place, Settlement
from perdure.ports.records import Record, RecordChange
from perdure.ports.store import Store
from perdure.ports.transport import Packet

T = TypeVar("T")


class ForwardedTables(ABC):
    """The records and packets of a store, as the wrapper around it asks for them."""

    @property
    @abstractmethod
    def _inside(self) -> Store:
        """The store that is wrapped."""

    @abstractmethod
    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Give what the call gives, or do to it what this wrapper does to calls."""

    async def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        """As the port promises, in the wrapper's way; so are all the others."""
        return await self._asked(lambda: self._inside.read(kind, keys))

    async def scan(self, kind: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        return await self._asked(lambda: self._inside.scan(kind, prefix=prefix, after=after, limit=limit))

    async def write(self, changes: Sequence[RecordChange]) -> list[str]:
        return await self._asked(lambda: self._inside.write(changes))

    async def add(self, kind: str, values: dict[str, bytes], *, expires_us: int | None = None) -> dict[str, bytes]:
        return await self._asked(lambda: self._inside.add(kind, values, expires_us=expires_us))

    async def expire(self, now_us: int, limit: int) -> int:
        return await self._asked(lambda: self._inside.expire(now_us, limit))

    async def put_packets(self, packets: Sequence[tuple[str, Packet]], now_us: int) -> None:
        await self._asked(lambda: self._inside.put_packets(packets, now_us))

    async def take_packets(self, wanted: Mapping[str, int], owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        return await self._asked(lambda: self._inside.take_packets(wanted, owner, now_us=now_us, until_us=until_us))

    async def settle_packets(self, settlement: Settlement, now_us: int) -> None:
        await self._asked(lambda: self._inside.settle_packets(settlement, now_us))

    async def count_packets(self, address: str, now_us: int) -> int:
        return await self._asked(lambda: self._inside.count_packets(address, now_us))

    async def drop_packets(self, address: str, ids: Collection[str] | None = None) -> None:
        await self._asked(lambda: self._inside.drop_packets(address, ids))

    async def look_packets(self, address: str, after: Place | None, limit: int) -> list[tuple[Place, Packet]]:
        return await self._asked(lambda: self._inside.look_packets(address, after, limit))

    async def prune_packets(self, address: str, before_us: int, keep: int, *, limit: int) -> int:
        return await self._asked(lambda: self._inside.prune_packets(address, before_us, keep, limit=limit))
