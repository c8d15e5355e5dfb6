"""The processes of such a storm: nodes, workers, API servers; each is struck and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.torture import children

UNAVAILABLE = 5
ROOT = Path(__file__).resolve().parents[3]


class Member:
    """A name, and one process of the same command after the other."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, *command]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._is_told = True
        self.deaths: list[str] = []

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """How it ended, ``None`` while it has not."""
        return None if self._process is None else self._process.poll()

    def begin(self) -> None:
        """It is on its way, unless it is there already."""
        if self.is_up:
            return
        self.note_death()
        self._is_told = False
        variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **self._environment}
        self._process = children.begin(self._command, self.log, cwd=self.log.parent, env=variables)

    def begin_again(self) -> None:
        """One that found its broker away when it began has ended with the code for that; whoever supervises it begins it again."""
        if self.code == UNAVAILABLE:
            self._is_told = True
            self.begin()

    def note_death(self) -> None:
        """A process that ended without being told to is not forgotten, but for one that found its server away."""
        if not self._is_told and self.code not in (None, UNAVAILABLE):
            self.deaths.append(f"{self.name} ended by itself with {self.code}; see {self.log}")
        self._is_told = True

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_up:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Gone, as by a power cut."""
        self.note_death()
        if self._process is not None:
            children.end(self._process, signal.SIGKILL, within_s=10)
