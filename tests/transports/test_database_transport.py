"""The transport in the store asks little, joins what many ask, and puts aside what nobody can take."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from perdure.model.errors import StoreUnavailable, TransportUnavailable, Unsupported
from perdure.ports.packets import Claim, Settlement
from perdure.ports.store import Hint, Traits
from perdure.ports.transport import DEAD, DELIVERIES_MAX, REASON_HEADER, Delivery, Packet, Transport
from perdure.stores.memory import MemoryStore
from perdure.testing.clock import VirtualClock
from perdure.testing.conformance.transport_harness import A, B, Hand, keep, numbered, packet
from perdure.transports.database import CLAIM_US, DatabaseTransport
from perdure.transports.memory import MemoryTransport

SECOND_US = 1_000_000


class Counting(MemoryStore):
    """Counts what is asked, is away where a test says so, and looks as often as a database does."""

    def __init__(self) -> None:
        super().__init__()
        self.takes: list[dict[str, int]] = []
        self.puts: list[int] = []
        self.settlements: list[Settlement] = []
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def traits(self) -> Traits:
        return Traits(poll_us=SECOND_US // 10, poll_idle_us=2 * SECOND_US)

    async def _pass(self) -> None:
        await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable(store=self.name, problem="away")

    async def put_packets(self, packets: Sequence[tuple[str, Packet]], now_us: int) -> None:
        self.puts.append(len(packets))
        await self._pass()
        if any("\0" in packet.id for _, packet in packets):
            raise Unsupported(what="An id", why="the test says so")
        await super().put_packets(packets, now_us)

    async def take_packets(self, wanted: Any, owner: int, *, now_us: int, until_us: int) -> list[Claim]:
        self.takes.append(dict(wanted))
        await self._pass()
        return await super().take_packets(wanted, owner, now_us=now_us, until_us=until_us)

    async def settle_packets(self, settlement: Settlement, now_us: int) -> None:
        self.settlements.append(settlement)
        await self._pass()
        await super().settle_packets(settlement, now_us)


async def turns(count: int = 30) -> None:
    """Whatever can happen without time passing has happened."""
    for _ in range(count):
        await asyncio.sleep(0)


class Place:
    """A transport on a store that counts, on virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = Counting()
        self.transport = DatabaseTransport(self.store, self.clock)

    async def __aenter__(self) -> "Place":
        await self.transport.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.store.is_away = False
        self.store.gate.set()
        await self.transport.close()

    async def pass_by(self, span_us: int, step_us: int = SECOND_US // 20) -> None:
        for _ in range(span_us // step_us):
            self.clock.move_to(self.clock.now_us() + step_us)
            await turns()


async def test_idle_handlers_of_one_transport_ask_together_and_ever_more_rarely() -> None:
    async with Place() as place:
        for address in (A, B, DEAD):
            await place.transport.handle(address, Hand(), slots=10)
        await turns()
        place.store.takes.clear()
        await place.pass_by(60 * SECOND_US)
        assert len(place.store.takes) <= 35
        assert all(asked == {A: 10, B: 10, DEAD: 10} for asked in place.store.takes)


async def test_news_wakes_an_idle_handler_at_once_and_for_its_address_alone() -> None:
    async with Place() as place:
        hand = Hand()
        await place.transport.handle(A, hand, slots=10)
        await place.transport.handle(B, Hand(), slots=10)
        await place.pass_by(10 * SECOND_US)
        place.store.takes.clear()
        await place.store.put_packets([(A, packet("p"))], 1)
        await turns()
        assert hand.ids == [], "nobody has said so yet"
        place.store.announce(Hint(called=frozenset((A,))))
        await turns()
        assert hand.ids == ["p"]
        assert all(B not in asked for asked in place.store.takes)


async def test_news_that_comes_while_the_store_is_asked_is_not_lost() -> None:
    class Late(Counting):
        async def take_packets(self, wanted: Any, owner: int, *, now_us: int, until_us: int) -> list[Claim]:
            claims = await MemoryStore.take_packets(self, wanted, owner, now_us=now_us, until_us=until_us)
            await self.gate.wait()
            return claims

    place = Place()
    place.store = Late()
    place.transport = DatabaseTransport(place.store, place.clock)
    async with place:
        hand = Hand()
        place.store.gate.clear()
        await place.transport.handle(A, hand, slots=5)
        await turns()
        await MemoryStore.put_packets(place.store, [(A, packet("p"))], 1)
        place.store.announce(Hint(called=frozenset((A,))))
        await turns()
        place.store.gate.set()
        await turns()
        assert hand.ids == ["p"]


async def test_without_news_a_packet_is_found_by_looking() -> None:
    async with Place() as place:
        hand = Hand()
        await place.transport.handle(A, hand, slots=10)
        await place.pass_by(10 * SECOND_US)
        await place.store.put_packets([(A, packet("p"))], 1)
        await place.pass_by(2 * SECOND_US + SECOND_US // 10)
        assert hand.ids == ["p"]


async def test_a_busy_address_does_not_keep_the_others_from_being_looked_at() -> None:
    async with Place() as place:
        quiet = Hand()

        async def again(deliveries: Sequence[Delivery]) -> None:
            for delivery in deliveries:
                await delivery.ack()
            await place.transport.send(A, [packet(deliveries[0].packet.id + "'")])

        await place.transport.handle(A, again, slots=1)
        await place.transport.handle(B, quiet, slots=1)
        await place.transport.send(A, [packet("p")])
        await turns()
        await place.store.put_packets([(B, packet("unheard"))], 1)
        await place.pass_by(3 * SECOND_US)
        assert quiet.ids == ["unheard"]


async def test_a_full_handler_asks_for_nothing_and_one_with_room_for_as_much_as_it_has() -> None:
    async with Place() as place:
        hand = Hand(keep)
        await place.transport.handle(A, hand, slots=3)
        await place.transport.send(A, numbered(10))
        await turns()
        place.store.takes.clear()
        await place.pass_by(30 * SECOND_US // 10)
        assert (len(hand.got), place.store.takes) == (3, [])
        await asyncio.gather(hand.got[0].ack(), hand.got[1].ack())
        await turns()
        assert (len(hand.got), place.store.takes) == (5, [{A: 2}])


async def test_sends_of_many_tasks_go_out_together() -> None:
    async with Place() as place:
        place.store.gate.clear()
        first = asyncio.ensure_future(place.transport.send(A, [packet("first")]))
        await turns()
        others = [asyncio.ensure_future(place.transport.send(B, numbered(3, first=3 * at))) for at in range(50)]
        await turns()
        place.store.gate.set()
        await asyncio.gather(first, *others)
        assert place.store.puts == [1, 150]
        assert (await place.transport.backlog(A), await place.transport.backlog(B)) == (1, 150)


async def test_a_packet_that_cannot_be_stored_fails_its_own_send_alone() -> None:
    async with Place() as place:
        sends = (place.transport.send(A, [packet(id)]) for id in ("good", "b\0d", "fine"))
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), Unsupported, type(None)]
        assert await place.transport.backlog(A) == 2


async def test_what_is_large_is_sent_in_parts() -> None:
    async with Place() as place:
        await place.transport.send(A, [packet(str(at), b"x" * 9_000_000) for at in range(8)])
        assert place.store.puts == [3, 3, 2]


async def test_settlements_of_many_tasks_go_out_together() -> None:
    async with Place() as place:
        hand = Hand(keep)
        await place.transport.handle(A, hand, slots=60)
        await place.transport.send(A, numbered(60))
        await turns()
        verdicts = [*(one.ack() for one in hand.got[:30]), *(one.refuse("no") for one in hand.got[30:40]), hand.got[40].give_back()]
        await asyncio.gather(*verdicts)
        (told,) = place.store.settlements
        assert (len(told.acked), len(told.refused), len(told.given_back)) == (30, 10, 1)


async def test_a_packet_under_which_its_takers_die_becomes_a_dead_letter() -> None:
    async with Place() as place:
        await place.transport.send(A, [packet("poison"), packet("good")])
        for _ in range(DELIVERIES_MAX):
            now_us = place.clock.now_us()
            await place.store.take_packets({A: 1}, 5, now_us=now_us, until_us=now_us + CLAIM_US)
            place.clock.move_to(now_us + CLAIM_US)
        hand, dead = Hand(), Hand()
        await place.transport.handle(A, hand, slots=5)
        await place.transport.handle(DEAD, dead, slots=5)
        await turns(100)
        assert (hand.ids, dead.ids) == (["good"], ["poison"])
        assert dead.packets[0].headers[REASON_HEADER] == f"delivered {DELIVERIES_MAX} times, and never settled"


@pytest.mark.parametrize("kind", ["database", "memory"])
async def test_a_dead_letter_that_is_given_back_again_and_again_keeps_its_reason(kind: str) -> None:
    async with Place() as place:
        transport: Transport = place.transport if kind == "database" else MemoryTransport()
        await transport.open()
        letters = Hand(lambda delivery: delivery.give_back() if len(letters.got) < 3 * DELIVERIES_MAX else delivery.ack())
        refusing = Hand(lambda delivery: delivery.refuse("why"))
        await transport.handle(A, refusing, slots=1)
        await transport.handle(DEAD, letters, slots=1)
        await transport.send(A, [packet("p")])
        await turns(1_000)
        assert len(letters.got) == 3 * DELIVERIES_MAX
        assert {letter.headers[REASON_HEADER] for letter in letters.packets} == {"why"}
        await transport.close()


async def test_what_was_taken_for_a_handler_that_stopped_meanwhile_is_given_back() -> None:
    async with Place() as place:
        hand = Hand()
        await place.transport.send(A, [packet("p")])
        place.store.gate.clear()
        handling = await place.transport.handle(A, hand, slots=5)
        await turns()
        await handling.stop()
        place.store.gate.set()
        await turns()
        assert (hand.ids, await place.transport.backlog(A)) == ([], 1)


async def test_what_was_taken_while_the_transport_closed_is_given_back() -> None:
    place = Place()
    await place.transport.open()
    await place.transport.send(A, [packet("p")])
    place.store.gate.clear()
    await place.transport.handle(A, Hand(keep), slots=5)
    await turns()
    closing = asyncio.ensure_future(place.transport.close())
    await turns()
    place.store.gate.set()
    await closing
    assert await place.store.count_packets(A, place.clock.now_us()) == 1


async def test_what_is_settled_while_the_store_is_away_is_told_when_it_is_back_and_holds_its_slot_until_then() -> None:
    async with Place() as place:
        hand = Hand(keep)
        await place.transport.handle(A, hand, slots=2)
        await place.transport.send(A, numbered(4))
        await turns()
        place.store.is_away = True
        await asyncio.wait_for(hand.got[0].ack(), 5)
        await asyncio.wait_for(hand.got[1].give_back(), 5)
        await place.pass_by(3 * SECOND_US)
        assert len(hand.got) == 2
        with pytest.raises(TransportUnavailable):
            await place.transport.send(A, [packet("meanwhile")])
        place.store.is_away = False
        await place.pass_by(6 * SECOND_US)
        assert hand.ids == ["p0", "p1", "p1", "p2"]
        assert hand.got[2].is_again


async def test_a_verdict_that_the_store_does_not_hear_before_the_claim_ends_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async with Place() as place:
        hand = Hand(keep)
        await place.transport.handle(A, hand, slots=1)
        await place.transport.send(A, [packet("p")])
        await turns()
        place.store.is_away = True
        await hand.got[0].ack()
        with caplog.at_level(logging.WARNING, "perdure.transports"):
            await place.pass_by(CLAIM_US + 2 * SECOND_US, SECOND_US // 2)
        assert "may come again" in caplog.text
        place.store.is_away = False
        await place.pass_by(6 * SECOND_US)
        assert hand.ids == ["p", "p"]


async def test_a_take_that_nobody_answered_is_repeated_and_gives_what_it_took() -> None:
    class Forgetful(Counting):
        forgets = True

        async def take_packets(self, wanted: Any, owner: int, *, now_us: int, until_us: int) -> list[Claim]:
            claims = await super().take_packets(wanted, owner, now_us=now_us, until_us=until_us)
            if claims and self.forgets:
                self.forgets = False
                raise StoreUnavailable(store=self.name, problem="no answer")
            return claims

    place = Place()
    place.transport = DatabaseTransport(Forgetful(), place.clock)
    async with place:
        hand = Hand()
        await place.transport.handle(A, hand, slots=5)
        await place.transport.send(A, numbered(3))
        await turns()
        assert hand.ids == []
        await place.pass_by(SECOND_US)
        assert (hand.ids, [one.is_again for one in hand.got]) == (["p0", "p1", "p2"], [False] * 3)


async def test_a_call_of_the_handler_that_does_not_end_is_cancelled_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.transports.reception.END_S", 0.01)
    cancelled = asyncio.Event()

    async def endless(deliveries: Sequence[Delivery]) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async with Place() as place:
        handling = await place.transport.handle(A, endless, slots=1)
        await place.transport.send(A, [packet("p")])
        await turns()
        await handling.close()
        assert cancelled.is_set()
        assert await place.transport.backlog(A) == 1


def test_it_is_a_transport() -> None:
    transport: Transport = Place().transport
    assert transport.name == "memory://"
