"""Packets in the file: each method is the work of one thread's turn with its connection.

A statement by itself is atomic, so none of these needs a transaction but a settlement with refusals. Taking and settling are not synced:
the file stays whole without (https://www.sqlite.org/pragma.html#pragma_synchronous), and what a power cut undoes is delivered again.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from perdure.ports.packets import Claim, Place, Settlement
from perdure.ports.transport import DEAD, Packet, dead_letter
from perdure.stores.sqlite.packing import JoinedBytes, json_list, slices
from perdure.stores.sqlite.thread import in_transaction

_USUAL: Final = "application/json"
_encode = msgspec.json.Encoder().encode
_headers = msgspec.json.Decoder(dict[str, str]).decode
_positions = msgspec.json.Decoder(list[int]).decode
_chosen = msgspec.json.Decoder(list[list[int]]).decode
_heads = msgspec.json.Decoder(list[tuple[str, str, int, int, int, str | None, str | None, int]]).decode


class Packets:
    """Works on the writer's connection; only counting and looking work on any."""

    def __init__(self, statements: dict[str, str]) -> None:
        self._statements = statements

    def put(self, connection: sqlite3.Connection, packets: Sequence[tuple[str, Packet]], now_us: int) -> None:
        held = JoinedBytes()
        entries = json_list([(address, *_entry(packet, held)) for address, packet in packets])
        if entries is not None:
            connection.execute(self._statements["put_packets"], (entries, held.joined(), now_us))

    def take(self, connection: sqlite3.Connection, wanted: Mapping[str, int], owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        most = max(wanted.values(), default=0)
        given = json_list(list(wanted)) or "[]", most, now_us, owner, until_us
        chosen = _chosen(connection.execute(self._statements["choose_packets"], given).fetchone()[0])
        # Each list has as many as the most that was asked for anywhere; nothing is written where there is nothing.
        positions = json_list([position for each, count in zip(chosen, wanted.values(), strict=True) for position in each[:count]])
        if positions is None:
            return []
        with _unsynced(connection):
            connection.execute(self._statements["claim_packets"], (positions, owner, until_us, now_us))
        found = connection.execute(self._statements["read_packets"], (positions, owner, until_us)).fetchone()
        return _claims(found)

    def settle(self, connection: sqlite3.Connection, settlement: Settlement, now_us: int) -> None:
        with _unsynced(connection):
            if settlement.acked:
                connection.execute(self._statements["settle_packets"], (_keys(settlement.acked),))
            if settlement.given_back:
                connection.execute(self._statements["give_back_packets"], (_keys(settlement.given_back),))
            if settlement.refused:
                in_transaction(connection, lambda: self._bury(connection, settlement.refused, now_us))

    def _bury(self, connection: sqlite3.Connection, refused: Sequence[tuple[Claim, str]], now_us: int) -> None:
        keys = (_keys([claim for claim, _ in refused]),)
        held = set(_positions(connection.execute(self._statements["list_claims"], keys).fetchone()[0]))
        connection.execute(self._statements["settle_packets"], keys)
        letters = [(DEAD, dead_letter(claim.packet, claim.address, reason, now_us)) for claim, reason in refused if claim.position in held]
        self.put(connection, letters, now_us)

    def count(self, connection: sqlite3.Connection, address: str, now_us: int) -> int:
        count: int = connection.execute(self._statements["count_packets"], (address, now_us)).fetchone()[0]
        return count

    def drop(self, connection: sqlite3.Connection, address: str, ids: Collection[str] | None) -> None:
        given = None if ids is None else json_list(list(ids)) or "[]"
        connection.execute(self._statements["drop_packets"], (address, given))

    def look(self, connection: sqlite3.Connection, address: str, after: Place | None, limit: int) -> list[tuple[Place, Packet]]:
        rank, position = (None, None) if after is None else (after.rank, after.position)
        rows = connection.execute(self._statements["look_packets"], (address, rank, position, limit))
        return [
            (Place(rank, position), _packet(id, rank, content_type, headers, body))
            for id, rank, position, content_type, headers, body in rows
        ]

    def prune(self, connection: sqlite3.Connection, address: str, before_us: int, *, keep: int, limit: int) -> int:
        return connection.execute(self._statements["prune_packets"], (address, before_us, keep, limit)).rowcount


@contextmanager
def _unsynced(connection: sqlite3.Connection) -> Iterator[None]:
    """What is committed meanwhile waits for no disk; it is as safe as the next commit that does."""
    connection.execute("pragma synchronous = normal")
    try:
        yield
    finally:
        connection.execute("pragma synchronous = full")


def _entry(packet: Packet, held: JoinedBytes) -> tuple[object, ...]:
    content_type = None if packet.content_type == _USUAL else packet.content_type
    headers = _encode(dict(packet.headers)) if packet.headers else None
    return packet.id, -packet.priority, content_type, *held.place(headers), *held.place(packet.body)


def _keys(claims: Sequence[Claim]) -> str:
    return _encode([(claim.position, claim.deliveries) for claim in claims]).decode()


def _claims(packed: tuple[bytes, bytes | None]) -> list[Claim]:
    take, found = slices(packed[1]), []
    for address, id, rank, position, deliveries, content_type, headers, size in _heads(packed[0]):
        packet = _packet(id, rank, content_type, headers, take(size))
        found.append((rank, Claim(address, packet, position, deliveries)))
    return [claim for _, claim in sorted(found, key=lambda entry: (entry[0], entry[1].position))]


def _packet(id: str, rank: int, content_type: str | None, headers: str | None, body: bytes | None) -> Packet:
    return Packet(id, body or b"", content_type or _USUAL, {} if headers is None else _headers(headers), -rank)
