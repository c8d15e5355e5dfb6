"""Promises to handlers: how much they get at a time, that they share, and what stopping and closing mean."""

import asyncio
from collections.abc import Sequence

import pytest

from perdure.model.errors import TransportUnavailable
from perdure.ports.transport import Delivery, Handling, Transport
from perdure.testing.conformance.transport_harness import A, B, Hand, TransportHarness, carried, give_back, keep, numbered, packet


class SlotPromises(TransportHarness):
    @carried
    async def test_no_more_than_its_slots_are_unsettled_with_a_handler(self, transport: Transport) -> None:
        hand = Hand(keep)
        await transport.handle(A, hand, slots=3)
        await transport.send(A, numbered(10))
        for settled in range(7):
            await self.gets(hand, 3 + settled)
            await self.settles_down(transport)
            assert len(hand.got) == 3 + settled
            await hand.got[settled].ack()
        await self.gets(hand, 10)
        assert sorted(hand.ids) == sorted(sent.id for sent in numbered(10))

    @carried
    async def test_a_call_of_the_handler_that_takes_long_holds_up_no_other(self, transport: Transport) -> None:
        got: list[str] = []
        all_here = asyncio.Event()

        async def slow(deliveries: Sequence[Delivery]) -> None:
            got.extend(delivery.packet.id for delivery in deliveries)
            if len(got) == 4:
                all_here.set()
            await all_here.wait()
            for delivery in deliveries:
                await delivery.ack()

        await transport.handle(A, slow, slots=4)
        for sent in numbered(4):
            await transport.send(A, [sent])
        await asyncio.wait_for(all_here.wait(), self.patience_s)
        await self.settles_down(transport)
        assert sorted(got) == ["p0", "p1", "p2", "p3"]

    @carried
    async def test_handlers_of_one_address_share_what_comes(self, transport: Transport) -> None:
        async with self.another(transport) as other:
            hands = [Hand(keep) for _ in range(4)]
            for at, hand in enumerate(hands):
                await (transport, other)[at % 2].handle(A, hand, slots=2)
            await transport.send(A, numbered(8))
            for hand in hands:
                await self.gets(hand, 2)
            await self.settles_down(transport)
        assert sorted(id for hand in hands for id in hand.ids) == sorted(sent.id for sent in numbered(8))

    @carried
    async def test_a_handler_that_is_full_leaves_the_rest_to_others(self, transport: Transport) -> None:
        full, free = Hand(keep), Hand()
        await transport.handle(A, full, slots=2)
        await transport.send(A, numbered(2))
        await self.gets(full, 2)
        await transport.send(A, numbered(50, first=2))
        async with self.another(transport) as other:
            await other.handle(A, free, slots=5)
            await self.gets(free, 50)
        assert sorted(full.ids + free.ids) == sorted(sent.id for sent in numbered(52))

    @carried
    async def test_addresses_do_not_share_slots(self, transport: Transport) -> None:
        busy, free = Hand(keep), Hand()
        await transport.handle(A, busy, slots=1)
        await transport.handle(B, free, slots=1)
        await transport.send(A, numbered(5))
        await self.gets(busy, 1)
        await transport.send(B, numbered(5))
        await self.gets(free, 5)


