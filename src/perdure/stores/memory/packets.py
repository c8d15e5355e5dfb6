"""Packets in memory: the readable reference of `perdure.ports.packets`."""

from collections.abc import Collection, Iterable, Mapping
from heapq import heappop, heappush
from math import inf

from perdure.ports.packets import Claim, Place, Settlement
from perdure.ports.transport import DEAD, Packet, dead_letter


class _Lying:
    """A packet in its place. ``until_us``: the end of its claim, which is ``owner``'s; 0 while it has none."""

    __slots__ = ("at_us", "deliveries", "owner", "packet", "position", "until_us")

    def __init__(self, packet: Packet, position: int, at_us: int) -> None:
        self.packet = packet
        self.at_us = at_us
        self.position = position
        self.until_us = self.owner = 0
        self.deliveries = 0


class _Address:
    """What lies at one address: ``lying`` is the truth. The heap of what can be taken may also name what is gone, or has changed since."""

    def __init__(self) -> None:
        self.lying: dict[str, _Lying] = {}
        self._free: list[tuple[int, int, str]] = []
        self._claimed: dict[str, _Lying] = {}
        self._first_end_us: float = inf
        self._takings: dict[int, int] = {}

    def put(self, packet: Packet, position: int, at_us: int) -> None:
        if packet.id not in self.lying:
            self.lying[packet.id] = _Lying(packet, position, at_us)
            self.free(self.lying[packet.id])

    def free(self, lying: _Lying) -> None:
        self._claimed.pop(lying.packet.id, None)
        lying.until_us = 0
        heappush(self._free, (*_order(lying), lying.packet.id))

    def drop(self, id: str) -> None:
        self.lying.pop(id, None)
        self._claimed.pop(id, None)

    def end_claims(self, now_us: int) -> None:
        if self._first_end_us <= now_us:
            for lying in [one for one in self._claimed.values() if one.until_us <= now_us]:
                self.free(lying)
            self._first_end_us = min((one.until_us for one in self._claimed.values()), default=inf)

    def take(self, most: int, owner: int, until_us: int) -> list[_Lying]:
        taken = self._taken_before(owner, until_us)[:most]
        while self._free and len(taken) < most:
            _, position, id = heappop(self._free)
            lying = self.lying.get(id)
            if lying is not None and lying.position == position:
                lying.owner, lying.until_us, lying.deliveries = owner, until_us, lying.deliveries + 1
                self._claimed[id] = lying
                taken.append(lying)
        self._first_end_us = min(self._first_end_us, until_us)
        return sorted(taken, key=_order)

    def _taken_before(self, owner: int, until_us: int) -> list[_Lying]:
        """Give what this very taking has claimed, if it is asked again."""
        is_again = self._takings.get(owner) == until_us
        self._takings[owner] = until_us
        mine = owner, until_us
        return [one for one in self._claimed.values() if (one.owner, one.until_us) == mine] if is_again else []


def _order(lying: _Lying) -> tuple[int, int]:
    return -lying.packet.priority, lying.position


class PacketTable:
    """Packets by address and id."""

    def __init__(self) -> None:
        self._addresses: dict[str, _Address] = {}
        self._last = 0

    def put(self, packets: Iterable[tuple[str, Packet]], now_us: int) -> None:
        for address, packet in packets:
            self._last += 1
            self._addresses.setdefault(address, _Address()).put(packet, self._last, now_us)

    def take(self, wanted: Mapping[str, int], owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        claims = []
        for address, most in wanted.items():
            if (place := self._addresses.get(address)) is not None:
                place.end_claims(now_us)
                claims += [Claim(address, one.packet, one.position, one.deliveries) for one in place.take(most, owner, until_us)]
        return claims

    def settle(self, settlement: Settlement, now_us: int) -> None:
        for claim in settlement.acked:
            self._remove(claim)
        for claim in settlement.given_back:
            if (lying := self._held(claim)) is not None and lying.until_us:
                self._addresses[claim.address].free(lying)
        for claim, reason in settlement.refused:
            if self._remove(claim):
                self.put([(DEAD, dead_letter(claim.packet, claim.address, reason, now_us))], now_us)

    def _held(self, claim: Claim) -> _Lying | None:
        place = self._addresses.get(claim.address)
        lying = None if place is None else place.lying.get(claim.packet.id)
        is_held = lying is not None and (lying.position, lying.deliveries) == (claim.position, claim.deliveries)
        return lying if is_held else None

    def _remove(self, claim: Claim) -> bool:
        if self._held(claim) is None:
            return False
        self.drop(claim.address, [claim.packet.id])
        return True

    def count(self, address: str, now_us: int) -> int:
        place = self._addresses.get(address)
        return 0 if place is None else sum(lying.until_us <= now_us for lying in place.lying.values())

    def drop(self, address: str, ids: Collection[str] | None) -> None:
        place = self._addresses.get(address, _Address())
        for id in list(place.lying) if ids is None else ids:
            place.drop(id)
        if not place.lying:
            self._addresses.pop(address, None)

    def look(self, address: str, after: Place | None, limit: int) -> list[tuple[Place, Packet]]:
        places = [(Place(*_order(one)), one.packet) for one in self._lying(address)]
        found = [
            (place, packet) for place, packet in places if after is None or (place.rank, place.position) > (after.rank, after.position)
        ]
        return found[:limit]

    def prune(self, address: str, before_us: int, keep: int, limit: int) -> int:
        newest_last = sorted(self._lying(address), key=lambda one: (one.at_us, one.position))
        beyond = max(len(newest_last) - keep, 0)
        old = [one.packet.id for number, one in enumerate(newest_last) if number < beyond or one.at_us < before_us][:limit]
        self.drop(address, old)
        return len(old)

    def _lying(self, address: str) -> list[_Lying]:
        return sorted(self._addresses.get(address, _Address()).lying.values(), key=_order)
