"""Runs that other runs start: trees, cancellation, failure, conflict, and crashes in between (I24, I28)."""

import asyncio
from collections.abc import Mapping

import pytest

import perdure
from perdure import Limits, Registry, Run, RunCancelled, Status, action, signal, workflow
from perdure.model.errors import RunConflict
from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.store import Batch
from perdure.testing.env import Environment
from perdure.testing.faults import FaultyStore
from tests.engine.stores import AnyStore

go = signal("children_go", int)


@action(name="children_add")
async def add(a: int, b: int) -> int:
    return a + b


@workflow(name="children_leaf")
async def leaf(number: int) -> int:
    return await add(number, await go.receive())


@workflow(name="children_middle")
async def middle(number: int) -> int:
    return sum(await asyncio.gather(leaf(number), leaf(number + 1)))


@workflow(name="children_top")
async def top() -> int:
    return sum(await asyncio.gather(middle(10), middle(20)))


@workflow(name="children_factorial")
async def factorial(n: int) -> int:
    return 1 if n < 2 else n * await factorial(n - 1)


async def tree(env: Environment) -> list[Run[int]]:
    """Start a tree of three levels; gives its four leaves, all waiting."""
    await env.engine.start(top.options(id="top"))
    leaves: list[Run[int]] = []
    while len(leaves) < 4:
        leaves = [env.engine.get(row.id, leaf) for row in await env.engine.list(definition="children_leaf")]
    return leaves


@pytest.mark.covers("I28")
async def test_factorial_of_twenty_by_children(store: AnyStore) -> None:
    async with Environment(store) as env:
        assert await env.engine.run(factorial, 20) == 2432902008176640000


@pytest.mark.covers("I28")
@pytest.mark.parametrize("idle_max", [0, 1000])
async def test_a_tree_of_three_levels_ends_right_over_a_crash_with_parents_put_down_while_they_wait(store: AnyStore, idle_max: int) -> None:
    async with Environment(store, limits=Limits(runs_idle_max=idle_max)) as env:
        leaves = [run.id for run in await tree(env)]
        for number, id in enumerate(leaves):
            await env.get(id).send(go, 100)
            await env.get(id).result()
            if number == 1:
                await env.crash()
        assert await env.get("top").result() == 10 + 11 + 20 + 21 + 400


@pytest.mark.covers("I24")
async def test_a_cancel_goes_down_the_tree_and_a_second_one_and_one_of_an_ended_run_change_nothing(store: AnyStore) -> None:
    async with Environment(store) as env:
        leaves = await tree(env)
        run = env.get("top")
        assert await run.cancel("enough")
        await run.cancel("again")
        with pytest.raises(RunCancelled):
            await run.result()
        for end in leaves:
            with pytest.raises(RunCancelled):
                await end.result()
        rows = await env.engine.list()
        assert len(rows) == 7
        assert not await run.cancel()
        for row in rows:
            with pytest.raises(RunCancelled):
                await env.get(row.id).result()
            names = [entry.name async for entry in env.get(row.id).journal()]
            assert names.count("CancelRequested") == names.count("RunCancelled") == 1


@pytest.mark.covers("I24")
async def test_a_parent_sees_that_its_child_was_cancelled(store: AnyStore) -> None:
    @workflow(name="children_sees")
    async def sees() -> str:
        try:
            await leaf(1)
        except RunCancelled:
            return "seen"
        return "unseen"

    async with Environment(store) as env:
        run = await env.engine.start(sees.options(id="p"))
        await env.engine.get("p:1").cancel()
        assert await run.result() == "seen"


@pytest.mark.covers("I24", "I28")
async def test_a_detached_child_outlives_its_parent_and_its_parent_s_cancel(store: AnyStore) -> None:
    @workflow(name="children_leaves")
    async def leaves() -> None:
        await leaf.options(id="free").start(1)
        await go.receive()

    async with Environment(store) as env:
        run = await env.engine.start(leaves)
        await run.cancel()
        with pytest.raises(RunCancelled):
            await run.result()
        await env.get("free").send(go, 2)
        assert await env.get("free").result() == 3


@pytest.mark.covers("I28")
async def test_the_failure_of_a_child_is_raised_in_its_parent(store: AnyStore) -> None:
    @workflow(name="children_fails")
    async def fails() -> None:
        raise ValueError("of the child")

    @workflow(name="children_catches")
    async def catches() -> str:
        try:
            await fails()
        except ValueError as error:
            return str(error)
        return ""

    async with Environment(store) as env:
        assert await env.engine.run(catches) == "of the child"


