"""The environment: time moves when the test says so, and what follows is done before the test goes on."""

import asyncio
import threading
from datetime import timedelta

import pytest

import perdure
from perdure import Retry, action, signal, workflow
from perdure.testing import Environment, NothingMoves, NotSettled

go = signal("go", str)


@action
async def plus(a: int, b: int) -> int:
    return a + b


@action
def add_in_thread(a: int, b: int) -> int:
    return a + b


@workflow
async def naps(days: int) -> list[str]:
    seen = []
    for _ in range(days):
        await asyncio.sleep(24 * 3600)
        seen.append(perdure.now().isoformat())
    return seen


async def test_a_run_that_sleeps_two_days_ends_when_the_test_has_moved_two_days(perdure_env: Environment) -> None:
    run = await perdure_env.start(naps, 2)
    await perdure_env.advance("1d 23h")
    assert await run.status() == "waiting"
    await perdure_env.advance("1h")
    assert await run.status() == "completed"
    assert await run.result() == ["2030-01-02T00:00:00+00:00", "2030-01-03T00:00:00+00:00"]
    assert (perdure_env.now - timedelta(days=2)).isoformat() == "2030-01-01T00:00:00+00:00"


async def test_run_moves_time_by_itself(perdure_env: Environment) -> None:
    assert len(await perdure_env.run(naps, 400)) == 400


async def test_a_run_goes_on_after_a_crash_and_after_a_restart(perdure_env: Environment) -> None:
    run = await perdure_env.start(naps.options(id="sleeper"), 3)
    await perdure_env.advance("1d")
    await perdure_env.crash()
    await perdure_env.advance("1d")
    assert await perdure_env.get("sleeper").status() == "waiting"
    await perdure_env.restart()
    await perdure_env.advance("1d")
    assert len(await perdure_env.get(run.id).result()) == 3


async def test_settle_waits_for_threads(perdure_env: Environment) -> None:
    @workflow
    async def sums() -> int:
        return await add_in_thread(await plus(1, 2), 3)

    run = await perdure_env.start(sums)
    assert await run.status() == "completed"
    assert await run.result() == 6


async def test_an_action_that_waits_for_the_test_does_not_hold_it_up(perdure_env: Environment) -> None:
    door = asyncio.Event()

    @action
    async def enter() -> str:
        await door.wait()
        return "in"

    @workflow
    async def visit() -> str:
        return await enter()

    run = await perdure_env.start(visit)
    assert await run.status() == "running"
    door.set()
    await perdure_env.settle()
    assert await run.result() == "in"


async def test_a_sleep_in_an_action_is_virtual(perdure_env: Environment) -> None:
    @action(retry=Retry(attempts=2, first="1h"))
    async def slow() -> int:
        await asyncio.sleep(3600)
        try:
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        except TimeoutError:
            return perdure.attempt().number
        return 0

    @workflow
    async def patient() -> int:
        return await slow()

    run = await perdure_env.start(patient)
    await perdure_env.advance("1h 59s")
    assert await run.status() == "running"
    await perdure_env.advance("1s")
    assert await run.result() == 1


async def test_a_timeout_of_an_attempt_and_the_wait_for_the_next_are_virtual(perdure_env: Environment) -> None:
    numbers: list[int] = []

    @action(timeout="20s", retry=Retry(attempts=3, first="1h", cap="1d"))
    async def hangs_twice() -> int:
        numbers.append(perdure.attempt().number)
        if len(numbers) < 3:
            await asyncio.Event().wait()
        return len(numbers)

    @workflow
    async def stubborn() -> int:
        return await hangs_twice()

    began = perdure_env.now
    assert await perdure_env.run(stubborn) == 3
    assert numbers == [1, 2, 3]
    assert perdure_env.now - began == timedelta(hours=3, seconds=40)


async def test_what_only_the_outside_can_move_is_named(perdure_env: Environment) -> None:
    @workflow
    async def listens() -> str:
        return await go.receive()

    with pytest.raises(NothingMoves, match="channel='go'"):
        await perdure_env.run(listens.options(id="ear"))
    run = perdure_env.get("ear")
    await run.send(go, "now")
    assert await perdure_env.finish(run) == "now"


async def test_two_settling_at_once_do_not_wait_for_each_other(perdure_env: Environment) -> None:
    await asyncio.gather(perdure_env.settle(), perdure_env.settle(), perdure_env.start(naps, 1))


async def test_ids_are_the_same_in_every_run_of_a_test() -> None:
    ids = []
    for _ in range(2):
        async with Environment() as env:
            ids.append([(await env.start(naps, 1)).id for _ in range(2)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


async def test_a_plain_action_that_never_ends_is_named() -> None:
    door = threading.Event()

    @action
    def blocks() -> None:
        door.wait()

    @workflow
    async def blocked() -> None:
        await blocks()

    try:
        async with Environment(patience=0.01) as env:
            with pytest.raises(AssertionError, match="blocks has run for"):
                await env.start(blocked)
            door.set()
    finally:
        door.set()


def test_a_loop_that_does_not_show_what_is_ready_settles_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def scenario() -> None:
        async with Environment() as env:
            assert len(await env.run(naps, 3)) == 3
            run = await env.start(naps.options(id="again"), 2)
            await env.advance("1d")
            await env.crash()
            await env.advance("1d")
            assert len(await env.get(run.id).result()) == 2

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_advance_stops_at_each_alarm_in_order(perdure_env: Environment) -> None:
    seen: list[str] = []

    @action
    async def note(word: str) -> None:
        seen.append(f"{word} {perdure_env.now:%H:%M}")

    @workflow
    async def two_clocks() -> None:
        async def every(minutes: int, word: str) -> None:
            for _ in range(2):
                await asyncio.sleep(minutes * 60)
                await note(word)

        await asyncio.gather(every(2, "slow"), every(1, "fast"))

    await perdure_env.start(two_clocks)
    await perdure_env.advance("1h")
    assert seen[0] == "fast 00:01"
    assert sorted(seen[1:3]) == ["fast 00:02", "slow 00:02"]
    assert seen[3:] == ["slow 00:04"]


async def test_a_year_of_an_idle_engine_costs_nothing(perdure_env: Environment) -> None:
    run = await perdure_env.start(naps, 1)
    await perdure_env.advance("365d")
    assert await run.status() == "completed"


async def test_something_that_never_rests_is_named(monkeypatch: pytest.MonkeyPatch, perdure_env: Environment) -> None:
    monkeypatch.setattr("perdure.testing.quiet._TURNS_MAX", 100)

    loop = asyncio.get_running_loop()

    def spin() -> None:
        nonlocal spinning
        spinning = loop.call_soon(spin)

    spinning = loop.call_soon(spin)
    with pytest.raises(NotSettled, match="something is still ready"):
        await perdure_env.settle()
    spinning.cancel()
