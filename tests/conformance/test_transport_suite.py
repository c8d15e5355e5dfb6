"""The suite of the transport port can fail: a transport with one promise broken does not pass it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from msgspec import structs

from perdure.ports.transport import REASON_HEADER, Packet, TransportTraits
from tests.conformance import plain_transport, test_transport_plain
from tests.conformance.plain_transport import Broker, PlainDelivery, PlainHandling, PlainTransport


class _Suite(test_transport_plain.TestPlainTransport):
    __test__ = False
    patience_s = 0.3


def _forgets_headers(self: Broker, address: str, packet: Packet, count: int = 0) -> None:
    _put(self, address, structs.replace(packet, headers={}), count)


def _delivers_once(self: PlainDelivery) -> bool:
    self.handling.held.discard(self)
    return False


def _delivers_twice(self: Broker, address: str, packet: Packet, count: int = 0) -> None:
    _put(self, address, packet, count)
    if not count:
        _put(self, address, packet, 1)


def _mixes(self: Broker, address: str, packet: Packet, count: int = 0) -> None:
    _put(self, address.lower().replace(" ", "."), packet, count)


async def _keeps_what_is_unsettled(self: PlainHandling) -> None:
    await self.stop()


async def _settles_again(self: PlainDelivery) -> None:
    self.handling.broker.put(self.handling.address, self.packet, self.count + 1)


async def _calls_one_at_a_time(self: PlainHandling, deliveries: Sequence[Any]) -> None:
    async with self.__dict__.setdefault("lock", asyncio.Lock()):
        await _call(self, deliveries)


def _without_reason(packet: Packet, *_: object) -> Packet:
    return packet


def _from_nowhere(packet: Packet, address: str, reason: str, now_us: int) -> Packet:
    return structs.replace(packet, headers={**packet.headers, REASON_HEADER: reason})


async def _takes_what_it_shows(self: PlainTransport, address: str) -> AsyncGenerator[Packet, None]:
    for packet, _ in self.broker.waiting.pop(address, ()):
        yield packet


async def _drops_all(self: PlainTransport, address: str, ids: Sequence[str] | None = None) -> None:
    self.broker.waiting.pop(address, None)


async def _drops_each_of_an_id(self: PlainTransport, address: str, ids: Sequence[str] | None = None) -> None:
    waiting = self.broker.waiting.get(address, ())
    self.broker.waiting[address] = deque(one for one in waiting if ids is not None and one[0].id not in ids)


_put, _call = Broker.put, PlainHandling.call

FAULTS: list[tuple[object, str, object, str]] = [
    (Broker, "put", _forgets_headers, "test_a_packet_arrives_whole"),
    (Broker, "put", _delivers_twice, "test_what_was_acked_does_not_come_again"),
    (Broker, "put", _mixes, "test_two_addresses_never_mix"),
    (PlainDelivery, "settle", _delivers_once, "test_what_is_given_back_comes_again_and_says_so"),
    (PlainDelivery, "is_again", False, "test_what_is_given_back_comes_again_and_says_so"),
    (PlainDelivery, "give_back", _settles_again, "test_settling_again_does_nothing"),
    (PlainHandling, "room", lambda self: True, "test_no_more_than_its_slots_are_unsettled_with_a_handler"),
    (PlainHandling, "close", _keeps_what_is_unsettled, "test_closing_a_handler_gives_back_what_it_has_not_settled"),
    (PlainHandling, "close", _keeps_what_is_unsettled, "test_what_lay_with_a_process_that_died_comes_again_elsewhere"),
    (PlainHandling, "stop", lambda self: asyncio.sleep(0), "test_a_stopped_handler_gets_nothing_more_and_can_settle_what_it_has"),
    (PlainHandling, "call", _calls_one_at_a_time, "test_a_call_of_the_handler_that_takes_long_holds_up_no_other"),
    (PlainTransport, "check", lambda self: None, "test_a_transport_that_is_not_open_says_so"),
    (
        PlainTransport,
        "traits",
        TransportTraits(packet_bytes_max=1_000_000, is_deduplicating=True),
        "test_a_packet_may_be_sent_again_with_its_id",
    ),
    (
        PlainTransport,
        "traits",
        TransportTraits(packet_bytes_max=1_000_000, tells_no_handler=True),
        "test_an_address_that_nobody_ever_handled_is_told_or_keeps_what_it_gets",
    ),
    (plain_transport, "DELIVERIES_MAX", 11, "test_what_is_always_given_back_becomes_a_dead_letter_with_the_reason"),
    (plain_transport, "DELIVERIES_MAX", 1_000_000_000, "test_a_poison_packet_blocks_nothing"),
    (plain_transport, "dead_letter", _without_reason, "test_what_is_refused_becomes_a_dead_letter_with_the_reason"),
    (plain_transport, "dead_letter", _from_nowhere, "test_what_is_always_given_back_becomes_a_dead_letter_with_the_reason"),
    (PlainTransport, "look", _takes_what_it_shows, "test_what_is_looked_at_is_shown_whole_and_stays"),
    (PlainTransport, "drop", _drops_all, "test_what_is_dropped_is_gone_and_nothing_else"),
    (PlainTransport, "drop", _drops_each_of_an_id, "test_of_one_id_at_the_dead_letters_only_so_many_are_dropped"),
]


@pytest.mark.parametrize(("place", "name", "fault", "test"), FAULTS, ids=[f"{fault[1]}-{fault[3][5:]}" for fault in FAULTS])
def test_a_transport_that_breaks_a_promise_fails_the_test_of_it(
    place: object, name: str, fault: object, test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, fault)
    with pytest.raises((AssertionError, LookupError, TimeoutError, pytest.fail.Exception)):
        getattr(_Suite(), test)()
