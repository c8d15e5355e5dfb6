"""Waits until nothing moves. Protects tests from looking too early, and from waiting for real time."""

import asyncio
from typing import Any

from perdure.workers.executors import LocalPerformer

_TURNS_MAX = 1_000_000
_TURNS_UNSEEN = 100


class NotSettled(AssertionError):
    """Something goes on and on."""


async def settle(performer: LocalPerformer | None, patience_s: float) -> None:
    """The event loop has nothing ready to run and no plain action runs.

    A loop that does not show what is ready (uvloop) gets a fixed number of turns instead.
    """
    loop: Any = asyncio.get_running_loop()
    shows_ready = hasattr(loop, "_ready")
    quiet_turns = 0
    for _ in range(_TURNS_MAX):
        await asyncio.sleep(0)
        quiet_turns += 1
        if loop._ready if shows_ready else quiet_turns < _TURNS_UNSEEN:
            continue
        threaded = _threaded(performer)
        if not threaded:
            return
        await _one_of(threaded, patience_s)
        quiet_turns = 0
    raise NotSettled(
        f"After {_TURNS_MAX} turns of the event loop something is still ready to run. Is there a loop around asyncio.sleep(0)?"
    )


def _threaded(performer: LocalPerformer | None) -> dict[asyncio.Task[Any], str]:
    """Give what runs outside of the event loop, with the names of the actions. A call in a batch waits for time until the batch runs."""
    if performer is None:
        return {}
    specs = {entry.task: entry.attempt.spec for entry in performer._running if entry.task is not None and entry.attempt.spec.batch is None}
    return {task: spec.name for task, spec in (specs | performer._batches.running).items() if not spec.is_async}


async def _one_of(threaded: dict[asyncio.Task[Any], str], patience_s: float) -> None:
    done, _ = await asyncio.wait(threaded, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        names = ", ".join(sorted(set(threaded.values())))
        raise NotSettled(
            f"The plain action {names} has run for {patience_s} seconds of real time. An action that waits for the test must be async; "
            "or raise the environment's patience."
        )
