"""Promises of `Writer`: atomic, idempotent starts, journals that never change."""

import asyncio

import pytest

from perdure.model.errors import LeaseLost
from perdure.model.ids import CallName, RunId
from perdure.model.run import HELD, RunChange, Status
from perdure.ports.store import Batch, Consequences, Heartbeat, Reply, RunQuery, Store, start_id
from perdure.testing.conformance.harness import StoreHarness, change, every, journal, message, promise, put, start, step, take

A, B = RunId("a"), RunId("b")


class CommitPromises(StoreHarness):
    @promise
    async def test_a_committed_batch_is_there_with_all_its_parts(self, store: Store) -> None:
        epoch = await take(store)
        batch = Batch(epoch, [start("a", tags=("vip",))], set(), [step("a", 1, b"[1]", b"\x00x")], [change("a", wake_us=77)])
        batch.blobs, batch.posts = {"h": b"big"}, [message("a", "m")]
        batch.replies, batch.heartbeats = [Reply("q", 5, b"1", b"\x00")], [Heartbeat(A, CallName("1"), 2, b"3", b"\xff")]
        assert await store.commit(batch) == {}
        (loaded,) = await store.load([A])
        assert loaded.row == start("a", tags=("vip",), status=Status.WAITING, updated_us=2_000, wake_us=77)
        assert (loaded.transitions, loaded.inbox, loaded.heartbeats) == (batch.rows, batch.posts, batch.heartbeats)
        assert await store.blobs(["h"]) == {"h": b"big"}
        assert await store.reply("q") == Reply("q", 5, b"1", b"\x00")

    @promise
    async def test_an_empty_batch_changes_nothing(self, store: Store) -> None:
        assert await store.commit(Batch()) == {}
        assert await store.find(RunQuery()) == []

    @promise
    async def test_when_one_part_is_refused_nothing_of_the_batch_is_written(self, store: Store) -> None:
        epoch = await take(store)
        await store.commit(Batch(epoch, [start("a")], rows=[step("a", 1)], posts=[message("a", "old")]))
        bad = Batch(epoch, [start("b", tags=("t",))], rows=[step("b", 1), step("a", 2), step("a", 1)], changes=[change("a")])
        bad.blobs, bad.posts, bad.replies = {"h": b""}, [message("a", "new")], [Reply("q", 1, b"")]
        bad.consumed, bad.truncated, bad.heartbeats = [(A, "old")], {A: 9}, [Heartbeat(A, CallName("1"), 1, b"")]
        with pytest.raises(LeaseLost):
            await store.commit(bad)
        (loaded,) = await store.load([A, B])
        assert loaded.row == start("a")
        assert ([row.number for row in loaded.transitions], [item.id for item in loaded.inbox]) == ([1], ["old"])
        assert (loaded.heartbeats, await store.blobs(["h"]), await store.reply("q")) == ([], {}, None)
        assert (await store.find(RunQuery(tag="t")), await journal(store, "b")) == ([], [])

    @promise
    async def test_the_store_works_on_after_a_refused_batch(self, store: Store) -> None:
        epoch = await take(store)
        await store.commit(Batch(epoch, [start("a")], rows=[step("a", 1)]))
        with pytest.raises(LeaseLost):
            await store.commit(Batch(epoch, rows=[step("a", 1)]))
        await store.commit(Batch(epoch, rows=[step("a", 2)]))
        assert [number for number, _ in await journal(store, "a")] == [1, 2]

    @promise
    async def test_a_second_row_with_the_same_run_and_number_is_refused(self, store: Store) -> None:
        epoch = await take(store)
        await store.commit(Batch(epoch, rows=[step("a", 1, b"[1]"), step("b", 1)]))
        for rows in ([step("a", 1, b"[2]")], [step("a", 2), step("a", 2)]):
            with pytest.raises(LeaseLost):
                await store.commit(Batch(epoch, rows=rows))
        assert await journal(store, "a") == [(1, b"[1]")]

    @promise
    async def test_a_taken_start_is_reported_and_dropped_and_the_rest_is_written(self, store: Store) -> None:
        await store.commit(Batch(starts=[start("a", tags=("old",))], rows=[step("a", 1, b"[1]")]))
        batch = Batch(starts=[start("a", created_us=9, tags=("new",)), start("b")], checked={A, B})
        batch.rows = [step("a", 1, b"[9]"), step("b", 1), step("a", 2)]
        batch.changes = [change("a", Status.FAILED), change("b")]
        # What others say to a run of that id is for the one that is there.
        batch.posts = [message("a", start_id(A)), message("a", "m"), message("b", "m")]
        batch.blobs, batch.replies = {"h": b"x"}, [Reply("q", 1, b"")]
        assert await store.commit(batch) == {A: start("a", tags=("old",))}
        old, new = sorted(await store.load([A, B]), key=lambda loaded: loaded.row.id)
        assert (old.row, [row.facts for row in old.transitions], old.inbox) == (start("a", tags=("old",)), [b"[1]"], [message("a", "m")])
        assert (new.row.status, len(new.transitions), len(new.inbox)) == (Status.WAITING, 1, 1)
        assert (await store.find(RunQuery(tag="new")), await store.blobs(["h"])) == ([], {"h": b"x"})
        assert await store.reply("q") is not None

    @promise
    async def test_the_refusal_of_a_start_is_posted_with_the_batch_if_its_id_is_taken_and_only_then(self, store: Store) -> None:
        await store.commit(Batch(starts=[start("a"), start("up"), start("x")]))
        refusals = {A: message("up", "no a"), B: message("up", "no b"), RunId("up"): message("x", "no up")}
        await store.commit(Batch(starts=[start("a"), start("b")], checked={A, B}, refusals=refusals))
        assert [(item.run, item.id) for item in await store.addressed(every(store), 10)] == [("up", "no a")]
        # Whoever was to hear of it was dropped as well: the run of that id is another one.
        led_to = {RunId("up"): Consequences([B])}
        await store.commit(Batch(starts=[start("up"), start("b")], checked={RunId("up"), B}, refusals=refusals, led_to=led_to))
        assert [(item.run, item.id) for item in await store.addressed(every(store), 10)] == [("up", "no a"), ("x", "no up")]

    @promise
    async def test_what_a_taken_start_led_to_is_dropped_with_it(self, store: Store) -> None:
        await store.commit(Batch(starts=[start("a"), start("x")]))
        batch = Batch(starts=[start("a"), start("b"), start("c"), start("d")], checked={A, B, RunId("c"), RunId("d")})
        batch.rows, batch.posts = (
            [step("b", 1), step("c", 1), step("d", 1)],
            [message("x", "of a"), message("x", "of c"), message("x", "of d")],
        )
        batch.led_to = {
            A: Consequences([B], [(RunId("x"), "of a")]),
            B: Consequences([RunId("c")]),
            RunId("c"): Consequences([], [(RunId("x"), "of c")]),
        }
        batch.refusals = {B: message("a", "no b")}
        assert await store.commit(batch) == dict.fromkeys(map(RunId, "abc"), start("a"))
        assert [loaded.row.id for loaded in await store.load(list(map(RunId, "bcd")))] == ["d"]
        assert [await journal(store, run) for run in "bcd"] == [[], [], [(1, b"[]")]]
        assert [(item.run, item.id) for item in await store.addressed(every(store), 10)] == [("x", "of d")]

    @promise
    async def test_of_many_starts_of_one_id_exactly_one_wins(self, store: Store) -> None:
        batches = [Batch(starts=[start("a", created_us=at)], checked={A}, rows=[step("a", 1, b"[%d]" % at)]) for at in range(50)]
        answers = await asyncio.gather(*(store.commit(batch) for batch in batches))
        (won,) = (at for at, taken in enumerate(answers) if not taken)
        assert {taken[A].created_us for taken in answers if taken} == {won}
        assert await journal(store, "a") == [(1, b"[%d]" % won)]

    @promise
    async def test_a_replaced_run_that_has_ended_is_gone_with_all_that_belongs_to_it(self, store: Store) -> None:
        ended = start("a", status=Status.COMPLETED, tags=("old",))
        await store.commit(Batch(starts=[ended, start("b")], rows=[step("a", 1), step("b", 1)], posts=[message("a", "m")]))
        again = Batch(starts=[start("a", base=2)], checked={A}, replaced={A}, rows=[step("a", 2)])
        assert await store.commit(again) == {}
        new, other = sorted(await store.load([A, B]), key=lambda loaded: loaded.row.id)
        assert (new.row, [row.number for row in new.transitions], new.inbox) == (start("a", base=2), [2], [])
        assert (len(other.transitions), await store.find(RunQuery(tag="old"))) == (1, [])

    @promise
    async def test_a_run_that_is_open_is_not_replaced(self, store: Store) -> None:
        await store.commit(Batch(starts=[start("a")], rows=[step("a", 1)]))
        assert list(await store.commit(Batch(starts=[start("a")], checked={A}, replaced={A}, rows=[step("a", 2)]))) == [A]
        assert [number for number, _ in await journal(store, "a")] == [1]

    @promise
    async def test_a_change_sets_what_it_names_and_keeps_the_rest(self, store: Store) -> None:
        await put(store, start("a", reason="why", state=b"{}", version=3))
        await store.commit(Batch(changes=[change("a", wake_us=5)]))
        assert await store.row(A) == start("a", reason="why", state=b"{}", version=3, status=Status.WAITING, updated_us=2_000, wake_us=5)
        full = RunChange(id=A, status=Status.RUNNING, updated_us=7, wake_us=HELD, base=4, reason=None, state=b"\x00", version=9)
        await store.commit(Batch(changes=[full]))
        assert await store.row(A) == start("a", updated_us=7, base=4, state=b"\x00", version=9)

    @promise
    async def test_changes_of_one_run_in_one_batch_apply_in_order(self, store: Store) -> None:
        await put(store, start("a"))
        await store.commit(Batch(changes=[change("a", Status.STALLED, wake_us=5, reason="bug"), change("a", Status.WAITING, wake_us=6)]))
        assert await store.row(A) == start("a", status=Status.WAITING, updated_us=2_000, wake_us=6, reason="bug")

    @promise
    async def test_truncated_rows_are_gone_and_the_others_stay(self, store: Store) -> None:
        await store.commit(Batch(rows=[step("a", 1), step("a", 2), step("b", 1)]))
        await store.commit(Batch(rows=[step("a", 3)], truncated={A: 3}))
        assert [[number for number, _ in await journal(store, run)] for run in ("a", "b")] == [[3], [1]]

    @promise
    async def test_a_final_change_deletes_the_heartbeats_of_its_run_only(self, store: Store) -> None:
        beats = [Heartbeat(run, CallName("1"), 1, b"1") for run in (A, B)]
        await store.commit(Batch(starts=[start("a"), start("b")], heartbeats=beats))
        await store.commit(Batch(changes=[change("a", Status.STALLED), change("b", Status.COMPLETED)]))
        assert {loaded.row.id: loaded.heartbeats for loaded in await store.load([A, B])} == {A: beats[:1], B: []}

    @promise
    async def test_the_latest_heartbeat_of_a_call_counts(self, store: Store) -> None:
        first, other, latest = (Heartbeat(A, CallName(call), attempt, b"", data) for call, attempt, data in _BEATS)
        await store.commit(Batch(starts=[start("a")], heartbeats=[first, other]))
        await store.commit(Batch(heartbeats=[latest]))
        (loaded,) = await store.load([A])
        assert sorted(loaded.heartbeats, key=lambda beat: beat.call) == [latest, other]

    @promise
    async def test_a_blob_is_stored_once(self, store: Store) -> None:
        await store.commit(Batch(blobs={"h": b"first"}))
        await store.commit(Batch(blobs={"h": b"first", "i": b""}))
        assert await store.blobs(["h", "i", "unknown"]) == {"h": b"first", "i": b""}

    @promise
    async def test_commits_from_many_tasks_are_all_written(self, store: Store) -> None:
        epoch = await take(store)
        await asyncio.gather(*(store.commit(Batch(epoch, rows=[step("a", number), step("b", number)])) for number in range(1, 101)))
        assert [number for number, _ in await journal(store, "a")] == list(range(1, 101)) == [n for n, _ in await journal(store, "b")]

    @promise
    async def test_a_batch_may_be_reused_by_its_owner_while_it_is_written(self, store: Store) -> None:
        batch = Batch(rows=[step("a", 1)])
        writing = asyncio.ensure_future(store.commit(batch))
        await asyncio.sleep(0)
        batch.rows.clear()
        await writing
        assert [number for number, _ in await journal(store, "a")] == [1]


_BEATS = (("1", 1, None), ("2", 1, b""), ("1", 2, b"\x00more"))
