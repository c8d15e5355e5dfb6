"""Every limit has a named error, and nothing that is merely large ends a run (G8)."""

import asyncio
import logging
from typing import Any

import pytest

import perdure
from perdure import Limits, Status, action, signal, workflow
from perdure.insight import StalledReason
from perdure.model.errors import PayloadTooLarge, TooManySignals
from perdure.testing.env import Environment

word = signal("limits_word", str)


@action(name="limits_one")
async def one() -> int:
    return 1


@workflow(name="limits_steps")
async def steps(count: int) -> int:
    return sum([await one() for _ in range(count)])


@workflow(name="limits_wide")
async def wide(count: int) -> int:
    return sum(await asyncio.gather(*(one() for _ in range(count))))


@workflow(name="limits_reads")
async def reads(count: int) -> str:
    return "".join([await word.receive() for _ in range(count)])


@workflow(name="limits_endless")
async def endless() -> None:
    while True:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def problem(run: perdure.Run[Any]) -> str:
    assert await run.status() is Status.STALLED
    (reason,) = await run.why()
    assert isinstance(reason, StalledReason)
    return reason.problem


def with_limits(env: Environment, limits: Limits) -> None:
    """What the next life of the engine is given."""
    env._limits = limits


async def test_a_long_journal_is_warned_of_then_stalls_and_goes_on_where_the_limit_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(limits=Limits(journal_facts_warn=20, journal_facts_max=40)) as env:
        with caplog.at_level(logging.WARNING, "perdure.engine"):
            run = await env.start(steps.options(id="r"), 50)
        assert caplog.text.count("consider perdure.continue_as_new") == 1
        assert "journal_facts_max is 40" in await problem(run)
        with_limits(env, Limits())
        await env.restart()
        assert await env.get("r").result() == 50


async def test_too_many_open_calls_stall_the_run_and_it_goes_on_where_the_limit_is_raised() -> None:
    async with Environment(limits=Limits(calls_open_max=10)) as env:
        run = await env.start(wide.options(id="r"), 11)
        assert "calls_open_max is 10" in await problem(run)
        with_limits(env, Limits(calls_open_max=11))
        await env.restart()
        assert await env.get("r").result() == 11


async def test_an_endless_loop_without_a_durable_wait_stalls_and_others_go_on() -> None:
    async with Environment(limits=Limits(callbacks_max=10_000)) as env:
        run = await env.start(endless)
        assert "10000 callbacks" in await problem(run)
        assert await env.run(steps, 2) == 2


async def test_signals_beyond_the_buffer_are_refused_and_those_in_it_are_read() -> None:
    @workflow(name="limits_busy_first")
    async def busy_first() -> str:
        await asyncio.sleep(60)
        return await reads.function(3)

    async with Environment(limits=Limits(signals_buffered_max=2)) as env:
        run = await env.start(busy_first)
        await run.send(word, "a")
        await run.send(word, "b")
        with pytest.raises(TooManySignals, match="signals_buffered_max is 2"):
            await run.send(word, "c")
        await env.advance("60s")
        await run.send(word, "d")
        assert await run.result() == "abd"


async def test_a_payload_that_is_too_large_is_refused_at_the_door() -> None:
    async with Environment(limits=Limits(payload_bytes_max=100)) as env:
        run = await env.start(reads, 1)
        with pytest.raises(PayloadTooLarge, match="payload_bytes_max is 100"):
            await run.send(word, "x" * 100)
        with pytest.raises(PayloadTooLarge):
            await env.engine.start("limits_reads", "x" * 100)
        await run.send(word, "x")
        assert await run.result() == "x"


async def test_a_result_of_an_action_that_is_too_large_is_that_call_s_error() -> None:
    @action(name="limits_large")
    async def large() -> str:
        return "x" * 100

    @workflow(name="limits_calls_large")
    async def calls_large() -> str:
        try:
            return await large()
        except PayloadTooLarge as error:
            return str(error)[:30]

    async with Environment(limits=Limits(payload_bytes_max=100)) as env:
        assert (await env.run(calls_large)).startswith("the result of limits_large")


async def test_attempts_beyond_the_number_that_may_run_wait_their_turn() -> None:
    running = most = 0

    @action(name="limits_counted")
    async def counted() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    @workflow(name="limits_many")
    async def many() -> None:
        await asyncio.gather(*(counted() for _ in range(20)))

    async with Environment(limits=Limits(attempts_running_max=3)) as env:
        await env.run(many)
    assert most == 3
