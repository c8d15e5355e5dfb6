"""Starts `tests.crash.serving` in processes of their own and talks with them."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Server:
    """One process. Every wait is for a line of its output or for its end."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    def read(self, count: int = 1) -> list[str]:
        """Wait for so many lines of its output."""
        return [self._output.readline().decode().strip() for _ in range(count)]

    def until(self, line: str) -> None:
        """Wait for that line."""
        while (found := self.read()[0]) != line:
            assert found, f"it ended without saying {line!r}"

    def open_gate(self) -> None:
        self._input.write(b"go\n")
        self._input.flush()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def pause(self) -> None:
        """It is stopped, not merely asked to."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def wait(self) -> int:
        """Wait for its end; gives the exit code, or minus the signal."""
        return self._process.wait(30)


@contextmanager
def served(folder: Path, drain: str = "30s", *options: str) -> Iterator[Server]:
    """A server runs, and is killed in the end if it has not ended before."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, os.getcwd()]))}
    command = [sys.executable, "-m", "tests.crash.serving", str(folder), drain, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def attempts(folder: Path) -> Counter[str]:
    """Count the attempts in the ledger by idempotency key."""
    return Counter(line.split()[0] for line in (folder / "ledger").read_text().splitlines())
