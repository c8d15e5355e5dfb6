"""Promises about packets that are not simply done: given back, refused, or the death of a handler; and about dead letters."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from perdure.ports.transport import (
    DEAD,
    DELIVERIES_MAX,
    DIED_HEADER,
    ORIGIN_HEADER,
    REASON_HEADER,
    Delivery,
    Transport,
    worker_address,
)
from perdure.testing.conformance.transport_harness import A, Hand, TransportHarness, carried, give_back, keep, packet


class SettlingPromises(TransportHarness):
    @carried
    async def test_what_is_given_back_comes_again_and_says_so(self, transport: Transport) -> None:
        sent = packet("p", b"body", headers={"a": "b"}, content_type="text/plain", priority=3)
        hand = Hand(keep)
        await transport.handle(A, hand, slots=1)
        await transport.send(A, [sent])
        await (await self.gets(hand, 1))[0].give_back()
        again = (await self.gets(hand, 2))[1]
        await again.ack()
        assert (hand.packets, [delivery.is_again for delivery in hand.got]) == ([sent, sent], [False, True])

    @carried
    async def test_what_is_always_given_back_becomes_a_dead_letter_with_the_reason(self, transport: Transport) -> None:
        sent = packet("p", b"body", headers={"a": "b"}, content_type="text/plain", priority=3)
        for address in (A, worker_address("w1")):
            hand, dead = Hand(give_back), Hand()
            await transport.handle(address, hand, slots=5)
            await transport.send(address, [sent])
            burying = await transport.handle(DEAD, dead, slots=5)
            await self.gets(dead, 1)
            await self.settles_down(transport)
            assert len(hand.got) == DELIVERIES_MAX
            assert str(DELIVERIES_MAX) in dead.packets[0].headers[REASON_HEADER]
            self.is_letter_of(sent, dead, address)
            await burying.close()

    @carried
    async def test_what_is_refused_becomes_a_dead_letter_with_the_reason(self, transport: Transport) -> None:
        reason = "not a call: version 9\r\nof 'Call' → unknown " + "x" * 500

        async def refuse(delivery: Delivery) -> None:
            await delivery.refuse(reason)

        hand, dead = Hand(refuse), Hand()
        sent = packet("p", b"\x80\x04poison", headers={"a": "b"}, content_type="text/plain", priority=3)
        await transport.handle(A, hand, slots=5)
        await transport.send(A, [sent])
        await self.gets(hand, 1)
        await transport.handle(DEAD, dead, slots=5)
        await self.gets(dead, 1)
        await self.settles_down(transport)
        assert dead.packets[0].headers[REASON_HEADER] == reason
        assert len(hand.got) == 1
        self.is_letter_of(sent, dead, A)

    def is_letter_of(self, sent: object, dead: Hand, address: str) -> None:
        (letter,) = dead.packets
        assert letter.headers[ORIGIN_HEADER] == address
        assert datetime.fromisoformat(letter.headers[DIED_HEADER]).tzinfo is not None
        told = (REASON_HEADER, ORIGIN_HEADER, DIED_HEADER)
        headers = {name: value for name, value in letter.headers.items() if name not in told}
        assert packet(letter.id, letter.body, content_type=letter.content_type, headers=headers, priority=letter.priority) == sent

    @carried
    async def test_dead_letters_are_sent_before_they_leave_their_address(self, transport: Transport) -> None:
        async def refuse(delivery: Delivery) -> None:
            await delivery.refuse(f"no {delivery.packet.id}")

        hand, dead = Hand(refuse), Hand()
        async with self.another(transport) as other:
            await other.handle(A, hand, slots=50)
            await transport.send(A, [packet(f"p{number}") for number in range(200)])
            await self.until(lambda: hand.settled == 200, "200 refusals")
        await transport.handle(DEAD, dead, slots=50)
        await self.until(lambda: len(set(dead.ids)) == 200, "200 dead letters")
        assert {got.id: got.headers[REASON_HEADER] for got in dead.packets} == {f"p{number}": f"no p{number}" for number in range(200)}

    @carried
    async def test_a_poison_packet_blocks_nothing(self, transport: Transport) -> None:
        done: list[str] = []
        poison = 0

        async def handler(deliveries: Sequence[Delivery]) -> None:
            nonlocal poison
            for delivery in deliveries:
                if delivery.packet.id == "poison":
                    poison += 1
                    raise ValueError("cannot be read")
                done.append(delivery.packet.id)
                await delivery.ack()

        logging.getLogger("perdure").setLevel(logging.CRITICAL)
        dead = Hand()
        try:
            await transport.handle(A, handler, slots=1)
            await transport.send(A, [packet("before"), packet("poison"), packet("after")])
            await transport.handle(DEAD, dead, slots=1)
            await self.gets(dead, 1)
            await self.until(lambda: {"before", "after"} <= set(done), "the packets beside the poison")
        finally:
            logging.getLogger("perdure").setLevel(logging.NOTSET)
        assert (dead.ids, poison) == (["poison"], DELIVERIES_MAX)
        assert REASON_HEADER in dead.packets[0].headers

    @carried
    async def test_what_a_handler_raises_is_logged_and_what_it_left_is_given_back(self, transport: Transport) -> None:
        counts: Counter[str] = Counter()
        records: list[logging.LogRecord] = []
        all_here = asyncio.Event()

        async def handler(deliveries: Sequence[Delivery]) -> None:
            for delivery in deliveries:
                id = delivery.packet.id
                counts[id] += 1
                if id == "bad" and counts[id] == 1:
                    raise RuntimeError("the handler has a mistake")
                await delivery.ack()
                if counts["bad"] > 1 and counts["good"]:
                    all_here.set()

        watcher = _Watcher(records)
        logger = logging.getLogger("perdure.transports")
        logger.addHandler(watcher)
        try:
            await transport.handle(A, handler, slots=2)
            await transport.send(A, [packet("good"), packet("bad")])
            await asyncio.wait_for(all_here.wait(), self.patience_s)
        finally:
            logger.removeHandler(watcher)
        await self.settles_down(transport)
        assert counts == {"good": 1, "bad": 2}
        assert any(record.exc_info and isinstance(record.exc_info[1], RuntimeError) for record in records)

    @carried
    async def test_settling_again_does_nothing(self, transport: Transport) -> None:
        hand, dead = Hand(keep), Hand()
        await transport.handle(A, hand, slots=5)
        await transport.handle(DEAD, dead, slots=5)
        await transport.send(A, [packet("acked"), packet("refused")])
        got = {delivery.packet.id: delivery for delivery in await self.gets(hand, 2)}
        await got["acked"].ack()
        await got["refused"].refuse("once")
        for delivery in got.values():
            await delivery.give_back()
            await delivery.refuse("twice")
            await delivery.ack()
        await self.gets(dead, 1)
        await self.settles_down(transport)
        assert (sorted(hand.ids), dead.ids, dead.packets[0].headers[REASON_HEADER]) == (["acked", "refused"], ["refused"], "once")

    @carried
    async def test_settling_from_many_tasks_at_once_frees_every_slot(self, transport: Transport) -> None:
        hand = Hand(keep)
        await transport.handle(A, hand, slots=20)
        await transport.send(A, [packet(f"p{number}") for number in range(100)])
        for settled in range(0, 100, 20):
            got = (await self.gets(hand, settled + 20))[settled : settled + 20]
            await asyncio.gather(*(delivery.ack() for delivery in got for _ in range(2)))
        await self.settles_down(transport)
        assert len(hand.got) == len(set(hand.ids)) == 100


class _Watcher(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)
