"""What a start promises for ids, ended runs, timeouts, and signals from run to run."""

import asyncio
import contextlib

import pytest

import perdure
from perdure import action, signal, workflow
from perdure.model.errors import RunConflict, RunEnded, RunTimedOut
from perdure.testing.env import Environment

counted = signal("counted", int)
keys: list[str] = []


@action
async def add(a: int, b: int) -> int:
    keys.append(perdure.attempt().key)
    return a + b


@workflow
async def adding(a: int) -> int:
    return await add(a, 1)


@workflow
async def patient() -> str:
    try:
        await asyncio.sleep(3600)
    finally:
        with contextlib.suppress(perdure.PerdureError):
            await add(1, 1)
    return "done"


@workflow
async def counting() -> int:
    return await counted.receive()


@workflow
async def telling(to: str) -> None:
    perdure.send(to, counted, 5)


@pytest.mark.covers("I23")
async def test_fifty_starts_of_one_id_are_one_run(perdure_env: Environment) -> None:
    runs = await asyncio.gather(*(perdure_env.engine.start(adding.options(id="one"), 1) for _ in range(50)))
    assert {run.id for run in runs} == {"one"}
    assert await runs[49].result() == 2
    assert len(await perdure_env.engine.list(definition="adding")) == 1


@pytest.mark.covers("I23")
async def test_the_same_id_with_other_input_is_a_conflict(perdure_env: Environment) -> None:
    await perdure_env.engine.run(adding.options(id="one"), 1)
    with pytest.raises(RunConflict, match="'one' exists already"):
        await perdure_env.engine.start(adding.options(id="one"), 2)


async def test_a_run_that_ended_is_given_back_refused_or_replaced_as_asked(perdure_env: Environment) -> None:
    engine = perdure_env.engine
    keys.clear()
    assert await engine.run(adding.options(id="one"), 1) == 2
    assert await engine.run(adding.options(id="one", on_ended="return"), 1) == 2
    with pytest.raises(RunEnded):
        await engine.start(adding.options(id="one", on_ended="refuse"), 1)
    assert await engine.run(adding.options(id="one", on_ended="restart"), 7) == 8
    assert len(set(keys)) == len(keys) == 2, "the run that replaces another has idempotency keys of its own"


async def test_an_open_run_is_not_replaced(perdure_env: Environment) -> None:
    run = await perdure_env.engine.start(counting.options(id="one"))
    await perdure_env.engine.start(counting.options(id="one", on_ended="restart"))
    await run.send(counted, 3)
    assert await run.result() == 3


async def test_a_run_fails_when_its_timeout_is_over_after_its_clean_up(perdure_env: Environment) -> None:
    keys.clear()
    run = await perdure_env.engine.start(patient.options(timeout="10m"))
    await perdure_env.advance("9m")
    assert await run.status() == "waiting"
    await perdure_env.advance("2m")
    with pytest.raises(RunTimedOut):
        await run.result()
    assert len(keys) == 1


async def test_a_timeout_holds_over_a_restart(perdure_env: Environment) -> None:
    run = await perdure_env.engine.start(patient.options(id="one", timeout="10m"))
    await perdure_env.crash()
    await perdure_env.advance("11m")
    assert await perdure_env.engine.get("one").status() == "failed"
    assert run.id == "one"


async def test_a_run_gives_a_signal_to_another_once(perdure_env: Environment) -> None:
    run = await perdure_env.engine.start(counting)
    await perdure_env.engine.run(telling, run.id)
    await perdure_env.settle()
    assert await run.result() == 5


async def test_a_signal_to_a_run_that_does_not_exist_is_dropped(perdure_env: Environment) -> None:
    await perdure_env.engine.run(telling, "nobody")
    await perdure_env.settle()
    assert await perdure_env.engine.store.addressed([0], 10) == []
