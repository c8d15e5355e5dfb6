"""Signals and updates with ids, and outcomes, take effect once: over repeats, restarts and new incarnations (G4, G5)."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

import perdure
from perdure import Engine, action, signal, workflow
from perdure.engine.runs.live import Phase
from perdure.model.errors import CallClosed, InvalidValue, RunEnded, SignalConflict
from perdure.model.ids import RunId
from perdure.ports.store import Loaded
from perdure.stores.memory import MemoryStore
from perdure.testing.env import Environment
from perdure.testing.faults import FaultyStore
from tests.engine.stores import AnyStore

word = signal("once_word", str)
keys: list[str] = []


@workflow(name="once_pairs")
async def pairs(before: str = "") -> str:
    """Two words an incarnation, four words in all."""
    words = before + await word.receive() + await word.receive()
    if len(words) < 4:
        perdure.continue_as_new(words)
    return words


@workflow(name="once_account")
class Account:
    def __init__(self) -> None:
        self.total = 0

    async def run(self, total: int = 0) -> int:
        self.total += total
        if await word.receive() == "again":
            perdure.continue_as_new(self.total)
        return self.total

    @perdure.update
    def pay(self, amount: int) -> int:
        self.total += amount
        return self.total


@action(name="once_outside")
async def outside() -> int:
    keys.append(perdure.attempt().key)
    return perdure.pending()


@workflow(name="once_asks")
async def asks() -> int:
    return await outside()


@workflow(name="once_ended")
async def ended_at_once() -> str:
    return "done"


@pytest.mark.covers("I25")
async def test_a_signal_sent_again_takes_effect_once_and_with_other_content_is_a_conflict(store: AnyStore) -> None:
    async with Environment(store) as env:
        await env.engine.start(pairs.options(id="r"))
        for moment in ("at once", "after a crash", "after continue_as_new", "after both"):
            if moment in ("after a crash", "after both"):
                await env.crash()
            run = env.get("r")
            if moment == "after continue_as_new":
                await run.send(word, "b", id="2")
            await run.send(word, "a", id="1")
            with pytest.raises(SignalConflict, match="other content"):
                await run.send(word, "other", id="1")
        await env.get("r").send(word, "c", id="3")
        await env.get("r").send(word, "b", id="2")
        await env.get("r").send(word, "d", id="4")
        assert await env.get("r").result() == "abcd"


@pytest.mark.covers("I29")
async def test_an_update_sent_again_takes_effect_once_and_gets_the_same_answer(store: AnyStore) -> None:
    async with Environment(store) as env:
        await env.engine.start(Account.options(id="r"))
        for moment in ("at once", "after a crash", "after continue_as_new", "after both"):
            if moment in ("after a crash", "after both"):
                await env.crash()
            run = env.get("r")
            if moment == "after continue_as_new":
                await run.send(word, "again")
                async for entry in run.watch():
                    if entry.name == "RunStarted" and entry.number > 1:
                        break
            assert await asyncio.wait_for(run.update(Account.pay, 5, update_id="u"), 5) == 5, moment
        await env.get("r").send(word, "end")
        assert await env.get("r").result() == 5


@pytest.mark.covers("I29")
async def test_a_hundred_updates_at_once_each_take_effect_once(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(Account.options(id="r"))
        updates = (run.update(Account.pay, 1, update_id=str(number % 50)) for number in range(100))
        answers = await asyncio.gather(*updates)
        assert sorted(answers) == sorted([*range(1, 51)] * 2)
        await run.send(word, "end")
        assert await run.result() == 50


@pytest.mark.covers("I32")
async def test_of_two_outcomes_the_first_counts_and_one_of_the_wrong_type_leaves_the_call_open(store: AnyStore) -> None:
    async with Environment(store) as env:
        for is_after_crash in (False, True):
            keys.clear()
            run = (await env.engine.start(asks)).id
            async for entry in env.get(run).watch():
                if entry.name == "ActionPending":
                    break
            if is_after_crash:
                await env.crash()
            with pytest.raises(InvalidValue, match="stays open"):
                await env.engine.complete(keys[0], "no number")
            first, second = await asyncio.gather(env.engine.complete(keys[0], 1), env.engine.complete(keys[0], 2), return_exceptions=True)
            assert first is None
            assert isinstance(second, CallClosed | perdure.errors.NotFound), second
            assert await env.get(run).result() == 1
            with pytest.raises(perdure.PerdureError):
                await env.engine.complete(keys[0], 3)


@workflow(name="once_seats")
class Seats:
    def __init__(self) -> None:
        self.taken: list[int] = []

    async def run(self) -> list[int]:
        await word.receive()
        return self.taken

    @perdure.update
    def take(self, seat: int) -> int:
        self.taken.append(seat)
        return len(self.taken)

    @take.validator
    def check(self, seat: int) -> None:
        if len(self.taken) >= 3:
            raise ValueError("full")


@pytest.mark.covers("I29")
async def test_an_update_is_judged_by_the_state_that_it_meets_however_many_come_at_once(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(Seats)
        answers = await asyncio.gather(*(run.update(Seats.take, seat) for seat in range(10)), return_exceptions=True)
        assert answers[:3] == [1, 2, 3]
        assert [str(answer) for answer in answers[3:]] == ["full"] * 7
        await run.send(word, "end")
        assert await run.result() == [0, 1, 2]


@workflow(name="once_last")
class Last:
    """Ends with the update that says so, and knows of an incarnation before."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()

    async def run(self, number: int = 1) -> int:
        if number == 1:
            await word.receive()
            perdure.continue_as_new(2)
        await self.is_over.wait()
        return number

    @perdure.update
    def say(self, text: str) -> str:
        if text == "end":
            self.is_over.set()
        if text == "bad":
            raise ValueError("bad word")
        return f"{text}!"


