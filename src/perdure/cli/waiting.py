"""Waits for the end of a run, and shows on a terminal how far it is once that takes longer than a second."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from perdure import Engine, Run, insight
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.values import print_value
from perdure.cli.wording import error_text
from perdure.insight import TimelineFold
from perdure.model import fact as facts
from perdure.model.errors import RunCancelled, RunNotFound
from perdure.model.run import RunRow, Status

LOOK_S = 0.25
PATIENT_LOOKS = 4


async def wait_for_end(engine: Engine, run: Run[Any], *, timeout_s: float | None = None) -> RunRow:
    """Give the row of the run once it has ended. A stalled one ends the command: nobody will mend it while we wait."""
    async with _progress(engine, run) as look, _ending(run) as ended:
        looks = 0
        while True:
            row = await insight.row_of(engine.store, run.id)
            if row.status.is_final:
                return row
            if row.status is Status.STALLED:
                raise CommandEnds(Exit.STALLED, f"perdure: run {run.id} is stalled: {row.reason}\nMend it, then: perdure resume {run.id}")
            if timeout_s is not None and looks * LOOK_S >= timeout_s:
                text = f"perdure: run {run.id} has not ended within {timeout_s:g}s; it is {row.status}. See: perdure why {run.id}"
                raise CommandEnds(Exit.UNAVAILABLE, text)
            looks += 1
            await asyncio.wait({ended}, timeout=LOOK_S)
            if looks >= PATIENT_LOOKS:
                await look(row)


@contextlib.asynccontextmanager
async def _ending(run: Run[Any]) -> AsyncIterator["asyncio.Future[Any]"]:
    """A task that ends with the run, however that ends. Nobody looks at its outcome."""
    task: asyncio.Future[Any] = asyncio.ensure_future(_silently(run))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _silently(run: Run[Any]) -> None:
    with contextlib.suppress(Exception):
        await run.result()
        return
    # It has failed, or the engine's way to the node has changed; the loop around looks for itself, at its own pace.
    await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def _progress(engine: Engine, run: Run[Any]) -> AsyncIterator[Any]:
    """Gives what is called with the row at every look."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield _look_at_nothing
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(run.id, total=None, visible=False)
        yield _Follower(engine, run, progress, bar).look


async def _look_at_nothing(row: RunRow) -> None:
    pass


class _Follower:
    """Keeps the bar true to the journal, reading only what is new."""

    def __init__(self, engine: Engine, run: Run[Any], progress: Progress, bar: TaskID) -> None:
        self._engine = engine
        self._run = run
        self._progress = progress
        self._bar = bar
        self._fold = TimelineFold()

    async def look(self, row: RunRow) -> None:
        async for entry in insight.entries(self._engine.store, self._run.id, max(row.base - 1, self._fold.timeline.rows)):
            self._fold.take(entry)
        steps = self._fold.timeline.steps
        done = sum(step.ended is not None for step in steps)
        self._progress.update(self._bar, description=f"{self._run.id} {row.status}", completed=done, total=len(steps) or None, visible=True)


async def tell_end(engine: Engine, run: Run[Any], *, output: str | None = None) -> Exit:
    """Print how an ended run ended: its value on the output, its error beside it; gives the exit code."""
    try:
        fact, _ = await insight.last_word(engine.store, run.id)
    except RunNotFound as error:
        raise CommandEnds(Exit.NOT_FOUND, f"perdure: {error}") from error
    match fact:
        case facts.RunCompleted():
            print_value(await run.result(), output)
            return Exit.OK
        case facts.RunCancelled():
            reason = f" ({fact.reason})" if fact.reason else ""
            raise CommandEnds(Exit.CANCELLED, f"perdure: {RunCancelled(run=run.id)}{reason}")
        case facts.RunFailed():
            trace = f"Traceback (most recent call last):\n{fact.error.traceback}" if fact.error.traceback else ""
            raise CommandEnds(Exit.FAILED, f"perdure: run {run.id} failed.\n{trace}{error_text(fact.error)}")