class EndingPromises(TransportHarness):
    @carried
    async def test_what_was_acked_does_not_come_again(self, transport: Transport) -> None:
        hand, later = Hand(), Hand()
        async with self.another(transport) as other:
            await other.handle(A, hand, slots=5)
            await transport.send(A, numbered(20))
            await self.gets(hand, 20)
        await transport.handle(A, later, slots=5)
        await self.settles_down(transport)
        await transport.send(A, [packet("new")])
        await self.gets(later, 1)
        assert later.ids == ["new"]

    @carried
    async def test_a_stopped_handler_gets_nothing_more_and_can_settle_what_it_has(self, transport: Transport) -> None:
        hand, other_hand = Hand(keep), Hand()
        handling = await transport.handle(A, hand, slots=2)
        await transport.send(A, numbered(6))
        first = list(await self.gets(hand, 2))
        await handling.stop()
        await first[0].ack()
        async with self.another(transport) as other:
            await other.handle(A, other_hand, slots=2)
            await self.gets(other_hand, 4)
            await first[1].give_back()
            await self.gets(other_hand, 5)
            assert len(hand.got) == 2
            assert sorted([first[0].packet.id, *other_hand.ids]) == sorted(sent.id for sent in numbered(6))

    @carried
    async def test_closing_a_handler_gives_back_what_it_has_not_settled(self, transport: Transport) -> None:
        hand, later = Hand(keep), Hand()
        handling = await transport.handle(A, hand, slots=2)
        await transport.send(A, numbered(3))
        left = list(await self.gets(hand, 2))
        await left[0].ack()
        await self.gets(hand, 3)
        await handling.close()
        await transport.handle(A, later, slots=5)
        await self.gets(later, 2)
        for delivery in left:
            await delivery.refuse("too late")
        await self.settles_down(transport)
        assert sorted(later.ids) == sorted(delivery.packet.id for delivery in hand.got[1:])
        assert all(delivery.is_again for delivery in later.got)

    @carried
    async def test_stopping_and_closing_twice_and_in_any_order_is_fine(self, transport: Transport) -> None:
        one = await transport.handle(A, Hand(), slots=1)
        two = await transport.handle(A, Hand(), slots=1)
        for end in (one.stop, one.stop, one.close, one.close, one.stop, two.close, two.stop, two.close):
            await end()
        hand = Hand()
        await transport.handle(A, hand, slots=1)
        await transport.send(A, numbered(3))
        await self.gets(hand, 3)

    @carried
    async def test_a_handler_may_close_itself(self, transport: Transport) -> None:
        handlings: list[Handling] = []
        closed = asyncio.Event()

        async def once(deliveries: Sequence[Delivery]) -> None:
            for delivery in deliveries:
                await delivery.ack()
            await handlings[0].close()
            closed.set()

        await self.known(transport, A)
        handlings.append(await transport.handle(A, once, slots=1))
        await transport.send(A, numbered(2))
        await asyncio.wait_for(closed.wait(), self.patience_s)
        hand = Hand()
        await transport.handle(A, hand, slots=1)
        await self.gets(hand, 1)

    @carried
    async def test_closing_the_transport_closes_its_handlings(self, transport: Transport) -> None:
        hand, later = Hand(keep), Hand()
        async with self.another(transport) as other:
            handling = await other.handle(A, hand, slots=4)
            await transport.send(A, numbered(6))
            held = list(await self.gets(hand, 4))
            await other.close()
            await handling.close()
            await transport.handle(A, later, slots=10)
            await self.gets(later, 6)
            for delivery in held:
                await delivery.ack()
        assert sorted(later.ids) == sorted(sent.id for sent in numbered(6))

    @carried
    async def test_a_transport_that_is_not_open_says_so(self, transport: Transport) -> None:
        await self.known(transport, A)
        other = self.other_transport(transport)
        await other.close()
        with pytest.raises(TransportUnavailable):
            await other.send(A, [packet("p")])
        await other.open()
        await other.send(A, [packet("q")])
        await other.close()
        await other.close()
        with pytest.raises(TransportUnavailable):
            await other.send(A, [packet("r")])
        with pytest.raises(TransportUnavailable):
            await other.handle(A, Hand(), slots=1)
        hand = Hand()
        await transport.handle(A, hand, slots=1)
        await self.gets(hand, 1)
        await self.settles_down(transport)
        assert hand.ids == ["q"]

    @carried
    async def test_what_is_given_back_goes_to_those_who_have_room(self, transport: Transport) -> None:
        unwilling, willing = Hand(give_back), Hand()
        handling = await transport.handle(A, unwilling, slots=1)
        await transport.send(A, [packet("p")])
        await self.gets(unwilling, 1)
        await handling.stop()
        async with self.another(transport) as other:
            await other.handle(A, willing, slots=1)
            await self.gets(willing, 1)
        assert willing.got[0].is_again
