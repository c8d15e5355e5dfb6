"""Retries and time limits of attempts, at exact instants of virtual time (I17, I18, faults 3 and 25)."""

import asyncio
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest

import perdure
from perdure import ActionTimedOut, GiveUp, Limits, Retry, RetryAfter, action, signal, workflow
from perdure.testing.env import Environment
from perdure.workers.executors import LocalPerformer

Instants = list[float]


def failing(instants: Instants, env: Environment, retry: Retry | None = None, *, succeeds_at: int = 99, **options: Any) -> Any:
    """Declare a workflow with one call that fails, and note when each attempt is made."""
    begun: datetime = env.now

    @action(name="attempts_fails", retry=retry, **options)
    async def fails() -> int:
        instants.append((env.now - begun).total_seconds())
        if perdure.attempt().number < succeeds_at:
            raise ConnectionError("no")
        return perdure.attempt().number

    @workflow(name="attempts_calls")
    async def calls() -> int:
        return await fails()

    return calls


@pytest.mark.covers("I17")
async def test_the_default_is_one_attempt(perdure_env: Environment) -> None:
    instants: Instants = []
    with pytest.raises(ConnectionError):
        await perdure_env.run(failing(instants, perdure_env))
    assert instants == [0]


@pytest.mark.covers("I17")
async def test_delays_grow_by_the_factor_are_not_cut_to_seconds_and_are_capped_not_ended(perdure_env: Environment) -> None:
    instants: Instants = []
    retry = Retry(attempts=7, first="250ms", factor=2, cap="1500ms")
    assert await perdure_env.run(failing(instants, perdure_env, retry, succeeds_at=7)) == 7
    assert instants == [0, 0.25, 0.75, 1.75, 3.25, 4.75, 6.25]


async def test_listed_delays_are_kept_and_the_last_repeats(perdure_env: Environment) -> None:
    instants: Instants = []
    await perdure_env.run(failing(instants, perdure_env, Retry(delays=["1s", "5m"]), succeeds_at=4))
    assert instants == [0, 1, 301, 601]


@pytest.mark.covers("I17")
async def test_waits_between_attempts_survive_crashes_and_keep_their_instants(perdure_env: Environment) -> None:
    env, instants = perdure_env, Instants()
    run = (await env.start(failing(instants, env, Retry(delays=["1h"]), succeeds_at=4))).id
    for _ in range(6):
        await env.advance("25m")
        await env.crash()
    await env.finish(env.get(run))
    assert instants == [0, 3600, 7200, 10800]


@pytest.mark.covers("I18")
async def test_no_attempt_is_made_after_the_total_time(perdure_env: Environment) -> None:
    instants: Instants = []
    with pytest.raises(ConnectionError):
        await perdure_env.run(failing(instants, perdure_env, Retry(first="10s", factor=1, total="35s")))
    assert instants == [0, 10, 20, 30]


async def test_give_up_ends_the_call_and_retry_after_says_when(perdure_env: Environment) -> None:
    env, instants = perdure_env, Instants()
    begun = env.now

    @action(name="attempts_says", retry=Retry(attempts=10, first="1s"))
    async def says() -> None:
        instants.append((env.now - begun).total_seconds())
        if perdure.attempt().number == 1:
            raise RetryAfter("90s")
        raise GiveUp from KeyError("gone")

    @workflow(name="attempts_calls_says")
    async def calls() -> None:
        await says()

    with pytest.raises(KeyError, match="gone"):
        await env.run(calls)
    assert instants == [0, 90]


@pytest.mark.covers("I18")
async def test_an_attempt_that_takes_too_long_is_ended_at_its_instant_and_made_again(perdure_env: Environment) -> None:
    env, ends = perdure_env, Instants()
    begun = env.now

    @action(name="attempts_slow", timeout="10s", retry=Retry(attempts=2, first="5s"))
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append((env.now - begun).total_seconds())

    @workflow(name="attempts_calls_slow")
    async def calls() -> None:
        await slow()

    with pytest.raises(ActionTimedOut, match="attempt 2 of attempts_slow took longer than its timeout of 10"):
        await env.run(calls)
    assert ends == [10, 25]


@pytest.mark.covers("I18")
async def test_an_attempt_that_swallows_its_cancellation_has_still_timed_out(perdure_env: Environment) -> None:
    @action(name="attempts_stubborn", timeout="10s")
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return "late"

    @workflow(name="attempts_calls_stubborn")
    async def calls() -> str:
        return await stubborn()

    with pytest.raises(ActionTimedOut):
        await perdure_env.run(calls)