@pytest.mark.covers("I23", "I28")
@pytest.mark.parametrize("taken_by", ["a live run", "an ended run", "a run put down"])
async def test_a_child_whose_id_is_taken_is_a_conflict_in_its_parent(store: AnyStore, taken_by: str) -> None:
    @workflow(name="children_claims")
    async def claims() -> str:
        try:
            await leaf.options(id="taken")(5)
        except RunConflict as error:
            return str(error)
        return "no conflict"

    limits = Limits(runs_idle_max=0 if taken_by == "a run put down" else 1000)
    async with Environment(store, limits=limits) as env:
        other = await env.engine.start(leaf.options(id="taken"), 1)
        if taken_by == "an ended run":
            await other.send(go, 1)
            await other.result()
        assert "'taken' exists already" in await asyncio.wait_for(env.engine.run(claims), 5)


@pytest.mark.covers("I23", "I28")
@pytest.mark.parametrize("is_parked", [False, True])
async def test_a_crash_right_after_the_commit_that_refused_a_child_leaves_no_parent_waiting(*, is_parked: bool) -> None:
    registry = Registry()

    @workflow(name="claims", registry=registry)
    async def claims() -> str:
        try:
            await (other.options(id="taken", version=9) if is_parked else other.options(id="taken"))("second")
        except RunConflict as error:
            return f"{error.run}: {error}"
        return "no conflict"

    @workflow(name="other", registry=registry)
    async def other(word: str) -> str:
        return word

    async def crash_when_refused(batch: Batch, refused: Mapping[RunId, RunRow]) -> None:
        if refused:
            store.crash_after = frozenset({store.commits})

    store = FaultyStore(after_commit=crash_when_refused)
    async with Environment(store, registry=registry) as env:
        assert await env.run(other.options(id="taken"), "first") == "first"
        start = asyncio.ensure_future(env.engine.start(claims.options(id="parent")))
        await env.settle()
        assert store.is_down
        await env.crash()
        await asyncio.gather(start, return_exceptions=True)
        refusal = "A run 'taken' exists already, and is not the child of this call. Give the child another id."
        assert await env.finish(env.get("parent")) == f"taken: {refusal}"
        assert await env.get("taken").result() == "first"


@pytest.mark.covers("I23", "I28")
async def test_what_a_refused_child_decided_in_memory_never_happened(store: AnyStore) -> None:
    """It ended at once, sent a signal and started runs: all of that was written once, though the child itself was not."""

    @workflow(name="children_busy")
    async def busy() -> int:
        await leaf.options(id="detached").start(1)
        perdure.send("heard", go, 7)
        return await factorial(1)

    @workflow(name="children_claimer")
    async def claimer() -> str:
        try:
            return str(await busy.options(id="taken")())
        except RunConflict:
            return "conflict"

    async with Environment(store, limits=Limits(runs_idle_max=0)) as env:
        await env.start(leaf.options(id="taken"), 1)
        heard = await env.start(leaf.options(id="heard"), 1)
        assert await asyncio.wait_for(env.engine.run(claimer.options(id="parent")), 5) == "conflict"
        await env.settle()
        assert sorted(row.id for row in await env.engine.list()) == ["heard", "parent", "taken"]
        assert not (await heard.status()).is_final


@pytest.mark.covers("I28")
async def test_a_crash_between_the_end_of_a_child_and_its_parent_s_next_step_loses_nothing(store: AnyStore) -> None:
    @workflow(name="children_parent")
    async def parent() -> int:
        return await leaf(1) + 1

    async with Environment(store) as env:
        await env.engine.start(parent.options(id="p"))
        await env.get("p:1").send(go, 1)
        await env.get("p:1").result()
        # The child has ended; its message to the parent is durable and not taken yet.
        await env.crash()
        assert await env.get("p").result() == 3
        assert await env.get("p:1").status() is Status.COMPLETED


async def test_a_child_of_a_child_and_a_child_of_a_branch_have_names_of_their_own() -> None:
    """Both were once called ``r/2/1``: the one would have taken the other's place."""
    registry = Registry()

    @workflow(name="leaf", registry=registry)
    async def leaf(word: str) -> str:
        return word

    @workflow(name="middle", registry=registry)
    async def middle() -> str:
        return await leaf("child of a child")

    @workflow(name="top", registry=registry)
    async def top() -> list[str]:
        await leaf("first")
        grand = await middle()

        async def branch() -> str:
            return await leaf("child of a branch")

        return [grand, *await asyncio.gather(leaf("a branch"), branch())]

    async with Environment(registry=registry) as env:
        assert await env.engine.run(top.options(id="r")) == ["child of a child", "a branch", "child of a branch"]
        assert len({row.id for row in await env.engine.list()}) == 6
