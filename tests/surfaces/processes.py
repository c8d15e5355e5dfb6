"""Starts the command in processes of its own and reads what they say."""

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import msgspec

PATIENCE_S = 25


class Said(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Give the output as a value."""
        return msgspec.json.decode(self.out)


class Service:
    """A process that goes on; its lines are read as they come."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []
        self._unread: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def line(self, text: str) -> str:
        """Wait for a line that has this text, and give it; each is given once, in whatever order they are asked for."""
        while True:
            found = next((line for line in self._unread if text in line), None)
            if found is not None:
                self._unread.remove(found)
                return found
            line = self._lines.get(timeout=PATIENCE_S)
            assert line is not None, f"{text!r} never came; the process said {self.said}"
            self.said.append(line)
            self._unread.append(line)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end; gives the exit code. ``said`` has every line then."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            self.said.append(line)
        return code

    def kill(self) -> None:
        """The process is gone, as by a power cut."""
        self.process.kill()
        self.process.wait(PATIENCE_S)


class Shell:
    """A folder, and commands that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._services: list[Service] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for service in self._services:
            if service.process.poll() is None:
                service.kill()
            assert service.process.stdout is not None
            service._reader.join(PATIENCE_S)
            service.process.stdout.close()

    def run(self, *arguments: str, **environment: str) -> Said:
        """Run a command to its end."""
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(environment),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Said(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode())

    def ok(self, *arguments: str, **environment: str) -> str:
        """Run a command that must succeed; gives its output without the last line end."""
        said = self.run(*arguments, **environment)
        assert said.code == 0, said
        return said.out.rstrip("\n")

    def serve(self, *arguments: str, **environment: str) -> Service:
        """Start a service; both its streams are read as one."""
        return self.begin("serve", *arguments, **environment)

    def begin(self, *arguments: str, **environment: str) -> Service:
        """Start a command and leave it running."""
        process = subprocess.Popen(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        service = Service(process)
        self._services.append(service)
        return service

    def gate(self, name: str = "gate") -> Path:
        """Make a pipe: whoever reads it waits until something is written."""
        path = self.folder / name
        os.mkfifo(path)
        return path

    def write(self, name: str, text: str) -> str:
        """Write a file of the user's; gives its name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    @staticmethod
    def _command(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-P", "-m", "perdure", *arguments]

    @staticmethod
    def _environment(changes: dict[str, str]) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("PERDURE_") and name not in {"COLUMNS", "NO_COLOR"}
        }
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", **changes}
