"""Promises of `Reader`, of `Agenda`, and of opening and closing."""

import asyncio
from dataclasses import dataclass

import pytest

from perdure.model.ids import RunId
from perdure.model.run import Status
from perdure.ports.store import Batch, RunQuery, Store
from perdure.testing.conformance.harness import StoreHarness, change, every, journal, message, promise, put, start, step, take

A = RunId("a")


@dataclass(frozen=True)
class _Ask:
    query: RunQuery
    ids: list[str]


_RUNS = [
    start("a", created_us=1, status=Status.WAITING, tags=("x", "y")),
    start("b", created_us=2, definition="sync", tags=("x",)),
    start("c", created_us=2, parent=RunId("a")),
    start("d", created_us=3, status=Status.WAITING, definition="sync", tags=("y",)),
]
_ASKS = [
    _Ask(RunQuery(), ["d", "c", "b", "a"]),
    _Ask(RunQuery(limit=2), ["d", "c"]),
    _Ask(RunQuery(status=Status.WAITING), ["d", "a"]),
    _Ask(RunQuery(definition="sync"), ["d", "b"]),
    _Ask(RunQuery(tag="x"), ["b", "a"]),
    _Ask(RunQuery(parent=RunId("a")), ["c"]),
    _Ask(RunQuery(status=Status.WAITING, tag="y", definition="sync"), ["d"]),
    _Ask(RunQuery(before=(2, RunId("c"))), ["b", "a"]),
    _Ask(RunQuery(before=(2, RunId("c")), tag="y"), ["a"]),
    _Ask(RunQuery(tag="unknown"), []),
    _Ask(RunQuery(limit=0), []),
]


