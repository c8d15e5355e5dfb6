"""A failed run goes on where its call failed, once the cause is mended (I20)."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, Limits, Registry, Retry, Run, Status, action, attempt, publish, send, signal, workflow
from perdure.model import fact as facts
from perdure.model.errors import DefinitionNotFound, NotRetryable, ReplayMismatch
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore


class Shop:
    """The outside world: what is broken in it, and what was done."""

    def __init__(self) -> None:
        self.is_mended = False
        self.done: list[str] = []


shop = Shop()

Rows = dict[str, Status]


async def until(env: Environment, is_so: Callable[[Rows], bool]) -> Rows:
    """Wait for real work, of the thread of a store, without moving time; gives the status of each run."""
    while not is_so(found := {row.id: row.status for row in await env.engine.list()}):  # noqa: ASYNC110 — a store's thread works.
        await asyncio.sleep(0)
    return found


def all_ended(found: Rows) -> bool:
    return all(status.is_final for status in found.values())


async def ended(env: Environment, workflow: Any, *args: Any) -> Run[Any]:
    """Start a run that comes to an end by itself."""
    run: Run[Any] = await env.engine.start(workflow, *args)
    await until(env, lambda found: found[run.id].is_final)
    return run


async def finish(env: Environment, run: Run[Any]) -> Any:
    """Move time until the run has ended; gives its result."""
    while not (await run.status()).is_final:
        await env.advance_to_next()
    return await run.result()


async def shut(env: Environment, workflow: Any) -> Run[Any]:
    """Start a run and move time until the gate was found shut."""
    return await shut_down(env, await env.engine.start(workflow))


async def shut_down(env: Environment, run: Run[Any]) -> Run[Any]:
    """Move time until a call of the run has failed."""
    while "ActionFailed" not in [entry.name async for entry in run.journal()]:
        await env.advance_to_next()
    return run


@pytest.fixture(autouse=True)
def _fresh_shop() -> None:
    shop.__init__()  # type: ignore[misc]


@action(name="reopening_step")
async def step(name: str) -> str:
    shop.done.append(name)
    return name.upper()


@action(name="reopening_crop")
async def crop(name: str) -> str:
    shop.done.append(f"{name} in sequence {attempt().sequence}, attempt {attempt().number}, as {attempt().key}")
    if not shop.is_mended:
        raise ValueError(f"cannot crop {name}")
    return f"cropped {name}"


@workflow(name="reopening_line")
async def line() -> str:
    first = await step("first")
    return f"{first} {await crop('a')} {await step('last')}"


@pytest.mark.covers("I20")
async def test_a_failed_run_goes_on_where_its_call_failed_and_makes_nothing_else_again(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(line.options(id="r"))
        with pytest.raises(ValueError, match="cannot crop a"):
            await run.result()
        shop.is_mended = True
        assert await run.retry() == ["2"]
        assert await run.result() == "FIRST cropped a LAST"
        assert await run.status() is Status.COMPLETED
        key = "r#1#2"
        assert shop.done == ["first", f"a in sequence 1, attempt 1, as {key}", f"a in sequence 2, attempt 1, as {key}", "last"]


@pytest.mark.covers("I20")
async def test_a_retry_that_fails_again_can_be_retried_again(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(line)
        for _ in range(3):
            with pytest.raises(ValueError, match="cannot crop"):
                await run.result()
            assert await run.retry()
        with pytest.raises(ValueError, match="cannot crop"):
            await run.result()
        await env.crash()
        run, shop.is_mended = env.get(run.id), True
        await run.retry(action=crop)
        assert await run.result() == "FIRST cropped a LAST"
        assert [done.split(",")[0] for done in shop.done[1:-1]] == [f"a in sequence {number}" for number in range(1, 6)]


@action(name="reopening_gate")
async def gate() -> str:
    shop.done.append(f"gate in sequence {attempt().sequence}")
    await asyncio.sleep(60)
    if not shop.is_mended:
        raise ValueError("the gate is shut")
    return "open"


@workflow(name="reopening_gated")
async def gated() -> str:
    return await gate()


@pytest.mark.covers("I20")
async def test_a_second_retry_while_the_first_is_under_way_does_nothing(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await shut(env, gated)
        assert await run.status() is Status.FAILED
        shop.is_mended = True
        found = await asyncio.gather(run.retry(), run.retry(), run.retry(action="reopening_gate"))
        assert sorted(found) == [[], [], ["1"]]
        assert await run.retry() == []
        assert await run.status() is Status.RUNNING
        assert await finish(env, run) == "open"
        assert shop.done == ["gate in sequence 1", "gate in sequence 2"]


go = signal("reopening_go", int)


@action(name="reopening_slow")
async def slow() -> str:
    shop.done.append(f"slow in sequence {attempt().sequence}")
    await asyncio.sleep(3600)
    return "slow"


@workflow(name="reopening_fan")
async def fan() -> list[str]:
    return list(await asyncio.gather(crop("a"), crop("b"), slow(), step("c")))


@pytest.mark.covers("I20")
async def test_all_calls_that_failed_together_are_retried_and_those_under_way_are_made_again(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await ended(env, fan)
        assert await run.status() is Status.FAILED
        shop.is_mended = True
        retried = await run.retry()
        assert await finish(env, run) == ["cropped a", "cropped b", "slow", "C"]
        assert retried == ["1/1", "2/1"]
        assert [done for done in shop.done if "slow" in done] == ["slow in sequence 1", "slow in sequence 2"]
        assert shop.done.count("c") == 1


@action(name="reopening_trying", retry=Retry(attempts=3, first="10s", total="1m"))
async def trying() -> str:
    deadline = attempt().deadline
    assert deadline is not None
    shop.done.append(f"{attempt().sequence}.{attempt().number} until {deadline:%H:%M}")
    if not shop.is_mended:
        raise ValueError("not yet")
    return "done"


@workflow(name="reopening_patient")
async def patient() -> str:
    return await trying()


@pytest.mark.covers("I20")
async def test_a_retry_has_all_attempts_and_all_the_time_of_the_policy_again(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await env.engine.start(patient)
        await shut_down(env, run)
        first = env.now
        await env.advance("2h")
        await run.retry()
        await until(env, lambda _: len(shop.done) == 4)
        shop.is_mended = True
        assert await finish(env, run) == "done"
        assert [done.split(" ")[0] for done in shop.done] == ["1.1", "1.2", "1.3", "2.1", "2.2"]
        limits = [done.split(" ")[-1] for done in shop.done]
        assert limits[0] == limits[1] == limits[2]
        assert limits[3] == limits[4] == f"{first + timedelta(hours=2, minutes=1):%H:%M}"


@workflow(name="reopening_compensating")
async def compensating() -> str:
    try:
        return await crop("a")
    finally:
        await step("clean up")


@workflow(name="reopening_own_error")
async def own_error() -> None:
    await step("a")
    raise RuntimeError("a mistake")


@workflow(name="reopening_telling")
async def telling(to: str) -> str:

    try:
        return await crop("a")
    except ValueError:
        await send(to, go, 1)
        raise


@pytest.mark.covers("I20")
async def test_a_run_whose_code_went_on_after_the_failure_is_not_rewound(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await ended(env, compensating)
        with pytest.raises(NotRetryable, match=r"call 1 failed in row 2, .*ActionScheduled reopening_step.*on_ended='restart'"):
            await run.retry()
        assert await run.status() is Status.FAILED


@pytest.mark.covers("I20")
async def test_a_run_that_failed_by_its_own_exception_is_not_retried(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await ended(env, own_error)
        with pytest.raises(NotRetryable, match="no failed call ended it, but an exception of its own code: RuntimeError: a mistake"):
            await run.retry()


async def test_a_run_that_told_others_of_its_failure_is_not_retried(store: AnyStore) -> None:
    async with Environment(store) as env:
        other = await env.start(waiting)
        run = await ended(env, telling, other.id)
        with pytest.raises(NotRetryable, match="in row 2, after the failure, its code sent a signal to"):
            await run.retry()


@workflow(name="reopening_waiting")
async def waiting() -> int:
    return await go.receive()


async def test_a_run_that_completed_or_was_cancelled_or_has_no_such_failed_call_is_not_retried(store: AnyStore) -> None:
    async with Environment(store) as env:
        done, cancelled, failed = await env.start(waiting), await env.start(waiting), await ended(env, line)
        await done.send(go, 1)
        await cancelled.cancel()
        await until(env, all_ended)
        with pytest.raises(NotRetryable, match="it is completed"):
            await done.retry()
        with pytest.raises(NotRetryable, match="it is cancelled"):
            await cancelled.retry()
        with pytest.raises(NotRetryable, match=r"no call '9' has failed in it.*Failed calls: 2"):
            await failed.retry("9")
        with pytest.raises(NotRetryable, match=r"no action 'reopening_step' has failed"):
            await failed.retry(action=step)
        open_run = await env.start(waiting)
        with pytest.raises(NotRetryable, match=r"no call of an action has failed in it"):
            await open_run.retry()


@workflow(name="reopening_publishing")
async def publishing() -> str:
    publish(at="begin")
    try:
        done = await crop("a")
    except ValueError:
        publish(at="failure")
        raise
    return done


async def test_what_the_last_row_published_counts_no_more(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await ended(env, publishing)
        assert await run.state() == {"at": "failure"}
        shop.is_mended = True
        await run.retry()
        assert await run.result() == "cropped a"
        assert await run.state() == {"at": "begin"}


@workflow(name="reopening_child")
async def child(name: str) -> str:
    return await crop(name)


@workflow(name="reopening_sleeping_child")
async def sleeping_child() -> str:
    await asyncio.sleep(3600)
    return await step("slept")


@workflow(name="reopening_parent")
async def parent() -> list[str]:
    return list(await asyncio.gather(child("a"), sleeping_child(), middle()))


@workflow(name="reopening_middle")
async def middle() -> str:
    return await sleeping_child()


@pytest.mark.covers("I20")
@pytest.mark.parametrize("idle_max", [0, 1000])
async def test_a_failed_child_is_retried_with_its_parent_and_its_cancelled_siblings_go_on(store: AnyStore, idle_max: int) -> None:
    async with Environment(store, limits=Limits(runs_idle_max=idle_max)) as env:
        run = await ended(env, parent.options(id="p"))
        found = await until(env, all_ended)
        assert {id: str(status) for id, status in found.items()} == {
            "p": "failed",
            "p:1": "failed",
            "p:2": "cancelled",
            "p:3": "cancelled",
            "p:3:1": "cancelled",
        }
        shop.is_mended = True
        assert await run.retry() == ["1"]
        await env.crash()
        assert await finish(env, env.get("p")) == ["cropped a", "SLEPT", "SLEPT"]
        assert {row.status for row in await env.engine.list()} == {Status.COMPLETED}


@pytest.mark.covers("I20")
async def test_a_child_retried_by_itself_leaves_its_parent_as_it_is_until_that_is_retried(store: AnyStore) -> None:
    async with Environment(store) as env:
        await ended(env, lone_parent.options(id="p"))
        shop.is_mended = True
        await env.get("p:1").retry()
        assert await env.get("p:1").result() == "cropped a"
        assert await env.get("p").status() is Status.FAILED
        await env.get("p").retry()
        assert await finish(env, env.get("p")) == "cropped a"
        assert len(shop.done) == 2


@workflow(name="reopening_lone_parent")
async def lone_parent() -> str:
    return await child("a")


@pytest.mark.covers("I20")
async def test_all_failed_runs_of_an_action_are_retried_parents_first(store: AnyStore) -> None:
    async with Environment(store) as env:
        await ended(env, lone_parent.options(id="p"))
        await ended(env, line.options(id="l", tags=["t"]))
        await ended(env, own_error.options(id="o"))
        refused: list[str] = []
        shop.is_mended = True
        assert await env.engine.retry(action="reopening_step", on_refused=lambda run, _: refused.append(run)) == []
        assert sorted(refused) == ["l", "o", "p", "p:1"]
        assert await env.engine.retry(tag="t", action=crop) == ["l"]
        assert "p" in await env.engine.retry(action=crop)
        found = await until(env, all_ended)
        assert {id: str(status) for id, status in found.items()} == {
            "p": "completed",
            "p:1": "completed",
            "l": "completed",
            "o": "failed",
        }


async def told(env: Environment, fact: str) -> None:
    """Move time until the journal of the run ``c`` says so."""
    while fact not in [entry.name async for entry in env.get("c").journal()]:
        await env.advance_to_next()


@workflow(name="reopening_catching")
async def catching() -> str:
    try:
        return await crop("a")
    except ValueError:
        return f"gave up, {await go.receive()}"


@pytest.mark.covers("I20")
async def test_a_failure_that_the_code_has_taken_can_get_a_later_status_and_the_code_is_not_told(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await shut(env, catching.options(id="c"))
        assert await run.retry() == ["1"]
        await told(env, "RetryFailed")
        await env.crash()
        run = env.get("c")
        shop.is_mended = True
        assert await run.retry("1") == ["1"]
        await told(env, "RetrySucceeded")
        names = [entry.name async for entry in run.journal()]
        assert [name for name in names if "Retr" in name] == ["CallRetried", "RetryFailed", "CallRetried", "RetrySucceeded"]
        assert [done.split(",")[0] for done in shop.done] == ["a in sequence 1", "a in sequence 2", "a in sequence 3"]
        with pytest.raises(NotRetryable):
            await run.retry()
        await env.crash()
        await env.get("c").send(go, 7)
        assert await finish(env, env.get("c")) == "gave up, 7"


async def test_a_retried_call_under_way_over_a_crash_is_made_again(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await shut(env, gate_catching.options(id="c"))
        await run.retry()
        await until(env, lambda _: len(shop.done) == 2)
        await env.advance("30s")
        await env.crash()
        shop.is_mended = True
        await told(env, "RetrySucceeded")
        lost = [entry.fact async for entry in env.get("c").journal() if isinstance(entry.fact, facts.AttemptLost | facts.RetrySucceeded)]
        assert [type(fact).__name__ for fact in lost] == ["AttemptLost", "RetrySucceeded"]
        await env.get("c").send(go, 1)
        assert await finish(env, env.get("c")) == "1"


@workflow(name="reopening_gate_catching")
async def gate_catching() -> str:
    try:
        return await gate()
    except ValueError:
        return str(await go.receive())


async def test_result_waits_again_for_a_reopened_run(store: AnyStore) -> None:
    async with Environment(store) as env:
        run = await shut(env, gated)
        shop.is_mended = True
        await run.retry()
        waiting_for = asyncio.ensure_future(run.result())
        await env.settle()
        assert not waiting_for.done()
        await env.advance("1m")
        assert await waiting_for == "open"


class Door:
    """Holds an action back that was told to stop, until the test lets it go."""

    def __init__(self) -> None:
        self.opened, self.inner = asyncio.Event(), asyncio.Event()


door = Door()


@action(name="reopening_stubborn")
async def stubborn() -> str:
    if attempt().sequence > 1:
        await door.inner.wait()
        return "in time"
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await door.opened.wait()
    return "late"


@workflow(name="reopening_stubborn_fan")
async def stubborn_fan() -> list[str]:
    return list(await asyncio.gather(crop("a"), stubborn(), slow()))


@pytest.mark.covers("I20")
async def test_an_outcome_of_an_earlier_sequence_that_comes_late_is_dropped_and_counted() -> None:
    door.__init__()  # type: ignore[misc]
    async with Engine("memory://") as engine:
        run = await engine.start(stubborn_fan)
        with pytest.raises(ValueError, match="cannot crop"):
            await run.result()
        late = engine.node.dispatcher.late
        shop.is_mended = True
        await run.retry()
        door.opened.set()
        while engine.node.dispatcher.late == late:  # noqa: ASYNC110 — the action ends in turns of its own.
            await asyncio.sleep(0)
        door.inner.set()
        values: list[facts.ActionCompleted] = []
        while not values:
            await asyncio.sleep(0)
            found = [entry.fact async for entry in run.journal()]
            values = [fact for fact in found if isinstance(fact, facts.ActionCompleted) and fact.call == "2/1"]
        assert [bytes(fact.value.json) for fact in values if fact.value.json] == [b'"in time"']
        await run.cancel()


@workflow(name="reopening_changing", registry=(before_change := Registry()))
async def before_the_change() -> str:
    return f"{await step('x')} {await crop('a')}"


@workflow(name="reopening_changing", registry=(after_change := Registry()))
async def after_the_change() -> str:
    return await crop("a")


async def test_a_run_whose_code_no_longer_agrees_with_its_journal_stays_failed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/changed.db"
    async with Engine(url, registry=before_change) as engine:
        run = await engine.start(before_the_change.options(id="r"))
        with pytest.raises(ValueError, match="cannot crop"):
            await run.result()
    async with Engine(url, registry=after_change) as engine:
        with pytest.raises(ReplayMismatch):
            await engine.get("r").retry()
        assert await engine.get("r").status() is Status.FAILED
    async with Engine(url, registry=Registry()) as engine:
        with pytest.raises(DefinitionNotFound):
            await engine.get("r").retry()
    async with Engine(url, registry=before_change) as engine:
        shop.is_mended = True
        await engine.get("r").retry()
        assert await engine.get("r").result() == "X cropped a"
