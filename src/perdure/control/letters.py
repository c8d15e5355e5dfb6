"""Dead letters: packets that nobody could take, with the reason. Listed, put back to where they came from, or dropped, on any transport."""

import re
from collections.abc import Collection, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final

from msgspec import Struct, structs

from perdure.model.errors import LetterNotFound, NoHandlers, OriginUnknown, PerdureError, Unavailable, Unsupported
from perdure.ports.transport import DEAD, DIED_HEADER, ORIGIN_HEADER, REASON_HEADER, Packet, Transport

_TOLD: Final = frozenset({REASON_HEADER, ORIGIN_HEADER, DIED_HEADER})
_AGAIN: Final = re.compile(r"(.*)#again(\d{1,9})", re.DOTALL)
_TOGETHER: Final = 100
_TOGETHER_BYTES: Final = 8 * 1024 * 1024
_LEFT_MAX: Final = 1_000


class Letter(Struct, frozen=True):
    """A dead letter. Of those that a stranger, or an earlier version, sent there ``origin`` and ``died`` are not known."""

    packet: Packet

    @property
    def id(self) -> str:
        """The packet's."""
        return self.packet.id

    @property
    def reason(self) -> str:
        """Why nobody could take it."""
        return self.packet.headers.get(REASON_HEADER, "")

    @property
    def origin(self) -> str | None:
        """The address which it came from."""
        return self.packet.headers.get(ORIGIN_HEADER)

    @property
    def died(self) -> datetime | None:
        """Since when it is a dead letter."""
        try:
            told = datetime.fromisoformat(self.packet.headers.get(DIED_HEADER, ""))
        except ValueError:
            return None
        return told if told.tzinfo is not None else None

    def revived(self) -> Packet:
        """Give the packet as it is sent again: body and headers as they were, and another id, since transports drop what they know.

        The id is the same each time, so that what is put back twice is one packet where a transport can tell.
        """
        again = _AGAIN.fullmatch(self.id)
        id = f"{again[1]}#again{int(again[2]) + 1}" if again else f"{self.id}#again1"
        return structs.replace(
            self.packet, id=id, headers={name: value for name, value in self.packet.headers.items() if name not in _TOLD}
        )


class PutBack(Struct, frozen=True):
    """What became of many. ``left``: those that lie with the dead letters still, and why."""

    count: int
    left: Sequence[tuple[Letter, PerdureError]]


class DeadLetters:
    """The dead letters of a transport, which is open. Raises `Unsupported` for one that does not show packets."""

    def __init__(self, transport: Transport) -> None:
        if not transport.traits.shows_packets:
            why = "workers only take calls there; name the store of its nodes"
            raise Unsupported(what=f"Looking at the dead letters of {transport.name}", why=why)
        self._transport = transport

    async def count(self) -> int:
        """Give how many there are."""
        return await self._transport.backlog(DEAD)

    async def first(self, limit: int) -> list[Letter]:
        """Give some of them, at most ``limit``, bodies and all. Raises `TransportUnavailable`."""
        found: list[Letter] = []
        async with aclosing(self._transport.look(DEAD)) as lying:
            while len(found) < limit and (packet := await anext(lying, None)) is not None:
                found.append(Letter(packet))
        return found

    async def find(self, ids: Collection[str]) -> list[Letter]:
        """Give those with these ids, of which several may have one. Raises `LetterNotFound` if an id has none."""
        found: list[Letter] = []
        async with aclosing(self._transport.look(DEAD)) as lying:
            async for packet in lying:
                if packet.id in ids:
                    found.append(Letter(packet))
        known = {letter.id for letter in found}
        for id in ids:
            if id not in known:
                raise LetterNotFound(letter=id, transport=self._transport.name)
        return found

    async def retry(self, ids: Collection[str], *, to: str | None = None) -> list[tuple[Letter, str]]:
        """They lie where they came from, or at the address ``to``, and then no longer here; gives each with its address.

        It is there before it leaves: after a failure it may be at both. Raises `LetterNotFound` and `OriginUnknown` before anything is
        done, and as `perdure.ports.transport.Transport.send`.
        """
        placed = [(letter, _address(letter, to)) for letter in await self.find(ids)]
        for letter, address in placed:
            await self._transport.send(address, [letter.revived()])
            await self._transport.drop(DEAD, [letter.id])
        return placed

    async def retry_all(self, *, to: str | None = None) -> PutBack:
        """As `retry`, with all that were there; those that cannot be put back stay. Raises `TransportUnavailable`."""
        sent: set[str] = set()
        left: list[tuple[Letter, PerdureError]] = []
        while len(left) < _LEFT_MAX and (letters := await self._some(sent | {letter.id for letter, _ in left})):
            for address, put in _by_address(letters, to).items():
                try:
                    await self._put_back(put, address)
                except PerdureError as error:
                    if isinstance(error, Unavailable) and not isinstance(error, NoHandlers):
                        raise
                    left += [(letter, error) for letter in put]
                else:
                    sent |= {letter.revived().id for letter in put}
        return PutBack(len(sent), left)

    async def _put_back(self, letters: Sequence[Letter], address: str) -> None:
        if not address:
            raise OriginUnknown(letter=letters[0].id)
        await self._transport.send(address, [letter.revived() for letter in letters])
        await self._transport.drop(DEAD, [letter.id for letter in letters])

    async def _some(self, known: Collection[str]) -> list[Letter]:
        """Give a few that are not known: what dies again while others are put back must not be put back without end."""
        found: list[Letter] = []
        size = 0
        async with aclosing(self._transport.look(DEAD)) as lying:
            async for packet in lying:
                if packet.id not in known:
                    found.append(Letter(packet))
                    size += len(packet.body)
                if len(found) >= _TOGETHER or size >= _TOGETHER_BYTES:
                    break
        return found

    async def drop(self, ids: Collection[str]) -> int:
        """They are gone; gives how many there were. Raises `LetterNotFound` before anything is done."""
        found = await self.find(ids)
        await self._transport.drop(DEAD, [letter.id for letter in found])
        return len(found)

    async def drop_all(self) -> int:
        """None is there; gives about how many there were."""
        count = await self.count()
        await self._transport.drop(DEAD)
        return count


def _by_address(letters: Sequence[Letter], to: str | None) -> dict[str, list[Letter]]:
    """Give the letters by where they go; those of which nobody knows it have an empty address."""
    found: dict[str, list[Letter]] = {}
    for letter in letters:
        found.setdefault(to or letter.origin or "", []).append(letter)
    return found


def _address(letter: Letter, to: str | None) -> str:
    address = to or letter.origin
    if not address:
        raise OriginUnknown(letter=letter.id)
    return address
