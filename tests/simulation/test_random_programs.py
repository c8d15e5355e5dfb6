"""Small programs made at random end alike however they are crashed."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from perdure import action, workflow
from perdure.testing import crash_everywhere

Program = dict[str, Any]


@action(name="simulation.work")
async def work(value: int) -> int:
    return value * 2


@action(name="simulation.work_in_time")
async def work_in_time(value: int, seconds: int) -> int:
    await asyncio.sleep(seconds)
    return value * 3


async def perform(program: Program) -> object:
    match program:
        case {"sleep": seconds}:
            await asyncio.sleep(seconds)
            return seconds
        case {"work": value}:
            return await work(value)
        case {"slow": value, "seconds": seconds}:
            return await work_in_time(value, seconds)
        case {"child": part}:
            return await interpret(part)
        case {"gather": parts}:
            return await asyncio.gather(*map(perform, parts))
        case {"chain": parts}:
            return [await perform(part) for part in parts]
        case {"within": seconds, "of": part}:
            try:
                async with asyncio.timeout(seconds):
                    return await perform(part)
            except TimeoutError:
                return "late"
        case {"first": seconds}:
            done, pending = await asyncio.wait([asyncio.create_task(asyncio.sleep(s, s)) for s in seconds], return_when="FIRST_COMPLETED")
            for task in pending:
                task.cancel()
            return sorted(task.result() for task in done)
    raise AssertionError(program)


@workflow(name="simulation.interpret")
async def interpret(program: Program) -> object:
    return await perform(program)


numbers = some.integers(1, 9)
leaves = some.one_of(
    some.fixed_dictionaries({"sleep": numbers}),
    some.fixed_dictionaries({"work": numbers}),
    some.fixed_dictionaries({"slow": numbers, "seconds": numbers}),
    some.fixed_dictionaries({"first": some.lists(numbers, min_size=1, max_size=3)}),
)


def larger(parts: some.SearchStrategy[Program]) -> some.SearchStrategy[Program]:
    several = some.lists(parts, min_size=1, max_size=3)
    return some.one_of(
        some.fixed_dictionaries({"gather": several}),
        some.fixed_dictionaries({"chain": several}),
        some.fixed_dictionaries({"child": parts}),
    )


# What takes time in an action takes longer if it is begun again, so only timers race here.
timed = some.fixed_dictionaries({"within": numbers, "of": some.fixed_dictionaries({"sleep": numbers})})
programs = some.recursive(some.one_of(leaves, timed), larger, max_leaves=6)


@pytest.mark.covers("I3", "I10", "I11", "M31")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs, seed=some.integers(0, 1000))
def test_any_program_ends_alike_in_every_case(program: Program, seed: int) -> None:
    assert crash_everywhere(interpret, program, limit=12, seed=seed, shuffle=True)
