"""Promises for the time when things break: processes die, connections are lost, the broker is away."""

import asyncio
from collections import Counter

import pytest

from perdure.model.errors import TransportUnavailable
from perdure.ports.transport import NODES, Transport
from perdure.testing.conformance.transport_harness import A, B, Hand, TransportHarness, carried, keep, numbered, packet, skip_unless

_NO_BREAKS = "this transport has no connection to lose"


class BreakPromises(TransportHarness):
    @carried
    async def test_what_lay_with_a_process_that_died_comes_again_elsewhere(self, transport: Transport) -> None:
        hand, later = Hand(keep), Hand()
        dying = self.other_transport(transport)
        await dying.open()
        await dying.handle(A, hand, slots=5)
        await transport.send(A, numbered(8))
        await self.gets(hand, 5)
        await hand.got[0].ack()
        # The ack is on its way before the process dies: what comes in its place is delivered after the broker has read it.
        await self.gets(hand, 6)
        await self.crash(dying)
        await transport.handle(A, later, slots=3)
        lost = sorted(hand.ids[1:])
        await self.until(lambda: set(lost) <= set(later.ids), f"what the dead process had: {lost}")
        await self.gets(later, 7)
        assert sorted(later.ids) == sorted(sent.id for sent in numbered(8) if sent.id != hand.ids[0])
        assert all(delivery.is_again for delivery in later.got if delivery.packet.id in lost)

    @carried
    async def test_what_was_sent_is_there_after_the_sender_died(self, transport: Transport) -> None:
        hand = Hand()
        dying = self.other_transport(transport)
        await dying.open()
        await self.known(dying, A)
        await dying.send(A, numbered(300))
        await self.crash(dying)
        await transport.handle(A, hand, slots=50)
        await self.gets(hand, 300)
        assert sorted(hand.ids) == sorted(sent.id for sent in numbered(300))

    @carried
    async def test_a_handling_goes_on_after_its_connection_was_lost(self, transport: Transport) -> None:
        skip_unless(self.breaks, _NO_BREAKS)
        hands = {address: Hand() for address in (A, NODES)}
        for address, hand in hands.items():
            await transport.handle(address, hand, slots=4)
        for round in range(4):
            for address, hand in hands.items():
                await self.sends(transport, address, numbered(5, first=5 * round))
                await self.until(lambda hand=hand, round=round: f"p{5 * round + 4}" in hand.ids, f"{address} in round {round}")  # type: ignore[misc]
            self.cut(transport)
        for hand in hands.values():
            await self.until(lambda hand=hand: len(set(hand.ids)) == 20, "20 packets")  # type: ignore[misc]

    @carried
    async def test_what_was_held_when_the_connection_was_lost_can_be_settled_and_is_not_lost(self, transport: Transport) -> None:
        skip_unless(self.breaks, _NO_BREAKS)
        hand = Hand(keep)
        await transport.handle(A, hand, slots=4)
        await transport.send(A, numbered(8))
        held = list(await self.gets(hand, 4))
        self.cut(transport)
        await held[0].ack()
        await self.until_it_answers(transport)
        await held[1].ack()
        await held[2].give_back()
        await held[3].refuse("late")
        done: Counter[str] = Counter()

        async def is_done() -> bool:
            for delivery in hand.got[4 + sum(done.values()) :]:
                done[delivery.packet.id] += 1
                await delivery.ack()
            return {f"p{number}" for number in range(4, 8)} <= set(done) and await transport.backlog(A) == 0

        await self.until(is_done, "the packets after the break")
        await self.sends(transport, A, [packet("later")])
        await self.until(lambda: "later" in hand.ids, "a packet sent after all that")

    async def until_it_answers(self, transport: Transport) -> None:
        """It is connected again, and what it had sent before has been read."""

        async def is_handled() -> bool:
            try:
                await self.settles_down(transport)
            except TransportUnavailable:
                return False
            return True

        await self.until(is_handled, "an echo")

    @carried
    async def test_nothing_is_lost_while_connections_break_under_load(self, transport: Transport) -> None:
        skip_unless(self.breaks, _NO_BREAKS)
        hand = Hand()
        packets = numbered(1_500)
        await transport.handle(A, hand, slots=100)

        async def send(first: int) -> None:
            for at in range(first, len(packets), 500):
                await self.sends(transport, A, packets[at : at + 100])

        async with asyncio.TaskGroup() as group:
            for first in range(0, 500, 100):
                group.create_task(send(first))
            for share in (0.2, 0.5, 0.7):
                await self.until(lambda share=share: len(set(hand.ids)) > share * len(packets), f"{share:.0%} of the packets")  # type: ignore[misc]
                self.cut(transport)
        await self.until(lambda: len(set(hand.ids)) == len(packets), "every packet")
        assert {got.id: got.body for got in hand.packets} == {sent.id: sent.body for sent in packets}

    @carried
    async def test_a_broker_that_is_away_is_told_and_come_back_to(self, transport: Transport) -> None:
        skip_unless(self.breaks, _NO_BREAKS)
        hand, first = Hand(), Hand()
        await transport.handle(A, first, slots=2)
        await transport.send(A, [packet("before")])
        await self.gets(first, 1)
        await self.known(transport, B)
        async with self.away(transport):
            for _ in range(2):
                with pytest.raises(TransportUnavailable, match=r"did not answer"):
                    await asyncio.wait_for(transport.send(A, [packet("meanwhile")]), self.patience_s)
            with pytest.raises(TransportUnavailable):
                await asyncio.wait_for(transport.backlog(A), self.patience_s)
            newcomer = self.other_transport(transport)
            with pytest.raises(TransportUnavailable):
                await asyncio.wait_for(newcomer.open(), self.patience_s)
            await newcomer.close()
        await self.sends(transport, A, [packet("after")])
        await self.until(lambda: "after" in first.ids, "the packet after the broker came back")
        await transport.handle(B, hand, slots=1)
        await transport.send(B, [packet("new handling")])
        await self.gets(hand, 1)

    @carried
    async def test_a_transport_can_be_closed_while_the_broker_is_away(self, transport: Transport) -> None:
        skip_unless(self.breaks, _NO_BREAKS)
        hand, later = Hand(keep), Hand()
        handling = await transport.handle(A, hand, slots=2)
        await transport.send(A, numbered(3))
        held = list(await self.gets(hand, 2))
        async with self.away(transport):
            await asyncio.wait_for(handling.stop(), self.patience_s)
            await held[0].ack()
            await asyncio.wait_for(transport.close(), self.patience_s)
            await held[1].ack()
        async with self.another(transport) as other:
            await other.handle(A, later, slots=5)
            await self.until(lambda: {"p0", "p1", "p2"} <= {*later.ids, held[0].packet.id}, "what was not settled")