@pytest.mark.covers("I25", "I29")
@pytest.mark.parametrize("is_remote", [False, True])
async def test_what_an_ended_run_knows_by_its_id_is_answered_again_and_the_rest_is_told_by_name(tmp_path: Path, *, is_remote: bool) -> None:
    large = "x" * 100_000
    async with Engine(f"sqlite:///{tmp_path}/app.db") as node, Engine(f"sqlite:///{tmp_path}/app.db", is_client=True) as client:
        run = await node.start(Last.options(id="r"))
        assert await run.update(Last.say, large, update_id="old") == f"{large}!"
        await run.send(word, "go on", id="s")
        async for entry in run.watch():
            if entry.name == "RunStarted" and entry.number > 1:
                break
        with pytest.raises(ValueError, match="bad word"):
            await run.update(Last.say, "bad", update_id="bad")
        assert await run.update(Last.say, "end", update_id="last") == "end!"
        assert await run.result() == 2
        again = (client if is_remote else node).get("r")
        assert [await again.update("say", text, update_id=id) for id, text in (("old", large), ("last", "end"))] == [f"{large}!", "end!"]
        with pytest.raises(ValueError, match="bad word"):
            await again.update("say", "bad", update_id="bad")
        await again.send(word, "go on", id="s")
        with pytest.raises(SignalConflict):
            await again.send(word, "other", id="s")
        with pytest.raises(RunEnded, match=r"the signal 'once_word' has no effect"):
            await again.send(word, "new", id="t")
        with pytest.raises(RunEnded, match=r"the update 'say' has no effect"):
            await again.update("say", "new", update_id="new")
        assert not await again.cancel()


@pytest.mark.covers("I29")
async def test_updates_sent_again_while_the_last_commit_is_under_way_get_its_answer(store: AnyStore) -> None:
    slow = FaultyStore(store, slow_turns=20)
    async with Environment(slow) as env:
        run = await env.start(Last.options(id="r"), 2)
        first = asyncio.ensure_future(run.update(Last.say, "end", update_id="u"))
        live = env.engine.node.roster.get("r")
        while live.phase is not Phase.ENDED:  # noqa: ASYNC110 - it ends in memory before it is written, and no event tells of that
            await asyncio.sleep(0)
        assert live.is_committing
        second = asyncio.ensure_future(run.update(Last.say, "end", update_id="u"))
        assert await asyncio.gather(first, second) == ["end!", "end!"]


async def test_the_result_of_a_run_that_has_ended_is_given_while_a_late_message_loads_it_once_more() -> None:
    class Slow(MemoryStore):
        """Loads take until ``answers`` is set."""

        def __init__(self) -> None:
            super().__init__()
            self.answers = asyncio.Event()

        async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
            await self.answers.wait()
            return await super().load(runs, within)

    store = Slow()
    async with Environment(store) as env:
        run = await env.engine.start(ended_at_once)
        await run.result()
        late = asyncio.ensure_future(run.send(word, "late"))
        await asyncio.sleep(0)
        again = asyncio.ensure_future(run.result())
        await env.settle()
        store.answers.set()
        await env.settle()
        assert again.done()
        assert await again == "done"
        with pytest.raises(RunEnded):
            await late
