"""Workflows and actions of a test: a node runs the ones, worker processes perform the others."""

import os
import sys
import time

import perdure
from perdure import action, workflow


@action(queue="far", retry=perdure.Retry(attempts=3, first="10ms"))
def add(a: int, b: int) -> int:
    return a + b


@action(queue="far")
def through_gate(gate: str) -> str:
    """Wait until the file is there."""
    _say(f"at work, attempt {perdure.attempt().number}")
    long_s = time.monotonic() + 1
    while not os.path.exists(gate):
        time.sleep(0.01)
        if time.monotonic() > long_s:
            _say("still at work")
            long_s = float("inf")
    return "through"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@action(queue="far", runs_in="process")
def compute(number: int) -> tuple[int, int]:
    return number * number, os.getppid()


@action(queue="far", batch=perdure.Batch(calls_max=3, wait="1m"))
async def together(numbers: dict[str, int]) -> dict[str, int]:
    return {key: len(numbers) for key in numbers}


@action(queue="far")
async def block(until_s: float) -> int:
    """Block the event loop."""
    end_s = time.monotonic() + until_s
    while time.monotonic() < end_s:
        pass
    return perdure.attempt().number


@action
async def near() -> str:
    return "near"


@workflow
async def sums(count: int) -> list[int]:
    return [await add(at, at) for at in range(count)]


@workflow
async def gated(gate: str) -> str:
    return await through_gate(gate)


@workflow
async def computed() -> int:
    return (await compute(7))[0]


@workflow
async def batched() -> list[int]:
    import asyncio

    return await asyncio.gather(*(together(at) for at in range(3)))


@workflow
async def blocked(seconds: float) -> int:
    return await block(seconds)
