"""Promises of `perdure.ports.packets`: each packet is taken by one at a time, and is there until somebody said that it is received."""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Iterable
from typing import Any

from msgspec import structs

from perdure.model.errors import Unsupported
from perdure.ports.packets import Claim, Settlement
from perdure.ports.store import Hint, Store
from perdure.ports.transport import DEAD, ORIGIN_HEADER, REASON_HEADER, Packet, dead_letter
from perdure.testing.conformance.harness import StoreHarness, promise

A, B = "perdure.calls.default.a.v1", "perdure.calls.default.b.v1"
ALL_BYTES = bytes(range(256))
NOW_US = 1_000_000
CLAIM_US = 500_000
_MANY = 3_000


def packet(id: str, body: bytes = b"{}", **fields: Any) -> Packet:
    return Packet(id, body, **fields)


async def put(store: Store, *ids: str, address: str = A, **fields: Any) -> None:
    await store.put_packets([(address, packet(id, **fields)) for id in ids], NOW_US)


async def take(store: Store, count: int = 100, *, address: str = A, now_us: int = NOW_US) -> list[Claim]:
    return await store.take_packets({address: count}, secrets.randbits(62), now_us=now_us, until_us=now_us + CLAIM_US)


def ids_of(claims: Iterable[Claim]) -> list[str]:
    return [claim.packet.id for claim in claims]


async def settle(store: Store, **lists: Any) -> None:
    await store.settle_packets(Settlement(**lists), NOW_US)


async def count(store: Store, address: str = A, now_us: int = NOW_US) -> int:
    return await store.count_packets(address, now_us)


