"""A calendar for one process that can be moved while it runs; ``clock_shim.c`` does the work."""

import shutil
import struct
import subprocess
from pathlib import Path

HOUR_NS = 3_600_000_000_000


class NoCompiler(Exception):
    """Why no process's clock can be moved here."""


def compile_shim(folder: Path) -> Path:
    """Give the library that is to be loaded before all others; raises `NoCompiler`."""
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        raise NoCompiler("none of cc, gcc, clang is there, so no clock can jump; install one")
    library, source = folder / "clock_shim.so", Path(__file__).with_name("clock_shim.c")
    command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise NoCompiler(f"{compiler} did not compile {source}: {done.stderr}")
    return library


class MovedClock:
    """The file that says by how much."""

    def __init__(self, file: Path, library: Path | None) -> None:
        self._file = file
        self._library = library
        self.move(0)

    def move(self, ahead_ns: int) -> None:
        """The process's calendar is that far ahead of the machine's."""
        # In place: the process has mapped this very file.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", ahead_ns))

    @property
    def environment(self) -> dict[str, str]:
        """What the process has to be started with."""
        return {} if self._library is None else {"LD_PRELOAD": str(self._library), "TORTURE_CLOCK": str(self._file)}
