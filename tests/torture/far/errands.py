"""What the storm has done elsewhere: a node runs the errands, workers perform their actions and write down what they did."""

import asyncio
import json
import os
import time
from typing import Any

import perdure
from perdure import Retry, action, workflow
from tests.torture.far.planted import FAULT_VARIABLE, plant

FOREVER = Retry(first="50ms", cap="500ms")
QUEUE = "far"
LARGE = 100_000
"""So many characters are more than a journal row takes."""


class Stumbled(Exception):
    """It did not work this time."""


def note(stage: str, attempt: str, number: int) -> None:
    """A line in the log of effects, whole or not at all."""
    line = (
        json.dumps({"stage": stage, "attempt": attempt, "number": number, "by": os.getpid(), "at_ms": time.time_ns() // 1_000_000}) + "\n"
    )
    log = os.open(os.environ["FAR_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)


def _this() -> str:
    attempt = perdure.attempt()
    return f"{attempt.key}~{attempt.sequence}.{attempt.number}"


@action(name="far_mark", queue=QUEUE, retry=FOREVER)
async def mark(number: int, span_s: float) -> dict[str, Any]:
    """Leave a mark, and say which attempt by whom it was."""
    note("begun", _this(), number)
    await asyncio.sleep(span_s)
    note("done", _this(), number)
    return {"number": 2 * number, "attempt": _this(), "by": os.getpid()}


@action(name="far_stumble", queue=QUEUE, retry=FOREVER)
async def stumble(number: int) -> int:
    """Every third attempt works."""
    note("begun", _this(), number)
    if perdure.attempt().number % 3:
        raise Stumbled(f"over {number}")
    note("done", _this(), number)
    return number


@action(name="far_carry", queue=QUEUE, retry=FOREVER)
async def carry(load: str) -> str:
    """Bring back as much as was given."""
    note("begun", _this(), len(load))
    note("done", _this(), len(load))
    return load[::-1]


@workflow(name="far_errand")
async def errand(number: int, span_s: float, is_loaded: bool) -> int:
    first = await mark(number, 0.0)
    second, third = await asyncio.gather(mark(number + 1, span_s), stumble(number))
    load = await carry("ab" * (LARGE // 2)) if is_loaded else "ba"
    return int(first["number"]) + int(second["number"]) + third + load.count("ba")


def result_of(number: int, *, is_loaded: bool) -> int:
    """Give what an errand has to come to."""
    return 2 * number + 2 * (number + 1) + number + (LARGE // 2 if is_loaded else 1)


# Nodes and workers load this file, and nothing else of ours.
plant(os.environ.get(FAULT_VARIABLE, ""))
