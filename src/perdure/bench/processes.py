"""Processes with an end: none outlives its limit or this program, nor does anything that it started."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Ended(NamedTuple):
    """What a process left. ``code`` is ``None`` if it had to be ended at its limit."""

    code: int | None
    output: str
    errors: str

    def problem(self, limit_s: float) -> str:
        """Say in a line why it failed."""
        if self.code is None:
            return f"no result within {limit_s:g} s"
        lines = [line for line in self.errors.splitlines() if line.strip()]
        return lines[-1] if lines else f"ended with {self.code}"


def run_bounded(command: Sequence[str], environment: Mapping[str, str], limit_s: float) -> Ended:
    """Run a command in a session of its own, which ends with it."""
    process = subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return Ended(None, *_end(process))
    except BaseException:
        _end(process)
        raise
    return Ended(process.returncode, output, errors)


def _end(process: "subprocess.Popen[str]") -> tuple[str, str]:
    # It may have started others: the whole session that was made for it ends.
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()
