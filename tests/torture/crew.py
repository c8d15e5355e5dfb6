"""The processes of a storm: nodes that are killed, paused and started again, and the client."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.torture import children
from tests.torture.client import Orders
from tests.torture.clock import MovedClock
from tests.torture.node import Life

ROOT = Path(__file__).resolve().parents[2]
DRAIN_S = 20.0


def begin_program(module: str, argument: bytes, log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start one of our programs."""
    command = [sys.executable, "-m", module, argument.decode()]
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", **environment}
    return children.begin(command, log, cwd=ROOT, env=variables)


class Crewman:
    """One node: a name, and one process after the other."""

    def __init__(self, life: Life, folder: Path, library: Path | None) -> None:
        self._life = life
        self.log = folder / f"{life.name}.log"
        self.clock = MovedClock(folder / f"{life.name}.clock", library)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_told = True
        self.deaths: list[str] = []

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def begin(self) -> None:
        """It is on its way, unless it is there already."""
        if not self.is_up:
            self.note_death()
            self._is_told = False
            self._process = begin_program("tests.torture.node", msgspec.json.encode(self._life), self.log, self.clock.environment)

    def note_death(self) -> None:
        """A process that ended without being told to is not forgotten."""
        if self._process is not None and self._process.poll() is not None and not self._is_told:
            self.deaths.append(f"node {self._life.name} ended by itself with {self._process.returncode}; see {self.log}")
        self._is_told = True

    def send(self, number: signal.Signals) -> None:
        if self.is_up:
            assert self._process is not None
            self._process.send_signal(number)

    def kill(self) -> None:
        """Gone, as by a power cut."""
        self.note_death()
        if self._process is not None:
            children.end(self._process, signal.SIGKILL, within_s=10)

    def drain(self) -> None:
        """Told to go, and gone in time and in good order, unless it had only just been started."""
        self.note_death()
        if self.is_up:
            assert self._process is not None
            code = children.end(self._process, signal.SIGTERM, within_s=DRAIN_S)
            if code not in (0, -signal.SIGTERM):
                self.deaths.append(f"node {self._life.name} was told to drain and ended with {code}; see {self.log}")


class Customer:
    """The client's process. It has to end by itself: what it began it sees through."""

    def __init__(self, orders: Orders, folder: Path) -> None:
        self.log = folder / "client.log"
        self._process = begin_program("tests.torture.client", msgspec.json.encode(orders), self.log, {})

    def send_home(self) -> None:
        """It orders nothing new."""
        self._process.send_signal(signal.SIGTERM)

    @property
    def code(self) -> int | None:
        """How it ended, ``None`` while it has not."""
        return self._process.poll()

    def kill(self) -> None:
        children.end(self._process, signal.SIGKILL, within_s=10)
