"""Other engines, run by a script that is handed to us: ``DIR/run PEER WORKLOAD`` prints JSON lines. Protects a benchmark from a peer that
cannot be set up here: it is named as such, and the rest goes on.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from perdure.bench.processes import run_bounded
from perdure.bench.result import Result, read_result

SETUP_LIMIT_S, RUN_LIMIT_S = 600, 240
W1_STEPS, JOBS = 10, 10_000


class Kind(msgspec.Struct, frozen=True):
    """``name``: what the scripts call it; ``label``: what the table does; ``store``: beside which of ours it is laid.

    ``needs``: what has to lie in the folder of the peers' data, where setting it up is more than the benchmark should do by itself.
    ``single``: variables for one workload, which count more than ``environment``. ``asks``: what its scripts call a workload of ours.
    """

    name: str
    label: str
    title: str
    store: str
    workloads: Sequence[str]
    environment: Mapping[str, str] = {}
    needs: Sequence[str] = ()
    single: Mapping[str, Mapping[str, str]] = {}
    asks: Mapping[str, str] = {}


DBOS_SQLITE = Kind("dbos", "dbos-sqlite", "DBOS", "sqlite", ("W1", "W2", "W3"), {"STORE": "sqlite"})
DBOS_POSTGRES = Kind("dbos", "dbos-pg", "DBOS", "postgres", ("W1", "W2", "W3", "W4", "W5"), {"STORE": "pg"})
RESTATE = Kind(
    "restate",
    "restate",
    "Restate",
    "postgres",
    ("W1", "W2", "W3", "W4", "W5"),
    # Two processes for its service: the better of the figures in the peers' README.
    {"WK": "2"},
    ("venv_restate", "npm/node_modules/@restatedev"),
    # These count what was done in memory that two processes would share without a lock, and some of it would be lost.
    {"W4": {"WK": "1"}, "W5": {"WK": "1"}},
)
PGQUEUER = Kind("pgqueuer", "pgqueuer", "PgQueuer", "postgres", ("W4",))
_QUEUED: Mapping[str, str] = {"calls": "W4"}
# One worker process each: its pool without processes, the quicker of the two for jobs that do nothing.
CELERY = Kind("celery", "celery", "Celery", "postgres", ("calls",), {"CPOOL": "solo"}, asks=_QUEUED)
PROCRASTINATE = Kind("procrastinate", "procrastinate", "Procrastinate", "postgres", ("calls",), asks=_QUEUED)
KINDS = (DBOS_SQLITE, DBOS_POSTGRES, RESTATE, PGQUEUER, CELERY, PROCRASTINATE)

_NAMES: Mapping[tuple[str, str], str] = {
    ("dbos-pg", "W4_enqueue"): "W4_put",
    ("restate", "W4_enqueue"): "W4_put",
    ("restate", "W4_total"): "W4_drain",
    ("restate", "W3_1000_fan"): "W3_1000",
    ("pgqueuer", "W4_enqueue_single"): "W4_put",
    ("pgqueuer", "W4_enqueue"): "W4_put_in_batches",
    ("celery", "W4_enqueue"): "calls_put",
    ("celery", "W4_drain"): "calls_drain",
    ("procrastinate", "W4_enqueue"): "calls_put",
    ("procrastinate", "W4_enqueue_single"): "calls_put_single",
    ("procrastinate", "W4_drain"): "calls_drain",
}
"""What the peers call what we call otherwise. Of PgQueuer's ways to put, eight tasks that put singly are like ours; a batch is not."""
_LATEST: Sequence[str] = ("all_done_after_last_start_plus_sleep", "done_after_last_send_plus_sleep")
"""W5 as we state it: from the instant at which the last sleeper was due."""


def peers_folder(asked: Path | None) -> Path | None:
    """Give the folder with the peers' scripts: the one asked for, that of ``BENCH_PEERS``, or ``../shared/bench`` if it is there."""
    named = asked or (Path(os.environ["BENCH_PEERS"]) if os.environ.get("BENCH_PEERS") else None)
    found = named or Path("../shared/bench")
    if (found / "run").is_file():
        return found.absolute()
    return found if named is not None else None


class Peer:
    """One other engine. ``environment``: its database, and what slows the disk. ``problem``: why it is skipped, once that is known."""

    def __init__(self, folder: Path, kind: Kind, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self.kind: Kind = kind
        data = os.environ.get("BENCH_DATA") or str(Path(tempfile.gettempdir()) / "perdure-bench-peers")
        self._environment = {**os.environ, "BENCH_DATA": data, **kind.environment, **(environment or {})}
        self._data = Path(data)
        self.problem: str | None = None

    def set_up(self) -> None:
        """The peer is installed, or `problem` says why it is not."""
        name = self.kind.name
        lacking = [need for need in self.kind.needs if not (self._data / need).exists()]
        if not (self._folder / "run").is_file():
            self.problem = f"{self._folder} has no script called run"
        elif lacking:
            self.problem = f"it is not set up here; BENCH_DATA={self._data} {self._folder}/setup {name} does that"
        elif not (self._data / f"venv_{name}" / "bin" / "python").exists() and (self._folder / "setup").is_file():
            self._data.mkdir(parents=True, exist_ok=True)
            self._call([str(self._folder / "setup"), name], SETUP_LIMIT_S)

    def measure(self, workload: str) -> Sequence[Result]:
        """Give the peer's figures, or one without a value that says why there is none."""
        command = [str(self._folder / "run"), self.kind.name, self.kind.asks.get(workload, workload)]
        output = "" if self.problem else self._call(command, RUN_LIMIT_S, self.kind.single.get(workload, {}))
        found = [self._in_our_terms(result) for line in output.splitlines() if (result := read_result(line)) is not None]
        if not found and self.problem is None:
            self.problem = "it printed no figures"
        return found or [Result(self.kind.label, workload, None, "skipped", {"store": self.kind.store, "problem": self.problem})]

    def _call(self, command: Sequence[str], limit_s: int, single: Mapping[str, str] | None = None) -> str:
        ended = run_bounded(command, {**self._environment, **(single or {})}, limit_s)
        if ended.code is None:
            self.problem = ended.problem(limit_s)
        elif ended.code:
            lines = [line for line in ended.errors.splitlines() if line.strip()]
            self.problem = f"{Path(command[0]).name} ended with {ended.code}: {lines[-1] if lines else 'no message'}"
        return ended.output

    def _in_our_terms(self, result: Result) -> Result:
        """W1 is stated in steps a second, W5 from when the last was due, and all by the names of workloads that they have here."""
        value, unit, settings = result.value, result.unit, result.settings
        if result.workload == "W1" and value is not None:
            value, unit = float(settings.get("steps_s", value * W1_STEPS)), "steps/s"
        if result.workload == "W5":
            value, unit = next((settings[name] for name in _LATEST if name in settings), None), "s after the last was due"
        problem = "no figure" if value is None else ""
        if unit == "failed":
            problem = str(settings.get("error", "it failed"))
        elif settings.get("done", JOBS) < JOBS:
            problem = f"{settings['done']} of {JOBS} were done in time"
        return Result(
            self.kind.label,
            _NAMES.get((self.kind.label, result.workload), result.workload),
            None if problem else value,
            "failed" if problem else unit,
            {**settings, "store": self.kind.store, **({"problem": problem} if problem else {})},
        )
