"""Promises about what is carried and where to: whole packets of any size, between addresses of any name."""

import asyncio
from collections import Counter

import pytest

from perdure.model.errors import NoHandlers, PacketTooLarge
from perdure.ports.transport import NODES, Transport, calls_address, worker_address
from perdure.testing.conformance.transport_harness import A, B, Hand, TransportHarness, carried, numbered, packet, skip_unless
from perdure.wire.headers import CallNames, headers_of, read_headers

_LARGE = 1_000_000
_BEYOND_MAX = 256 * 1024 * 1024
_RUN_CHARS = 255


class CarriagePromises(TransportHarness):
    @carried
    async def test_a_packet_arrives_whole(self, transport: Transport) -> None:
        hand = Hand()
        await transport.handle(A, hand, slots=10)
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "perdure-run": "order 1", "x-empty": ""}
        sent = packet("run#0#3~1.1", b'{"type":"call"}', content_type="application/avro", headers=headers, priority=7)
        await transport.send(A, [sent])
        (got,) = await self.gets(hand, 1)
        assert (got.packet, got.is_again) == (sent, False)
        assert dict(got.packet.headers) == headers

    @carried
    async def test_what_is_not_said_of_a_packet_is_as_it_was_not_said(self, transport: Transport) -> None:
        hand = Hand()
        await transport.handle(A, hand, slots=10)
        await transport.send(A, [packet("p")])
        await self.gets(hand, 1)
        assert hand.packets == [packet("p")]

    @carried
    async def test_ids_and_headers_of_any_text_arrive_as_they_were(self, transport: Transport) -> None:
        hand = Hand()
        texts = ["ü→ 🜚", "a b\tc", "x" * 2_000, " edge ", "a\r\nInjected: yes\r\n", "100%41", "=?utf-8?q?=41?=", '"quoted"; a=b']
        await transport.handle(A, hand, slots=100)
        sent = [packet(text, headers={"perdure-run": text, "correlation-id": text}) for text in texts]
        await transport.send(A, sent)
        await self.gets(hand, len(sent))
        assert sorted(hand.packets, key=texts_of) == sorted(sent, key=texts_of)

    @carried
    async def test_the_id_of_a_packet_is_its_own_whatever_its_headers_call_it(self, transport: Transport) -> None:
        hand = Hand()
        await transport.handle(A, hand, slots=100)
        runs = ["order 1", "ü→ 🜚", "100%", "%41", "a%20b c", "r" * 300, "ü" * _RUN_CHARS]
        names = [CallNames(id=f"{run}#0#1~1.1", key=f"{run}#0#1", run=run, call="1", attempt=1, action="a") for run in runs]
        # An outcome's packet has another id than the attempt that its headers name.
        sent = [packet(id, headers=headers_of(one)) for one in names for id in (one.id, f"outcome/{one.id}/w ü")]
        await transport.send(A, sent)
        await self.gets(hand, len(sent))
        assert {got.id: dict(got.headers) for got in hand.packets} == {one.id: dict(one.headers) for one in sent}
        assert [read_headers(got.headers) for got in sorted(hand.packets, key=texts_of)] == [
            read_headers(one.headers) for one in sorted(sent, key=texts_of)
        ]

    @carried
    async def test_bodies_of_any_bytes_arrive_as_they_were(self, transport: Transport) -> None:
        hand = Hand()
        await transport.handle(A, hand, slots=100)
        bodies = [b"", b"\0", b"\r\n\r\n", bytes(range(256)) * 3, b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94."]
        await transport.send(A, [packet(f"p{at}", body) for at, body in enumerate(bodies)])
        await self.gets(hand, len(bodies))
        assert {got.id: got.body for got in hand.packets} == {f"p{at}": body for at, body in enumerate(bodies)}

    @carried
    async def test_a_large_body_arrives_among_small_ones(self, transport: Transport) -> None:
        hand = Hand()
        await transport.handle(A, hand, slots=10)
        body = bytes(range(250)) * (min(_LARGE, transport.traits.packet_bytes_max) // 250)
        await transport.send(A, [packet("before"), packet("large", body), packet("after")])
        await self.gets(hand, 3)
        assert {got.id: len(got.body) for got in hand.packets} == {"before": 2, "large": len(body), "after": 2}
        assert body in [got.body for got in hand.packets]

    @carried
    async def test_a_body_of_the_largest_size_arrives_and_one_beyond_is_refused(self, transport: Transport) -> None:
        largest = transport.traits.packet_bytes_max
        skip_unless(largest <= _BEYOND_MAX, "the largest packet of this transport is too large for a test")
        hand = Hand()
        await transport.handle(A, hand, slots=10)
        with pytest.raises(PacketTooLarge, match=r"Store the value elsewhere") as refused:
            await transport.send(A, [packet("beyond", b"x" * (largest + 1))])
        assert (refused.value.size, refused.value.limit) == (largest + 1, largest)
        await transport.send(A, [packet("largest", b"x" * largest)])
        await self.gets(hand, 1)
        assert [(got.id, len(got.body)) for got in hand.packets] == [("largest", largest)]

    @carried
    async def test_thousands_on_their_way_at_once_all_arrive(self, transport: Transport) -> None:
        hand = Hand()
        packets = numbered(2_000)
        await transport.handle(A, hand, slots=1_000)
        await asyncio.gather(*(transport.send(A, packets[at : at + 100]) for at in range(0, len(packets), 100)))
        await self.until(lambda: len(set(hand.ids)) == len(packets), "all of 2,000 packets")
        assert {got.id: got.body for got in hand.packets} == {sent.id: sent.body for sent in packets}

    @carried
    async def test_sending_nothing_does_nothing(self, transport: Transport) -> None:
        await transport.send(A, [])
        assert await transport.backlog(A) == 0

    @carried
    async def test_a_packet_may_be_sent_again_with_its_id(self, transport: Transport) -> None:
        hand = Hand()
        await transport.handle(A, hand, slots=10)
        for _ in range(3):
            await transport.send(A, numbered(2))
        await transport.send(A, [packet("last")])
        await self.until(lambda: {"p0", "p1", "last"} <= set(hand.ids), "each of three packets")
        await self.settles_down(transport)
        counts = Counter(hand.ids)
        assert counts["last"] == 1
        assert 1 <= counts["p0"] <= 3
        if transport.traits.is_deduplicating:
            assert counts == {"p0": 1, "p1": 1, "last": 1}


class AddressPromises(TransportHarness):
    @carried
    async def test_packets_wait_for_someone_to_handle_them_even_if_the_sender_has_gone(self, transport: Transport) -> None:
        async with self.another(transport) as sender:
            await self.known(sender, A)
            await sender.send(A, numbered(20))
        hand = Hand()
        await transport.handle(A, hand, slots=3)
        await self.gets(hand, 20)
        assert sorted(hand.ids) == sorted(sent.id for sent in numbered(20))

    @carried
    async def test_an_address_that_nobody_ever_handled_is_told_or_keeps_what_it_gets(self, transport: Transport) -> None:
        hand = Hand()
        for address in (A, NODES, worker_address("w1")):
            if transport.traits.tells_no_handler:
                with pytest.raises(NoHandlers, match=r"Nobody handles") as refused:
                    await transport.send(address, [packet("p")])
                assert refused.value.address == address
            else:
                await transport.send(address, [packet("p")])
            await transport.handle(address, hand, slots=1)
        if transport.traits.tells_no_handler:
            for address in (A, NODES, worker_address("w1")):
                await transport.send(address, [packet("p")])
        await self.gets(hand, 3)

    @carried
    async def test_two_addresses_never_mix(self, transport: Transport) -> None:
        other = "y" * 300
        names = ("a", "A", "a.b", "a b", "a*", "a.>", ">", "*", "a_b", "a-b", "a/b", "a%20b", "ü", "u", "x", f"{other}1", f"{other}2")
        addresses = [calls_address("default", name, 1) for name in names]
        addresses += [calls_address("default", "a", 11), calls_address("other", "a", 1), NODES, worker_address("1"), worker_address("1.2")]
        hands = {address: Hand() for address in addresses}
        for address, hand in hands.items():
            await transport.handle(address, hand, slots=10)
        for address in addresses:
            await transport.send(address, [packet(f"to {address}")])
        for hand in hands.values():
            await self.gets(hand, 1)
        await self.settles_down(transport)
        assert {address: hand.ids for address, hand in hands.items()} == {address: [f"to {address}"] for address in addresses}

    @carried
    async def test_one_id_at_two_addresses_is_two_packets(self, transport: Transport) -> None:
        hands = {address: Hand() for address in (A, B)}
        for address, hand in hands.items():
            await transport.handle(address, hand, slots=1)
            await transport.send(address, [packet("p", address.encode())])
        for address, hand in hands.items():
            await self.gets(hand, 1)
            assert hand.packets == [packet("p", address.encode())]

    @carried
    async def test_the_backlog_counts_what_nobody_has_got_yet(self, transport: Transport) -> None:
        assert await transport.backlog(A) == 0
        await self.known(transport, A, B)
        assert await transport.backlog(A) == 0
        await transport.send(A, numbered(7))
        await self.backlog_becomes(transport, 7)
        assert await transport.backlog(B) == 0
        hand = Hand()
        await transport.handle(A, hand, slots=2)
        await self.gets(hand, 7)
        await self.backlog_becomes(transport, 0)

    async def backlog_becomes(self, transport: Transport, count: int) -> None:
        async def is_so() -> bool:
            return await transport.backlog(A) == count

        await self.until(is_so, f"a backlog of {count}")


def texts_of(one: object) -> str:
    """Give something to sort packets by."""
    return getattr(one, "id", "")