class ReadPromises(StoreHarness):
    @promise
    async def test_a_run_that_is_not_there_is_told_apart(self, store: Store) -> None:
        assert (await store.row(A), await store.load([A]), await store.transitions(A, 0, 9), await store.load([])) == (None, [], [], [])

    @promise
    async def test_find_gives_what_was_asked_newest_first(self, store: Store) -> None:
        await put(store, *_RUNS)
        for ask in _ASKS:
            assert [row.id for row in await store.find(ask.query)] == ask.ids, ask

    @promise
    async def test_pages_of_find_show_each_run_once(self, store: Store) -> None:
        await put(store, *(start(f"r{number:03}", created_us=number // 7) for number in range(100)))
        seen: list[RunId] = []
        before = None
        while page := await store.find(RunQuery(limit=9, before=before)):
            seen += [row.id for row in page]
            before = (page[-1].created_us, page[-1].id)
        assert seen == [f"r{number:03}" for number in reversed(range(100))]

    @promise
    async def test_find_follows_changes(self, store: Store) -> None:
        await put(store, start("a"))
        await store.commit(Batch(changes=[change("a", Status.COMPLETED)]))
        found = [len(await store.find(RunQuery(status=status))) for status in (Status.RUNNING, Status.COMPLETED)]
        assert found == [0, 1]

    @promise
    async def test_transitions_come_in_order_and_in_pages(self, store: Store) -> None:
        await store.commit(Batch(rows=[step("a", number) for number in (3, 1, 2, 10)] + [step("b", 5)]))
        assert [row.number for row in await store.transitions(A, 0, 100)] == [1, 2, 3, 10]
        assert [row.number for row in await store.transitions(A, 1, 2)] == [2, 3]

    @promise
    async def test_load_gives_each_run_once_with_its_present_incarnation(self, store: Store) -> None:
        rows = [step("a", 3), step("a", 1), step("a", 2), step("b", 1)]
        await store.commit(Batch(starts=[start("a", base=2), start("b")], rows=rows))
        loaded = await store.load([RunId("b"), A, RunId("unknown"), A])
        numbers = {one.row.id: [row.number for row in one.transitions] for one in loaded}
        assert (len(loaded), numbers) == (2, {"a": [2, 3], "b": [1]})

    @promise
    async def test_mentions_are_the_rows_of_the_present_incarnation_and_the_messages_that_contain_the_text(self, store: Store) -> None:
        assert await store.mentions(A, b"x") is None
        texts = [b'[{"id":"x"}]', b'["y"]', b'["yx","x\xff"]', b""]
        rows = [step("a", 1, texts[0]), *(step("a", number, text, b"data") for number, text in enumerate(texts, 2))]
        posts = [message("a", str(number), text, b"x") for number, text in enumerate(reversed(texts))]
        others = Batch(starts=[start("b")], rows=[step("b", 1, b"x")], posts=[message("b", "m", b"x")])
        await store.commit(others)
        await store.commit(Batch(starts=[start("a", base=2, state=b"s")], rows=rows, posts=posts))
        for text, numbers, ids in ((b"x", [2, 4], ["1", "3"]), (b"x\xff", [4], ["1"]), (b"%", [], []), (b'"y', [3, 4], ["1", "2"])):
            found = await store.mentions(A, text)
            assert found is not None
            assert found.row == await store.row(A)
            assert found.transitions == [row for row in rows if row.number in numbers]
            assert found.inbox == [item for item in posts if item.id in ids]

    @promise
    async def test_many_runs_and_a_long_journal_are_loaded(self, store: Store) -> None:
        runs = [RunId(f"r{number}") for number in range(2_345)]
        await store.commit(
            Batch(starts=[start(run, state=run.encode()) for run in runs], rows=[step(run, 1, run.encode()) for run in runs])
        )
        await store.commit(Batch(starts=[start("long")], rows=[step("long", number) for number in range(1, 10_001)]))
        loaded = await store.load([*runs, RunId("long")])
        assert {one.row.id: one.row.state for one in loaded if one.row.id != "long"} == {run: run.encode() for run in runs}
        assert all(one.transitions[0].facts == one.row.id.encode() for one in loaded if one.row.id != "long")
        assert [len(one.transitions) for one in loaded if one.row.id == "long"] == [10_000]

    @promise
    async def test_what_was_given_or_taken_can_be_changed_without_changing_the_store(self, store: Store) -> None:
        row = start("a")
        await put(store, row)
        row.status = Status.FAILED
        for given in [await store.row(A), *(await store.find(RunQuery())), *(one.row for one in await store.load([A]))]:
            assert given is not None
            given.status = Status.CANCELLED
        (taken,) = (await store.commit(Batch(starts=[start("a")], checked={A}))).values()
        taken.status = Status.STALLED
        assert await store.row(A) == start("a")

    @promise
    async def test_a_read_sees_whole_commits_only(self, store: Store) -> None:
        await put(store, start("a"))

        async def write() -> None:
            for number in range(1, 60):
                await store.commit(Batch(rows=[step("a", number)], posts=[message("a", str(number))]))

        writing = asyncio.create_task(write())
        while not writing.done():
            (loaded,) = await store.load([A])
            assert len(loaded.transitions) == len(loaded.inbox)
            await asyncio.sleep(0)
        await writing

    @promise
    async def test_runs_can_be_listed_oldest_first_page_by_page(self, store: Store) -> None:
        await put(store, *(start(f"r{at}", created_us=at // 2) for at in range(7)))
        found: list[RunId] = []
        last = None
        while page := await store.find(RunQuery(is_oldest_first=True, after=last, limit=2)):
            found += [row.id for row in page]
            last = (page[-1].created_us, page[-1].id)
        assert found == [f"r{at}" for at in range(7)]


class SettingPromises(StoreHarness):
    @promise
    async def test_a_setting_is_there_for_all_until_it_is_another(self, store: Store) -> None:
        assert await store.setting("s") is None
        for text in ("first", "", 'ünï {"a": 1}'):
            await store.set_setting("s", text)
            async with self.another(store) as other:
                assert (await other.setting("s"), await other.setting("t")) == (text, None)
        assert await store.schema_version() >= 0


class AgendaPromises(StoreHarness):
    @promise
    async def test_held_runs_are_those_whose_row_says_so(self, store: Store) -> None:
        await put(store, start("a"), start("b", wake_us=5), start("c", wake_us=None), start("d"))
        await store.commit(Batch(changes=[change("a", wake_us=9), change("c", wake_us=0)]))
        assert sorted(await store.held(every(store))) == ["c", "d"]

    @promise
    async def test_due_runs_come_earliest_first(self, store: Store) -> None:
        await put(store, start("held"), start("a", wake_us=30), start("c", wake_us=10), start("b", wake_us=20), start("n", wake_us=None))
        assert [await store.due(every(store), now_us, 9) for now_us in (9, 10, 29, 99)] == [[], ["c"], ["c", "b"], ["c", "b", "a"]]
        assert await store.due(every(store), 99, 2) == ["c", "b"]

    @promise
    async def test_the_next_wake_is_the_earliest_of_those_that_are_not_held(self, store: Store) -> None:
        assert await store.next_wake_us(every(store)) is None
        await put(store, start("held"), start("n", wake_us=None))
        assert await store.next_wake_us(every(store)) is None
        await put(store, start("b", wake_us=20), start("a", wake_us=10))
        assert await store.next_wake_us(every(store)) == 10
        await store.commit(Batch(changes=[change("a")]))
        assert await store.next_wake_us(every(store)) == 20

    @promise
    async def test_the_commit_of_another_writer_is_news(self, store: Store) -> None:
        await put(store, start("a"))
        async with self.another(store) as other:
            for number in range(3):
                await store.has_news(every(store))
                await other.commit(Batch(posts=[message("a", str(number))]))
                assert await store.has_news(every(store))


class OpeningPromises(StoreHarness):
    @promise
    async def test_opening_and_closing_twice_is_safe(self, store: Store) -> None:
        await store.open()
        await put(store, start("a"))
        await store.open()
        assert await store.row(A) == start("a")
        await store.close()
        await store.close()

    @promise
    async def test_the_store_has_a_name_for_errors(self, store: Store) -> None:
        assert store.name

    @promise
    async def test_what_was_committed_is_there_when_the_store_is_opened_again(self, store: Store) -> None:
        if not self.is_durable:
            pytest.skip("this store promises to forget")
        epoch = await take(store)
        batch = Batch(epoch, [start("a", tags=("t",))], rows=[step("a", 1, b"[1]")], blobs={"h": b"x"}, posts=[message("a", "m")])
        await store.commit(batch)
        await store.close()
        async with self.another(store) as later:
            (loaded,) = await later.load([A])
            assert (loaded.row, loaded.transitions, loaded.inbox) == (batch.starts[0], batch.rows, batch.posts)
            assert (await later.blobs(["h"]), await journal(later, "a"), await later.held(every(later))) == (
                {"h": b"x"},
                [(1, b"[1]")],
                [A],
            )
            assert await take(later, "b") > epoch

    @promise
    async def test_commits_that_were_asked_for_are_done_when_close_returns(self, store: Store) -> None:
        if not self.is_durable:
            pytest.skip("this store promises to forget")
        writing = [asyncio.ensure_future(store.commit(Batch(rows=[step("a", number)]))) for number in range(1, 21)]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*writing)
        async with self.another(store) as later:
            assert len(await journal(later, "a")) == 20
