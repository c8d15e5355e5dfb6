"""Other engines, run by a script that is handed to us: ``DIR/run PEER WORKLOAD`` prints JSON lines. Protects a benchmark from a peer that
cannot be set up here: it is named as such, and the rest goes on.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from perdure.bench.result import Result, read_result

PEER = "dbos"
PEER_NAME = "dbos-sqlite"
WORKLOADS = ("W1", "W2", "W3")
SETUP_LIMIT_S, RUN_LIMIT_S = 600, 240
W1_STEPS = 10


def peers_folder(asked: Path | None) -> Path | None:
    """Give the folder with the peers' scripts: the one asked for, that of ``BENCH_PEERS``, or ``../shared/bench`` if it is there."""
    named = asked or (Path(os.environ["BENCH_PEERS"]) if os.environ.get("BENCH_PEERS") else None)
    found = named or Path("../shared/bench")
    if (found / "run").is_file():
        return found.absolute()
    return found if named is not None else None


class Peer:
    """One other engine on SQLite. ``environment``: what slows the disk, for both. ``problem``: why it is skipped, once that is known."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        data = os.environ.get("BENCH_DATA") or str(Path(tempfile.gettempdir()) / "perdure-bench-peers")
        self._environment = {**os.environ, "BENCH_DATA": data, "STORE": "sqlite", **(environment or {})}
        self._data = Path(data)
        self.problem: str | None = None

    def set_up(self) -> None:
        """The peer is installed, or `problem` says why it is not."""
        if not (self._folder / "run").is_file():
            self.problem = f"{self._folder} has no script called run"
        elif not (self._data / f"venv_{PEER}").is_dir() and (self._folder / "setup").is_file():
            self._data.mkdir(parents=True, exist_ok=True)
            self._call([str(self._folder / "setup"), PEER], SETUP_LIMIT_S)

    def measure(self, workload: str) -> Sequence[Result]:
        """Give the peer's figures, or one without a value that says why there is none."""
        output = "" if self.problem else self._call([str(self._folder / "run"), PEER, workload], RUN_LIMIT_S)
        found = [_in_our_units(result) for line in output.splitlines() if (result := read_result(line)) is not None]
        if not found and self.problem is None:
            self.problem = "it printed no figures"
        return found or [Result(PEER_NAME, workload, None, "skipped", {"store": "sqlite", "problem": self.problem})]

    def _call(self, command: Sequence[str], limit_s: int) -> str:
        process = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            output, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            _end(process)
            self.problem = f"no result within {limit_s} s"
            return ""
        except BaseException:
            _end(process)
            raise
        if process.returncode:
            lines = [line for line in errors.splitlines() if line.strip()]
            self.problem = f"{Path(command[0]).name} ended with {process.returncode}: {lines[-1] if lines else 'no message'}"
        return output


def _end(process: "subprocess.Popen[str]") -> None:
    # The script starts others: the whole session that was made for it ends.
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _in_our_units(result: Result) -> Result:
    """W1 is stated in steps a second, and SQLite by the name that it has here."""
    settings: Mapping[str, object] = result.settings
    value, unit = result.value, result.unit
    if result.workload == "W1" and value is not None:
        value, unit = float(result.settings.get("steps_s", value * W1_STEPS)), "steps/s"
    return msgspec.structs.replace(result, value=value, unit=unit, settings={**settings, "store": "sqlite"})
