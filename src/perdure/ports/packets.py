"""Packets that wait in the store: the table behind the database transport (`perdure.ports.transport`).

A packet lies at an address until somebody has taken it and said that it is received. Promises of every store, proved by
``perdure.testing.conformance.packets``:

* `put_packets` is durable when it returns, and idempotent: an id that lies at its address already, taken or not, stays as it is.
* A packet is taken by one at a time. Its claim ends when it is settled, or at its ``until_us``: from then on it can be taken again.
* A settlement counts as long as nobody has taken the packet again; then it does nothing.
* Taking and settling need not survive a crash of the store: a packet may come again after one, and is never lost.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from perdure.ports.transport import Packet


class Claim(Struct, frozen=True, gc=False):
    """A packet that was taken. ``deliveries``: how often, this time included. ``position``: that of its arrival, never given twice."""

    address: str
    packet: Packet
    position: int
    deliveries: int


class Settlement(Struct, frozen=True, kw_only=True):
    """What became of claims. ``refused`` gives the reason with each."""

    acked: Sequence[Claim] = ()
    given_back: Sequence[Claim] = ()
    refused: Sequence[tuple[Claim, str]] = ()


class Place(Struct, frozen=True, gc=False):
    """Where a packet lies at its address: after those of a lower ``rank``, the priority turned round, and after those that came before."""

    rank: int
    position: int


class Packets(Protocol):
    async def put_packets(self, packets: Sequence[tuple[str, Packet]], now_us: int) -> None:
        """Each packet lies at its address, in this order of arrival; safe to call twice.

        Raises `StoreUnavailable`, `TooLarge`, `Unsupported`; then none of them does, but for the first.
        """
        ...

    async def take_packets(self, wanted: Mapping[str, int], owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        """Give packets that nobody else has until then: of each address up to so many, highest priority first, then by arrival.

        Not taken before, or given back, or their claim ended at or before ``now_us``. ``owner``: a random number of the taker below 2**63.
        Asked again with the ``until_us`` of its last time, whose answer was lost, it gives what it took then too, and counts that once.
        """
        ...

    async def settle_packets(self, settlement: Settlement, now_us: int) -> None:
        """Acked ones are gone, those given back can be taken, refused ones arrive at `DEAD`, with the reason in `REASON_HEADER`.

        Safe to call twice. A refused packet whose id lies there already is gone.
        """
        ...

    async def count_packets(self, address: str, now_us: int) -> int:
        """Give how many can be taken."""
        ...

    async def drop_packets(self, address: str, ids: Collection[str] | None = None) -> None:
        """The packets with these ids, or all, no longer lie there, taken or not."""
        ...

    async def look_packets(self, address: str, after: Place | None, limit: int) -> list[tuple[Place, Packet]]:
        """Give what lies there after that place, taken or not, in the order in which it is taken; ``None`` begins at the first."""
        ...

    async def prune_packets(self, address: str, before_us: int, keep: int, *, limit: int) -> int:
        """Up to ``limit`` of those that were put there before that instant, and of those beyond the last ``keep``, are gone.

        Gives how many. A store may look only at the first ``keep + limit`` that lie there: asked again and again, it removes them all.
        """
        ...
