"""Processes that die with the one that started them. Protects the machine from what a killed test would leave running."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.torture.binaries import Owner

_PR_SET_PDEATHSIG = 1


def begin(command: Sequence[str | Path], log: Path, *, owner: Owner | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """Start a program whose words go to the end of ``log``. It is killed when the thread that called this ends without ending it."""
    whose = {} if owner is None else {"user": owner.uid, "group": owner.gid, "extra_groups": []}
    # A postmaster that is killed would leave its children: it is told to crash instead.
    leash = _leash(signal.SIGQUIT if owner is not None else signal.SIGKILL)
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            preexec_fn=leash,  # noqa: PLW1509  # Nothing here has threads when it starts a process.
            **whose,
            **options,
        )


def _leash(number: signal.Signals) -> Callable[[], None]:
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, number)


def run(command: Sequence[str | Path], *, owner: Owner | None = None, within_s: float = 60) -> str:
    """Run a program to its end; gives what it printed, and fails with that if it failed."""
    whose = {} if owner is None else {"user": owner.uid, "group": owner.gid, "extra_groups": []}
    done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False, stdin=subprocess.DEVNULL, **whose)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def is_alive(process: int) -> bool:
    """Tell whether there is such a process, one that has ended and is not buried excepted."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        # Where there is no /proc, whoever adopts the dead buries them.
        return sys.platform != "linux" and _takes_signals(process)
    return state != "Z"


def _takes_signals(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def end(process: subprocess.Popen[bytes], number: signal.Signals, *, within_s: float) -> int:
    """Send the signal and wait for the end; a process that does not obey in time is killed. Gives its exit code."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(10)
