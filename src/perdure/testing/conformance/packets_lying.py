"""Promises of `perdure.ports.packets` about what lies at an address: it is shown to who looks, and pruned when it is old or too much."""

from perdure.ports.store import Store
from perdure.testing.conformance.harness import StoreHarness, promise
from perdure.testing.conformance.packets import ALL_BYTES, NOW_US, A, B, count, ids_of, packet, put, take


class LyingPacketPromises(StoreHarness):
    @promise
    async def test_what_lies_there_is_shown_in_the_order_of_taking_and_page_by_page(self, store: Store) -> None:
        sent = [
            packet("later", ALL_BYTES, headers={"a": "ü"}),
            packet("first", b"", content_type="text/plain", priority=9),
            packet("last"),
        ]
        await store.put_packets([*((A, one) for one in sent), (B, packet("other"))], NOW_US)
        await take(store, 1)
        shown = await store.look_packets(A, None, 2)
        assert [one for _, one in shown] == [sent[1], sent[0]]
        (rest,) = await store.look_packets(A, shown[-1][0], 2)
        assert (rest[1], await store.look_packets(A, rest[0], 2)) == (sent[2], [])
        assert (await store.look_packets("nobody", None, 2), ids_of(await take(store))) == ([], ["later", "last"])

    @promise
    async def test_what_is_too_old_or_too_much_is_pruned_oldest_first(self, store: Store) -> None:
        for number in range(10):
            await store.put_packets([(A, packet(f"p{number}", priority=number % 3))], NOW_US + number)
        await put(store, "p0", address=B)

        async def prune(before_us: int, keep: int, limit: int) -> tuple[int, list[str]]:
            gone = await store.prune_packets(A, before_us, keep, limit=limit)
            return gone, sorted(one.id for _, one in await store.look_packets(A, None, 100))

        assert (await prune(NOW_US, 10, 100))[0] == 0
        assert await prune(NOW_US + 3, 10, 2) == (2, [f"p{number}" for number in range(2, 10)])
        assert await prune(NOW_US + 3, 10, 2) == (1, [f"p{number}" for number in range(3, 10)])
        assert await prune(NOW_US, 4, 100) == (3, ["p6", "p7", "p8", "p9"])
        # More than it looks at in one round: each removes something.
        while (await prune(NOW_US, 1, 1))[0]:
            pass
        assert len((await prune(NOW_US, 1, 1))[1]) == 1
        assert (await prune(NOW_US, 0, 100), await count(store, B)) == ((1, []), 1)
