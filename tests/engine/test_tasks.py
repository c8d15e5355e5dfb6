"""Standalone tasks: a run that is one call of an action (I16)."""

import asyncio
from datetime import timedelta

import pytest

from perdure import Registry, Retry, RunCancelled, action, attempt, workflow
from perdure.model.errors import InvalidArguments, InvalidOption, InvalidValue, NotRetryable, RunConflict
from perdure.model.plain_retry import plain_of
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore


class Log:
    def __init__(self) -> None:
        self.seen: list[str] = []


log = Log()


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    log.__init__()  # type: ignore[misc]


@action(name="tasks_halve")
async def halve(number: int, *, by: int = 2) -> int:
    log.seen.append(f"{number}/{by}, {attempt().sequence}.{attempt().number}")
    if number % by:
        raise ValueError(f"{number} is odd")
    return number // by


@action(name="tasks_blob")
async def blob(data: bytes) -> bytes:
    return data * 2


@action(name="tasks_slow")
async def slow() -> int:
    await asyncio.sleep(3600)
    return 1


@pytest.mark.covers("I16")
async def test_a_task_is_one_call_of_an_action_given_itself_or_by_name(store: AnyStore) -> None:
    async with Environment(store) as env:
        assert await (await env.engine.dispatch(halve, 8)).result() == 4
        assert await (await env.engine.dispatch("tasks_halve", 9, by=3)).result() == 3
        assert await (await env.engine.dispatch(blob, b"\xff" * 100_000)).result() == b"\xff" * 200_000
        assert [row.definition for row in await env.engine.list()] == ["perdure.task"] * 3


@pytest.mark.covers("I16")
async def test_a_task_with_an_id_is_dispatched_once_and_other_input_is_refused(store: AnyStore) -> None:
    async with Environment(store) as env:
        found = await asyncio.gather(*(env.engine.dispatch(halve, 8, task_id="t", task_tags=["x"]) for _ in range(5)))
        assert [await run.result() for run in found] == [4] * 5
        assert len(log.seen) == 1
        assert [row.tags for row in await env.engine.list(tag="x")] == [("x",)]
        with pytest.raises(RunConflict):
            await env.engine.dispatch(halve, 10, task_id="t")


@pytest.mark.covers("I16")
async def test_options_of_the_action_hold_for_its_task_over_a_crash(store: AnyStore) -> None:
    patient = halve.options(retry=Retry(attempts=3, first="1h", never=[KeyError], overrides={TypeError: Retry(attempts=1)}))
    async with Environment(store) as env:
        run = await env.engine.dispatch(patient, 7, task_id="t")
        while len(log.seen) < 2:
            await env.advance_to_next()
        await env.crash()
        run = env.get(run.id)
        while not (await run.status()).is_final:
            await env.advance_to_next()
        assert [entry.split(", ")[1] for entry in log.seen][-1] == "1.3"


@pytest.mark.covers("I16")
async def test_a_failed_task_can_be_retried_with_new_input_and_a_replay_has_it_too(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.dispatch(halve, 7, task_id="t")
        with pytest.raises(ValueError, match="7 is odd"):
            await run.result()
        with pytest.raises(InvalidArguments, match="halve"):
            await run.retry(args=["seven"])
        await run.retry(args=[9])
        with pytest.raises(ValueError, match="9 is odd"):
            await run.result()
        await env.crash()
        run = env.get("t")
        await run.retry()
        with pytest.raises(ValueError, match="9 is odd"):
            await run.result()
        await run.retry(args=[9], kwargs={"by": 3})
        assert await run.result() == 3
        assert log.seen == ["7/2, 1.1", "9/2, 2.1", "9/2, 3.1", "9/3, 4.1"]


@pytest.mark.covers("I16")
async def test_a_task_is_cancelled_or_ended_with_a_value_of_its_type(store: AnyStore) -> None:
    async with Environment(store) as env:
        first, second = await env.engine.dispatch(slow, task_id="a"), await env.engine.dispatch("tasks_slow", task_id="b")
        await first.cancel()
        with pytest.raises(RunCancelled):
            await first.result()
        with pytest.raises(InvalidValue, match="Expected `int`"):
            await env.engine.complete("b#1#1", "many")
        await env.engine.complete("b#1#1", 5)
        assert await second.result() == 5
        with pytest.raises(NotRetryable, match="it is completed"):
            await second.retry()


async def test_a_task_of_an_action_that_is_not_known_here_waits_for_it_and_says_so(store: AnyStore) -> None:
    registry = Registry()
    async with Environment(store, registry=registry) as env:
        run = await env.engine.dispatch("tasks_later", 2)
        while not (row := (await env.engine.list())[0]).reason:  # noqa: ASYNC110 — a store's thread works.
            await asyncio.sleep(0)
        assert row.reason == "the action 'tasks_later' is not registered on this node"

        @action(name="tasks_later", registry=registry)
        async def later(number: int) -> int:
            return number + 1

        assert await run.result() == 3


async def test_arguments_that_do_not_fit_are_refused_before_anything_is_written(store: AnyStore) -> None:
    async with Environment(store) as env:
        with pytest.raises(InvalidArguments):
            await env.engine.dispatch(halve, "eight")  # type: ignore[arg-type]
        with pytest.raises(InvalidArguments):
            await env.engine.dispatch("tasks_halve")
        assert await env.engine.list() == []


def test_a_user_cannot_take_a_reserved_name() -> None:
    with pytest.raises(InvalidOption, match=r"does not begin with 'perdure\.'"):

        @workflow(name="perdure.task", registry=Registry())
        async def mine() -> None:
            """Never run."""


async def test_new_input_is_refused_where_more_than_one_call_is_made_again_or_the_run_is_open(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(two)
        with pytest.raises(ValueError, match="odd"):
            await run.result()
        with pytest.raises(InvalidOption, match="a run with a single call"):
            await run.retry(args=[4])
        task = await env.engine.dispatch(slow)
        with pytest.raises(InvalidOption, match="a run that has failed"):
            await task.retry(args=[4])


@workflow(name="tasks_two")
async def two() -> list[int]:
    return list(await asyncio.gather(halve(3), slow()))


def test_a_policy_survives_as_plain_values() -> None:
    policy = Retry(attempts=3, total="1h", first="2s", cap=None, jitter=0.1, delays=["1s", 2], never=[KeyError])
    back = plain_of(Retry(overrides={ValueError: policy})).policy().policy_for(["builtins:ValueError"])
    assert back is not None
    assert plain_of(back) == plain_of(policy)
    assert (back.total, back.never) == (timedelta(hours=1), ("builtins:KeyError",))