@pytest.mark.covers("I18")
async def test_what_a_thread_returns_after_its_time_is_dropped_and_counted() -> None:
    over, begun = threading.Event(), threading.Event()

    @action(name="attempts_threaded", timeout="10s", retry=Retry(attempts=2, first="1s"))
    def threaded() -> str:
        if perdure.attempt().number == 1:
            begun.set()
            over.wait(20)
            return "late"
        return "second"

    word = signal("attempts_word", str)

    @workflow(name="attempts_calls_threaded")
    async def calls() -> str:
        return await threaded() + await word.receive()

    async with Environment(patience=20) as env:
        run = await env.engine.start(calls)
        await asyncio.to_thread(begun.wait, 20)
        env.clock.move_to(env.clock.now_us() + 10_000_000)
        async for entry in run.watch():
            if entry.name == "AttemptFailed":
                break
        env.clock.move_to(env.clock.now_us() + 1_000_000)
        async for entry in run.watch():
            if entry.name == "ActionCompleted":
                break
        over.set()
        await run.send(word, "!")
        assert await run.result() == "second!"
        names = [entry.name async for entry in run.journal()]
        assert names.count("ActionCompleted") == 1
        assert env.engine.node is not None
        performer = env.engine.here
        assert isinstance(performer, LocalPerformer)
        assert performer._pool is not None
        await asyncio.to_thread(performer._pool.shutdown)
        assert performer.late == 1


async def test_details_of_a_heartbeat_are_given_to_the_next_attempt_also_over_a_crash(perdure_env: Environment) -> None:
    env, seen = perdure_env, []

    @action(name="attempts_beats", retry=Retry(attempts=3, first="1s"))
    async def beats() -> list[Any]:
        current = perdure.attempt()
        seen.append(current.details)
        current.heartbeat({"done": current.number})
        if current.number == 1:
            raise ConnectionError
        if current.number == 2:
            await asyncio.Event().wait()
        return seen

    @workflow(name="attempts_calls_beats")
    async def calls() -> list[Any]:
        return list(await beats())

    run = (await env.start(calls)).id
    await env.advance("1s")
    await env.advance("2s")
    await env.crash()
    assert await env.finish(env.get(run)) == [None, {"done": 1}, {"done": 2}]


async def test_the_newest_details_are_written_half_a_second_after_those_before_and_none_of_an_attempt_that_ended(
    perdure_env: Environment,
) -> None:
    env, seen, over = perdure_env, [], asyncio.Event()

    @action(name="attempts_hasty")
    async def hasty(number: int) -> list[Any]:
        seen.append(perdure.attempt().details)
        for count in range(100):
            perdure.attempt().heartbeat(count)
        if number == 1:
            await over.wait()
        return seen

    @workflow(name="attempts_calls_hasty")
    async def calls() -> list[Any]:
        await hasty(2)
        return list(await hasty(1))

    run = (await env.start(calls)).id
    await env.advance("500ms")
    (loaded,) = await env.store.load([run])
    assert [(beat.call, beat.body) for beat in loaded.heartbeats] == [("1", b'{"json":0}'), ("2", b'{"json":99}')]
    await env.crash()
    over.set()
    assert await env.finish(env.get(run)) == [None, None, 99]


async def test_details_of_a_failed_attempt_are_not_hidden_by_an_older_heartbeat_after_a_crash(perdure_env: Environment) -> None:
    env, seen = perdure_env, []

    @action(name="attempts_hidden", retry=Retry(attempts=3, first="10s"))
    async def hidden() -> list[Any]:
        current = perdure.attempt()
        seen.append(current.details)
        if current.number == 1:
            current.heartbeat("old")
            current.heartbeat("new")
            raise ConnectionError
        return seen

    @workflow(name="attempts_calls_hidden")
    async def calls() -> list[Any]:
        return list(await hidden())

    run = (await env.start(calls)).id
    await env.crash()
    assert await env.finish(env.get(run)) == [None, "new"]


async def test_an_attempt_that_takes_its_node_down_again_and_again_ends_with_an_error() -> None:
    attempts = []

    @action(name="attempts_kills")
    async def kills() -> None:
        attempts.append(perdure.attempt().number)
        await asyncio.Event().wait()

    @workflow(name="attempts_calls_kills")
    async def calls() -> str:
        try:
            await kills()
        except perdure.ActionFailed as error:
            return str(error)
        return ""

    async with Environment(limits=Limits(attempts_lost_max=3)) as env:
        run = (await env.start(calls)).id
        for _ in range(4):
            await env.crash()
        assert "died 3 times" in await env.finish(env.get(run))
    assert attempts == [1, 2, 3, 4]


async def test_a_retry_that_was_under_way_in_a_crash_fails_where_it_must_not_be_made_twice(perdure_env: Environment) -> None:
    env, attempts = perdure_env, []

    @action(name="attempts_pays", on_lost="fail", retry=Retry(attempts=5, first="100ms"))
    async def pays() -> None:
        attempts.append(perdure.attempt().number)
        if perdure.attempt().number == 1:
            raise ConnectionError
        await asyncio.Event().wait()

    @workflow(name="attempts_calls_pays")
    async def calls() -> None:
        await pays()

    run = (await env.start(calls)).id
    await env.advance(timedelta(milliseconds=100))
    assert attempts == [1, 2]
    await env.crash()
    with pytest.raises(perdure.ActionFailed, match="on_lost='fail'"):
        await env.finish(env.get(run))
    assert attempts == [1, 2]
