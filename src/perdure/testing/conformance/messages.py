"""Promises about inboxes and replies, and about what is stored coming back byte for byte."""

import random

from perdure.model.ids import RunId
from perdure.ports.store import Batch, Reply, Store
from perdure.testing.conformance.harness import StoreHarness, every, journal, message, promise, put, start, step

A = RunId("a")
_ALL_BYTES = bytes(range(256))


class MessagePromises(StoreHarness):
    @promise
    async def test_an_inbox_keeps_the_order_of_arrival(self, store: Store) -> None:
        await put(store, start("a"), start("b"))
        await store.commit(Batch(posts=[message("a", "z"), message("b", "y"), message("a", "x")]))
        await store.commit(Batch(posts=[message("a", "w")], consumed=[(A, "x")]))
        assert [item.id for loaded in await store.load([A]) for item in loaded.inbox] == ["z", "w"]
        assert [item.id for item in await store.addressed(every(store), 10)] == ["z", "y", "w"]
        assert [item.id for item in await store.addressed(every(store), 2)] == ["z", "y"]

    @promise
    async def test_posting_a_message_again_changes_nothing(self, store: Store) -> None:
        await put(store, start("a"), start("b"))
        await store.commit(Batch(posts=[message("a", "m", b"1"), message("a", "n"), message("a", "m", b"2"), message("b", "m")]))
        await store.commit(Batch(posts=[message("a", "m", b"3")]))
        assert [(item.run, item.id, item.body) for item in await store.addressed(every(store), 10)] == [
            ("a", "m", b"1"),
            ("a", "n", b"{}"),
            ("b", "m", b"{}"),
        ]

    @promise
    async def test_a_consumed_message_is_gone_and_an_unknown_one_no_matter(self, store: Store) -> None:
        await put(store, start("a"), start("b"))
        await store.commit(Batch(posts=[message("a", "m"), message("b", "m")]))
        await store.commit(Batch(consumed=[(A, "m"), (A, "unknown")]))
        assert [item.run for item in await store.addressed(every(store), 10)] == ["b"]

    @promise
    async def test_a_message_posted_and_consumed_in_one_batch_is_gone(self, store: Store) -> None:
        await put(store, start("a"))
        await store.commit(Batch(posts=[message("a", "m")], consumed=[(A, "m")]))
        assert await store.addressed(every(store), 10) == []

    @promise
    async def test_a_message_for_a_run_that_does_not_exist_does_no_harm_to_others(self, store: Store) -> None:
        await put(store, start("b"))
        await store.commit(Batch(posts=[message("a", "early"), message("b", "m")]))
        assert [item.id for loaded in await store.load([RunId("b")]) for item in loaded.inbox] == ["m"]

    @promise
    async def test_a_message_comes_with_the_run_that_it_starts(self, store: Store) -> None:
        await store.commit(Batch(starts=[start("a")], posts=[message("a", "m")]))
        assert [item.id for item in await store.addressed(every(store), 9)] == ["m"]

    @promise
    async def test_the_first_reply_to_a_message_stands(self, store: Store) -> None:
        assert await store.reply("q") is None
        await store.commit(Batch(replies=[Reply("q", 1, b"1")]))
        await store.commit(Batch(replies=[Reply("q", 2, b"2")]))
        assert await store.reply("q") == Reply("q", 1, b"1")

    @promise
    async def test_replies_older_than_an_instant_are_pruned_and_counted(self, store: Store) -> None:
        await store.commit(Batch(replies=[Reply(str(at), at, b"") for at in (1, 2, 3)]))
        assert await store.prune_replies(3) == 2
        assert [at for at in (1, 2, 3) if await store.reply(str(at))] == [3]
        assert await store.prune_replies(3) == 0

    @promise
    async def test_bytes_come_back_as_they_went_in(self, store: Store) -> None:
        noise = random.Random(1).randbytes(5_000)
        samples = [b"", b"\x00", b"\x00\x00a", _ALL_BYTES, noise, "ünï→😀".encode(), b"\xff\xfe\xed\xa0\x80"]
        rows = [step("a", number, facts, data) for number, (facts, data) in enumerate(zip(samples, [None, *samples], strict=False), 1)]
        posts = [message("a", str(number), sample, sample) for number, sample in enumerate(samples)] + [message("a", "none")]
        await store.commit(Batch(starts=[start("a", state=_ALL_BYTES)], rows=rows, posts=posts))
        await store.commit(Batch(blobs={str(at): sample for at, sample in enumerate(samples)}, replies=[Reply("q", 1, b"", b"")]))
        (loaded,) = await store.load([A])
        assert (loaded.row.state, loaded.transitions, loaded.inbox) == (_ALL_BYTES, rows, posts)
        assert await store.transitions(A, 0, 100) == rows
        assert await store.addressed(every(store), 100) == posts
        assert await store.blobs([str(at) for at in range(len(samples))]) == {str(at): sample for at, sample in enumerate(samples)}
        assert await store.reply("q") == Reply("q", 1, b"", b"")

    @promise
    async def test_names_may_be_any_text(self, store: Store) -> None:
        names = ["ünï→😀", 'say "hi"', "back\\slash", "it's", "%s {source} ?1", "a\nb\tc\x1f", "null", "1", "[1]", " ", "a" * 1_000]
        for at, name in enumerate(names):
            reason = name + "\x00after"
            row = start(name, definition=name, tags=(name, "all"), created_us=at, reason=reason, parent=RunId(name), state=name.encode())
            await store.commit(Batch(starts=[row], rows=[step(name, 1)], posts=[message(name, name)]))
            (loaded,) = await store.load([RunId(name)])
            assert (loaded.row, loaded.inbox) == (row, [message(name, name)])
            await store.commit(Batch(consumed=[(RunId(name), name)]))
        assert await store.addressed(every(store), 10) == []

    @promise
    async def test_a_large_payload_and_a_large_batch_are_written(self, store: Store) -> None:
        large = random.Random(2).randbytes(5_000_000)
        runs = [RunId(f"r{number}") for number in range(3_000)]
        batch = Batch(starts=[start(run) for run in runs], rows=[step(run, 1, b"[]", b"d") for run in runs], blobs={"h": large})
        await store.commit(batch)
        await store.commit(Batch(rows=[step("a", 1, large, large)]))
        assert (await store.blobs(["h"]), await journal(store, "a")) == ({"h": large}, [(1, large)])
        assert len(await store.load(runs)) == 3_000
