"""The engine's process as its parent holds it. Protects the machine from engines that outlive the demo."""

import asyncio
import signal
import sys
from pathlib import Path

START_S = 20
STOP_S = 35


class EngineFailed(Exception):
    """The engine's process did not do what it is there for."""


class EngineProcess:
    """One engine at a time on one store. ``pids``: every process so far, in order."""

    def __init__(self, store: Path, ledger: Path, log: Path) -> None:
        self.pids: list[int] = []
        self._store = store
        self._ledger = ledger
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> int:
        """The engine moves the runs of the store; gives its process id. Raises `EngineFailed`."""
        command = [sys.executable, "-m", "perdure.demo.engine", f"sqlite:///{self._store}", str(self._ledger)]
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the parent, which then ends its child.
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True
            )
        self.pids.append(self._process.pid)
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                word = await self._process.stdout.readline()
        except TimeoutError:
            word = b""
        if word != b"ready\n":
            raise EngineFailed(f"the engine did not start within {START_S} s; its log says: {self.last_words()}")
        return self._process.pid

    async def kill(self) -> None:
        """The process is gone, as if the power had failed: SIGKILL leaves it no time for anything."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """The process has ended in good order, or by force where it would not; safe to call twice."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.returncode is None:
                process.send_signal(number)
            async with asyncio.timeout(STOP_S):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def watch_over(self) -> None:
        """Raises `EngineFailed` when the process ends without having been asked to; otherwise never returns."""
        while True:
            if self._process is not None and self._process.returncode is not None:
                raise EngineFailed(f"the engine ended by itself with code {self._process.returncode}; its log says: {self.last_words()}")
            await asyncio.sleep(0.1)

    def last_words(self) -> str:
        """Give the end of the engine's log."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return " | ".join(lines[-5:]) or "nothing"
