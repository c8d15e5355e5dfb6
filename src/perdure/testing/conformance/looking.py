"""Promises about looking at what lies at an address, and dropping some of it; of transports that show packets."""

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from perdure.model.errors import TransportUnavailable
from perdure.ports.transport import DEAD, DELIVERIES_MAX, Delivery, Packet, Transport, worker_address
from perdure.testing.conformance.transport_harness import A, B, Hand, TransportHarness, carried, keep, numbered, packet, skip_unless

_WHY = "it does not show packets"
_MANY = 70


async def lying(transport: Transport, address: str) -> list[Packet]:
    async with aclosing(transport.look(address)) as found:
        return [packet async for packet in found]


class LookPromises(TransportHarness):
    async def shows(self, transport: Transport, address: str, ids: Sequence[str]) -> None:
        async def is_so() -> bool:
            return sorted(one.id for one in await lying(transport, address)) == sorted(ids)

        await self.until(is_so, f"{ids} at {address}")

    @carried
    async def test_what_is_looked_at_is_shown_whole_and_stays(self, transport: Transport) -> None:
        skip_unless(transport.traits.shows_packets, _WHY)
        sent = [packet("p", bytes(range(256)), headers={"a": "b"}, content_type="text/plain", priority=3), packet("ü #1", b"")]
        await self.known(transport, A)
        assert await lying(transport, A) == []
        await transport.send(A, sent)
        for _ in range(3):
            assert sorted(await lying(transport, A), key=lambda one: len(one.body)) == sent[::-1]
        assert await transport.backlog(A) == 2
        hand = Hand(keep)
        await transport.handle(A, hand, slots=5)
        await self.gets(hand, 2)
        assert sorted(hand.ids) == ["p", "ü #1"]
        for delivery in hand.got:
            await delivery.ack()

    @carried
    async def test_dead_letters_may_be_looked_at_any_number_of_times(self, transport: Transport) -> None:
        skip_unless(transport.traits.shows_packets, _WHY)

        async def refuse(delivery: Delivery) -> None:
            await delivery.refuse("no")

        hand = Hand(refuse)
        await transport.handle(A, hand, slots=1)
        await transport.send(A, [packet("p")])
        await self.until(lambda: hand.settled == 1, "a refusal")
        for _ in range(2 * DELIVERIES_MAX + 2):
            assert [one.id for one in await lying(transport, DEAD)] == ["p"]
            assert await transport.backlog(DEAD) == 1
        dead = Hand()
        await transport.handle(DEAD, dead, slots=1)
        await self.gets(dead, 1)

    @carried
    async def test_nothing_is_shown_or_dropped_where_nobody_has_been(self, transport: Transport) -> None:
        skip_unless(transport.traits.shows_packets, _WHY)
        for address in (A, DEAD, worker_address("w1")):
            await transport.drop(address, ["p"])
            await transport.drop(address)
            assert await lying(transport, address) == []

    @carried
    async def test_whoever_looks_may_stop_and_sees_all_of_many(self, transport: Transport) -> None:
        skip_unless(transport.traits.shows_packets, _WHY)
        await self.known(transport, A, B)
        await transport.send(A, numbered(_MANY))
        await transport.send(B, [packet("other")])
        for _ in range(3):
            async with aclosing(transport.look(A)) as found:
                assert (await anext(found)).id.startswith("p")
        await self.shows(transport, A, [f"p{number}" for number in range(_MANY)])

    @carried
    async def test_what_is_dropped_is_gone_and_nothing_else(self, transport: Transport) -> None:
        skip_unless(transport.traits.shows_packets, _WHY)
        await self.known(transport, A, B)
        for address in (A, B):
            await transport.send(address, numbered(9))
        await transport.drop(A, ["p8", "p2", "nobody", "p5"])
        await self.shows(transport, A, ["p0", "p1", "p3", "p4", "p6", "p7"])
        await transport.drop(A, [])
        await transport.drop(B)
        await self.shows(transport, B, [])
        hand = Hand()
        await transport.handle(A, hand, slots=20)
        await self.gets(hand, 6)
        await transport.handle(B, hand, slots=20)
        await self.settles_down(transport)
        assert sorted(hand.ids) == ["p0", "p1", "p3", "p4", "p6", "p7"]

    @carried
    async def test_a_dropped_packet_may_be_sent_again_under_another_id(self, transport: Transport) -> None:
        skip_unless(transport.traits.shows_packets, _WHY)
        await self.known(transport, A)
        await transport.send(A, [packet("p")])
        await transport.drop(A, ["p"])
        await transport.send(A, [packet("p again")])
        await self.shows(transport, A, ["p again"])

    @carried
    async def test_of_one_id_at_the_dead_letters_only_so_many_are_dropped(self, transport: Transport) -> None:
        skip_unless(transport.traits.shows_packets, _WHY)

        async def refuse(delivery: Delivery) -> None:
            await delivery.refuse("no")

        hands = [Hand(refuse), Hand(refuse)]
        for address, hand in zip((A, B), hands, strict=True):
            await transport.handle(address, hand, slots=1)
            await transport.send(address, [packet("p")])
        await self.until(lambda: [hand.settled for hand in hands] == [1, 1], "two refusals")
        letters = await lying(transport, DEAD)
        # Where an id is there once at an address, the first one stays.
        assert {one.id for one in letters} == {"p"}
        assert len(letters) in (1, 2)
        await transport.drop(DEAD, ["p"])
        assert len(await lying(transport, DEAD)) == len(letters) - 1

    @carried
    async def test_a_transport_that_is_not_open_shows_nothing(self, transport: Transport) -> None:
        skip_unless(transport.traits.shows_packets, _WHY)
        other = self.other_transport(transport)
        with pytest.raises(TransportUnavailable):
            await lying(other, A)
        for ids in (None, ["p"]):
            with pytest.raises(TransportUnavailable):
                await other.drop(A, ids)
