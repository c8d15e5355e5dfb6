"""The demo from beginning to end: run without interruption, run again and kill the engine, compare."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from perdure import Engine
from perdure.demo import sheet
from perdure.demo.child import EngineProcess
from perdure.demo.progress import Ledger, Progress
from perdure.demo.screen import Screen
from perdure.demo.server import PictureServer
from perdure.demo.verdict import INTERRUPTED, UNINTERRUPTED, Evidence, faults, numbers
from perdure.demo.workflow import registry, thumbnails

FEW: Sequence[int] = (60, 90, 120)
MANY: Sequence[int] = range(10, 201)
UPLOAD_PAUSE_S = 0.1
LEDGER_S = 0.05
LIMIT_S = 240
PAUSE_S = 1.0
"""For the viewer: nothing moves while no engine runs."""


class Stage(Struct, frozen=True):
    """Where the demo plays: its folder, its web server, its pictures, and how often the engine is killed."""

    folder: Path
    server: PictureServer
    pictures: Sequence[Path]
    kills: int


class Act:
    """All pictures once, on a store and with an engine of their own. ``album``: where the uploads go."""

    def __init__(self, stage: Stage, album: str, screen: Screen) -> None:
        self.stage = stage
        self.album = album
        self.store = stage.folder / f"{album}.db"
        self.engine = EngineProcess(self.store, stage.folder / f"{album}.ledger", stage.folder / f"{album}.log")
        self.board: list[Progress] = []
        self.kills = 0
        self.seconds = 0.0
        self._ledger = Ledger(stage.folder / f"{album}.ledger")
        self._screen = screen
        self._learned = asyncio.Event()
        self._is_dead = False

    async def play(self, kills: int) -> list[list[str]]:
        """Give the results of all runs, after that many kills."""
        began = time.monotonic()
        async with Engine(f"sqlite:///{self.store}", registry=registry, is_client=True) as client, self._running_engine() as pid:
            self._screen.say(f"engine {pid} is up; {len(self.stage.pictures) + 1} workflows are started from this process")
            await self._start_runs(client)
            self._screen.show(self.board)
            async with self._observing():
                for number in range(1, kills + 1):
                    await self._kill_at(len(MANY) * number // (kills + 1))
                results = [await progress.run.result() for progress in self.board]
            await self._read_journals()
        self.seconds = time.monotonic() - began
        return results

    @asynccontextmanager
    async def _running_engine(self) -> AsyncIterator[int]:
        try:
            yield await self.engine.start()
        finally:
            await self.engine.stop()

    async def _start_runs(self, client: Engine) -> None:
        first = self.stage.pictures[0]
        jobs = [(first, f"{first.stem}-{len(MANY)}", MANY), *((picture, picture.stem, FEW) for picture in self.stage.pictures)]
        for picture, title, sizes in jobs:
            album = self.stage.server.url(self.album, title)
            started = thumbnails.options(id=f"{title}-{self.album}")
            run = await client.start(started, self.stage.server.url("pictures", picture.name), album, list(sizes))
            self.board.append(Progress(run, title, sizes))

    @asynccontextmanager
    async def _observing(self) -> AsyncIterator[None]:
        """The board follows the journals and the ledger; an engine that ends by itself ends the demo."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._watch(progress)) for progress in self.board]
            tasks += [group.create_task(self._follow_ledger()), group.create_task(self.engine.watch_over())]
            yield
            for task in tasks:
                task.cancel()

    async def _watch(self, progress: Progress) -> None:
        async for entry in progress.run.watch():
            progress.apply(entry)
            self._learned.set()

    async def _follow_ledger(self) -> None:
        while True:
            self._read_ledger()
            self._screen.show(self.board, is_dead=self._is_dead)
            await asyncio.sleep(LEDGER_S)

    def _read_ledger(self) -> None:
        runs = {progress.run.id: progress for progress in self.board}
        for process, run, call in self._ledger.news():
            runs[run].note_attempt(call, self.engine.pids.index(process))

    async def _read_journals(self) -> None:
        for progress in self.board:
            async for entry in progress.run.journal():
                progress.apply(entry)
        self._read_ledger()

    async def _kill_at(self, branches: int) -> None:
        largest = self.board[0]
        while largest.done < branches:
            if all(progress.is_final for progress in self.board):
                return
            await self._learned.wait()
            self._learned.clear()
        pid = self.engine.pids[-1]
        await self.engine.kill()
        self._is_dead = True
        self.kills += 1
        # What is in the journals now is what the dead engine had recorded: nobody can add to it.
        await self._read_journals()
        calls = [call for progress in self.board for call in progress.calls.values()]
        recorded = sum(call.recorded is not None for call in calls)
        cut = sum(call.recorded is None and bool(call.begun) for call in calls)
        self._screen.say(f"engine {pid} was killed (SIGKILL) with {largest.done} of {len(MANY)} branches done", "bad")
        self._screen.say(f"on disk: {recorded} outcomes; {cut} calls were under way, {len(calls) - recorded - cut} not begun")
        await asyncio.sleep(PAUSE_S)
        for progress in self.board:
            progress.life += 1
        self._screen.say(f"engine {await self.engine.start()} has taken over", "good")
        self._is_dead = False


async def tell(stage: Stage, screen: Screen) -> list[str]:
    """Play the demo; gives what differs from what it should be, nothing if all is well. Raises `EngineFailed`, `TimeoutError`."""
    began = time.monotonic()
    stage.server.pause_s = 0.0
    plain = Act(stage, UNINTERRUPTED, screen)
    screen.say("first without interruption, for comparison")
    async with asyncio.timeout(LIMIT_S):
        expected = await plain.play(0)
        screen.show(())
        screen.say(f"done in {plain.seconds:.1f} s", "good")
        stage.server.pause_s = UPLOAD_PAUSE_S
        killed = Act(stage, INTERRUPTED, screen)
        times = "once" if stage.kills == 1 else f"{stage.kills} times"
        screen.say(f"now the engine is killed {times}; an upload takes {UPLOAD_PAUSE_S * 1000:.0f} ms")
        found = await killed.play(stage.kills)
    results = [(entry.title, first, second) for entry, first, second in zip(killed.board, expected, found, strict=True)]
    evidence = Evidence(stage.folder, killed.board, stage.server, results, killed.kills, time.monotonic() - began, killed.store)
    problems = list(faults(evidence))
    screen.conclude("What it came to", numbers(evidence))
    if not problems:
        times = "once" if killed.kills == 1 else f"{killed.kills} times"
        title = f"{len(killed.board)} runs, killed {times}: no thumbnail lost, none different"
        sheet.lay_out(stage.folder / INTERRUPTED, killed.board, title).save(stage.folder / "contact-sheet.png")
    return problems