class PacketPromises(StoreHarness):
    @promise
    async def test_a_packet_is_taken_as_it_was_put_and_gone_once_acked(self, store: Store) -> None:
        sent = packet("run#0#1~1.1", b'{"a":1}', content_type="application/avro", headers={"traceparent": "00", "x": ""}, priority=7)
        await store.put_packets([(A, sent), (A, packet("plain"))], NOW_US)
        assert await count(store) == 2
        first, second = await take(store)
        assert (first.address, first.packet, first.deliveries, second.packet) == (A, sent, 1, packet("plain"))
        assert await count(store) == 0
        await settle(store, acked=[first, second])
        assert (await take(store), await take(store, now_us=NOW_US + 10 * CLAIM_US)) == ([], [])

    @promise
    async def test_packets_of_one_handle_are_taken_by_another(self, store: Store) -> None:
        async with self.another(store) as other:
            await put(store, "a", "b")
            (claim,) = await take(other, 1)
            assert ids_of(await take(store)) == ["b"]
            await settle(store, given_back=[claim])
            assert ids_of(await take(other)) == ["a"]

    @promise
    async def test_an_id_that_lies_there_stays_as_it_is(self, store: Store) -> None:
        await store.put_packets([(A, packet("p", b"1")), (A, packet("p", b"2")), (B, packet("p", b"3"))], NOW_US)
        await put(store, "p", body=b"4")
        (claim,) = await take(store)
        assert claim.packet.body == b"1"
        await put(store, "p", body=b"5")
        assert await take(store) == []
        await settle(store, acked=[claim])
        assert [claim.packet.body for claim in await take(store, address=B)] == [b"3"]
        await put(store, "p", body=b"6")
        assert [claim.packet.body for claim in await take(store)] == [b"6"]

    @promise
    async def test_the_highest_priority_comes_first_and_then_what_arrived_first(self, store: Store) -> None:
        for id, priority in (("a", 0), ("b", 5), ("c", -3), ("d", 0), ("e", 9), ("f", 5)):
            await put(store, id, priority=priority)
        first = await take(store, 3)
        assert ids_of(first) == ["e", "b", "f"]
        await put(store, "g", priority=1)
        await settle(store, given_back=first[1:2])
        assert ids_of(await take(store)) == ["b", "g", "a", "d", "c"]

    @promise
    async def test_each_address_gives_as_many_as_were_asked_of_it(self, store: Store) -> None:
        await put(store, *(f"a{number}" for number in range(5)))
        await put(store, *(f"b{number}" for number in range(5)), address=B)
        claims = await store.take_packets({B: 1, "nobody": 9, A: 3}, 1, now_us=NOW_US, until_us=NOW_US + CLAIM_US)
        assert Counter(claim.address for claim in claims) == {A: 3, B: 1}
        assert sorted(ids_of(claims)) == ["a0", "a1", "a2", "b0"]
        for nothing in ({A: 0}, {}):
            assert await store.take_packets(nothing, 1, now_us=NOW_US, until_us=NOW_US + 2 * CLAIM_US) == []
        assert (await count(store), await count(store, B), await count(store, "nobody")) == (2, 4, 0)

    @promise
    async def test_a_taker_that_got_no_answer_asks_again_and_gets_what_it_took_then(self, store: Store) -> None:
        await put(store, "a", "b", "c", "d")

        async def ask(owner: int, count: int, until_us: int) -> list[tuple[str, int]]:
            claims = await store.take_packets({A: count}, owner, now_us=NOW_US, until_us=until_us)
            return [(claim.packet.id, claim.deliveries) for claim in claims]

        end_us = NOW_US + CLAIM_US
        assert await ask(7, 2, end_us) == [("a", 1), ("b", 1)]
        assert await ask(7, 2, end_us) == [("a", 1), ("b", 1)]
        assert await ask(7, 3, end_us) == [("a", 1), ("b", 1), ("c", 1)]
        assert await ask(8, 9, end_us) == [("d", 1)], "another's claims are its own, though they end at the same instant"
        assert await ask(9, 9, end_us + 1) == []
        again = await store.take_packets({A: 3}, 7, now_us=NOW_US + 5, until_us=end_us)
        await settle(store, acked=again[:1], given_back=again[1:2])
        assert await ask(7, 9, end_us) == [("b", 2), ("c", 1)]

    @promise
    async def test_what_a_taker_that_died_had_is_taken_again_when_its_claim_has_ended(self, store: Store) -> None:
        await put(store, "a", "b")
        for deliveries in (1, 2, 3):
            now_us = NOW_US + deliveries * CLAIM_US
            claims = await take(store, 1, now_us=now_us)
            assert [(claim.packet.id, claim.deliveries) for claim in claims] == [("a", deliveries)]
            assert ids_of(await take(store, now_us=now_us + CLAIM_US - 1)) in (["b"], [])
            assert await count(store, now_us=now_us + CLAIM_US - 1) in (0, 1)
            assert await count(store, now_us=now_us + 3 * CLAIM_US) == 2

    @promise
    async def test_a_settlement_counts_until_the_packet_is_taken_again(self, store: Store) -> None:
        await put(store, "acked", "back", "refused", "late")
        old = {claim.packet.id: claim for claim in await take(store)}
        await settle(store, acked=[old["late"]])
        again_us = NOW_US + CLAIM_US
        new = {claim.packet.id: claim for claim in await take(store, now_us=again_us)}
        assert sorted(new) == ["acked", "back", "refused"]
        await settle(store, acked=[old["acked"]], given_back=[old["back"]], refused=[(old["refused"], "no")])
        assert (await take(store, now_us=again_us + 1), await count(store, DEAD)) == ([], 0)
        assert await count(store, now_us=again_us + CLAIM_US) == 3
        await settle(store, acked=[new["acked"]], given_back=[new["back"]], refused=[(new["refused"], "no")])
        assert [(claim.packet.id, claim.deliveries) for claim in await take(store, now_us=again_us + 1)] == [("back", 3)]
        assert await count(store, DEAD) == 1

    @promise
    async def test_settling_again_or_what_is_gone_does_nothing(self, store: Store) -> None:
        await put(store, "acked", "back", "refused")
        claims = {claim.packet.id: claim for claim in await take(store)}
        lists = {"acked": [claims["acked"]], "given_back": [claims["back"]], "refused": [(claims["refused"], "no")]}
        await settle(store, **lists)
        (back,) = await take(store)
        await settle(store, **lists)
        await settle(store)
        assert (await take(store), await count(store, DEAD)) == ([], 1)
        await put(store, "acked", "refused")
        fresh = await take(store)
        await settle(store, **lists)
        assert await take(store) == []
        await settle(store, given_back=[*fresh, back])
        assert sorted(ids_of(await take(store))) == ["acked", "back", "refused"]

    @promise
    async def test_a_packet_that_is_put_again_after_its_ack_is_another_one(self, store: Store) -> None:
        await put(store, "p")
        (old,) = await take(store)
        await settle(store, acked=[old])
        await put(store, "p")
        (new,) = await take(store)
        assert new.position > old.position
        await settle(store, acked=[old], given_back=[old], refused=[(old, "late")])
        assert (await take(store), await count(store, now_us=NOW_US + CLAIM_US)) == ([], 1)

    @promise
    async def test_a_refused_packet_is_a_dead_letter_with_the_reason(self, store: Store) -> None:
        sent = packet("p", ALL_BYTES, content_type="text/plain", headers={"a": "ü\x00"}, priority=3)
        await store.put_packets([(A, sent), (B, structs.replace(sent, body=b"other"))], NOW_US)
        (claim,) = await take(store)
        await settle(store, refused=[(claim, "why → \x00 not")])
        assert await take(store) == []
        (letter,) = await take(store, address=DEAD)
        assert letter.packet == dead_letter(sent, A, "why → \x00 not", NOW_US)
        assert letter.deliveries == 1
        await settle(store, refused=[(letter, "again")])
        (letter,) = await take(store, address=DEAD)
        assert letter.packet.headers[REASON_HEADER] == "again", "a dead letter that is refused is one still"
        assert letter.packet.headers[ORIGIN_HEADER] == A
        (other,) = await take(store, address=B)
        await settle(store, refused=[(other, "same id")])
        assert (await take(store, address=B), await count(store, DEAD)) == ([], 0)

    @promise
    async def test_several_takers_at_once_never_get_one_packet_twice(self, store: Store) -> None:
        await store.put_packets([(A, packet(str(number), priority=number % 3)) for number in range(600)], NOW_US)
        taken: list[str] = []

        async def work(handle: Store, batch: int) -> None:
            while claims := await take(handle, batch):
                taken.extend(ids_of(claims))
                await settle(handle, acked=claims[1:], given_back=claims[:1] if claims[0].deliveries == 1 else [])
                await settle(handle, acked=[claim for claim in claims[:1] if claim.deliveries > 1])

        async with self.another(store) as other, self.another(store) as third:
            # A taker may find everything taken and leave while another gives something back: somebody comes once more.
            await asyncio.gather(*(work(handle, batch) for handle in (store, other, third) for batch in (7, 20)))
            await work(store, 50)
        counts = Counter(taken)
        assert len(counts) == 600
        assert set(counts.values()) <= {1, 2}
        assert await count(store, now_us=NOW_US + 10 * CLAIM_US) == 0

    @promise
    async def test_claims_under_way_at_once_are_of_different_packets(self, store: Store) -> None:
        await store.put_packets([(A, packet(str(number))) for number in range(300)], NOW_US)
        async with self.another(store) as other:
            found = await asyncio.gather(*(take(handle, 15) for handle in (store, other) for _ in range(10)))
        ids = [id for claims in found for id in ids_of(claims)]
        assert len(ids) == len(set(ids))
        left = ids_of(await take(store, 1_000))
        assert sorted([*ids, *left], key=int) == [str(number) for number in range(300)]

    @promise
    async def test_bodies_of_any_size_and_bytes_come_back_as_they_went_in(self, store: Store) -> None:
        noise = random.Random(5)
        bodies = [b"", b"\x00", b"\x00\x00a", ALL_BYTES, noise.randbytes(3_000), noise.randbytes(5_000_000), b""]
        await store.put_packets([(A, packet(str(at), body)) for at, body in enumerate(bodies)], NOW_US)
        for now_us in (NOW_US, NOW_US + CLAIM_US):
            assert [claim.packet.body for claim in await take(store, now_us=now_us)] == bodies

    @promise
    async def test_names_may_be_any_text(self, store: Store) -> None:
        names = ["ünï→😀", 'say "hi"', "back\\slash", "it's", "%s ?1", "a\nb\tc\x1f", "", " ", "null", "i" * 1_000]
        for name in names:
            sent = packet(name, headers={name: name}, content_type=name or "x/y")
            await store.put_packets([(name, sent)], NOW_US)
            (claim,) = await take(store, address=name)
            assert (claim.address, claim.packet) == (name, sent)
            await settle(store, acked=[claim])
            assert await count(store, name, NOW_US + 2 * CLAIM_US) == 0

    @promise
    async def test_a_name_that_cannot_be_stored_is_refused_and_nothing_is_put(self, store: Store) -> None:
        for name in ("a\x00b", "\ud800"):
            try:
                await put(store, "fine", name)
            except Unsupported:
                assert await count(store) == 0
            else:
                assert sorted(ids_of(await take(store))) == sorted(["fine", name])
                await store.drop_packets(A)

    @promise
    async def test_packets_that_are_dropped_are_gone_taken_or_not(self, store: Store) -> None:
        await put(store, "a", "b", "c", "d")
        await put(store, "a", address=B)
        taken = await take(store, 2)
        await store.drop_packets(A, ["b", "c", "unknown"])
        await store.drop_packets(A, [])
        assert ids_of(await take(store)) == ["d"]
        await settle(store, given_back=taken)
        assert ids_of(await take(store)) == ["a"]
        await store.drop_packets(A)
        await store.drop_packets("nobody")
        assert await count(store, now_us=NOW_US + 2 * CLAIM_US) == 0
        assert ids_of(await take(store, address=B)) == ["a"]

    @promise
    async def test_thousands_are_put_taken_and_settled_in_batches(self, store: Store) -> None:
        sent = [(A, packet(f"p{number:05}", priority=number % 2)) for number in range(_MANY)]
        await asyncio.gather(*(store.put_packets(sent[at : at + 500], NOW_US) for at in range(0, _MANY, 500)))
        assert await count(store) == _MANY
        taken: list[Claim] = []
        while claims := await take(store, 250):
            taken += claims
            await settle(store, acked=claims)
        assert sorted(ids_of(taken)) == [packet.id for _, packet in sent]
        assert [claim.packet.priority for claim in taken] == sorted((claim.packet.priority for claim in taken), reverse=True)
        assert await count(store, now_us=NOW_US + 10 * CLAIM_US) == 0

    @promise
    async def test_takers_at_the_same_object_and_where_news_goes_round_at_others_hear_of_new_packets(self, store: Store) -> None:
        async with self.another(store) as other:
            heard = {handle: asyncio.Event() for handle in (store, other)}

            def hear(handle: Store, hint: Hint) -> None:
                if {A, B} <= hint.called:
                    heard[handle].set()

            stops = [handle.subscribe(lambda hint, handle=handle: hear(handle, hint)) for handle in heard]  # type: ignore[misc]
            if self.tells_news:
                await self.until_heard(other)
            store.announce(Hint(called=frozenset((A, B))))
            for event in heard.values() if self.tells_news else [heard[store]]:
                await asyncio.wait_for(event.wait(), 10)
            for stop in stops:
                stop()
