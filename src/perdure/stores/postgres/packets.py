"""Packets in the database: one round trip for each batch, on connections that nobody else waits for."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from perdure.model.errors import Unsupported
from perdure.ports.packets import Claim, Place, Settlement
from perdure.ports.transport import DEAD, Packet, dead_letter
from perdure.stores.postgres.link import Link

_USUAL: Final = "application/json"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, str]).decode


class Packets:
    """``putting`` waits for the disk, ``taking`` never does."""

    def __init__(self, putting: Link, taking: Link, statements: dict[str, str]) -> None:
        self._putting = putting
        self._taking = taking
        self._statements = statements

    async def put(self, packets: Sequence[tuple[str, Packet]], now_us: int) -> None:
        columns = (
            [address for address, _ in packets],
            [packet.id for _, packet in packets],
            _numbers(-packet.priority for _, packet in packets),
            [None if packet.content_type == _USUAL else packet.content_type for _, packet in packets],
            [_headers(packet.headers) for _, packet in packets],
            [packet.body for _, packet in packets],
        )
        await self._putting.fetch(self._statements["put_packets"], *columns, now_us, again=True)

    async def take(self, wanted: Mapping[str, int], owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        given = list(wanted), list(wanted.values()), owner, now_us, until_us
        rows = await self._taking.fetch(self._statements["take_packets"], *given, again=True)
        rows.sort(key=lambda row: (row[2], row[3]))
        return [_claim(row) for row in rows]

    async def settle(self, settlement: Settlement, now_us: int) -> None:
        refused = [claim for claim, _ in settlement.refused]
        headers = [_headers(dead_letter(claim.packet, claim.address, reason, now_us).headers) for claim, reason in settlement.refused]
        columns = *_columns(settlement.acked), *_columns(settlement.given_back), *_columns(refused)
        await self._taking.fetch(self._statements["settle_packets"], *columns, headers or None, DEAD, now_us, again=True)

    async def count(self, address: str, now_us: int) -> int:
        return int((await self._taking.fetch(self._statements["count_packets"], address, now_us, again=True))[0][0])

    async def drop(self, address: str, ids: Collection[str] | None) -> None:
        await self._taking.fetch(self._statements["drop_packets"], address, None if ids is None else list(ids), again=True)

    async def look(self, address: str, after: Place | None, limit: int) -> list[tuple[Place, Packet]]:
        rank, position = (None, None) if after is None else (after.rank, after.position)
        rows = await self._taking.fetch(self._statements["look_packets"], address, rank, position, limit, again=True)
        return [(Place(row[1], row[2]), _packet(row[0], row[1], *row[3:])) for row in rows]

    async def prune(self, address: str, before_us: int, keep: int, limit: int) -> int:
        rows = await self._taking.fetch(self._statements["prune_packets"], address, before_us, keep, limit, again=True)
        return int(rows[0][0])


def _claim(row: Any) -> Claim:
    address, id, rank, position, deliveries, content_type, headers, body = row
    return Claim(address, _packet(id, rank, content_type, headers, body), position, deliveries)


def _packet(id: str, rank: int, content_type: str | None, headers: str | None, body: bytes) -> Packet:
    return Packet(id, body, content_type or _USUAL, {} if headers is None else _decode(headers), -rank)


def _columns(claims: Sequence[Claim]) -> tuple[Any, ...]:
    if not claims:
        return (None,) * 4
    return (
        [claim.address for claim in claims],
        _numbers(-claim.packet.priority for claim in claims),
        _numbers(claim.position for claim in claims),
        _numbers(claim.deliveries for claim in claims),
    )


def _numbers(values: Iterable[int]) -> str:
    # The text of an array: the driver takes four times as long to bind each number by itself.
    return "{" + _encode(list(values))[1:-1].decode() + "}"


def _headers(headers: Mapping[str, str]) -> str | None:
    if not headers:
        return None
    try:
        return _encode(dict(headers)).decode()
    except UnicodeEncodeError as error:
        raise Unsupported(what="A header that is not Unicode text", why=str(error)) from error
