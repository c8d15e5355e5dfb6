"""What is known of the runs, folded from their journals (what is recorded) and from the ledger (which attempts have begun).

A *life* is the time between two starts of the engine; the first is 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path

from perdure import Run
from perdure.insight import Entry
from perdure.model import fact as facts
from perdure.model.ids import CallName, RunId, split_call_key


class Stage(Enum):
    """Where a branch is."""

    WAITING = "waiting"
    CROPPED = "cropped"
    RUNNING = "running"
    CUT = "cut off by the kill"
    KEPT = "kept"
    AGAIN = "made again"
    DONE = "done"


class Call:
    """One call: the lives in which attempts of it began, and the one in which its outcome was recorded."""

    def __init__(self, action: str = "") -> None:
        self.action = action
        self.begun: list[int] = []
        self.recorded: int | None = None
        self.blob = ""
        self.blob_bytes = 0

    @property
    def was_made_again(self) -> bool:
        """Tell whether an attempt began in a life that ended before the outcome was recorded."""
        return self.recorded is not None and any(life < self.recorded for life in self.begun)

    @property
    def was_recomputed(self) -> bool:
        """Tell whether it was attempted after its outcome was recorded: what must never happen."""
        return self.recorded is not None and any(life > self.recorded for life in self.begun)


class Progress:
    """One run and its calls by name. ``life`` is the present one."""

    def __init__(self, run: Run[list[str]], title: str, sizes: Sequence[int]) -> None:
        self.run = run
        self.title = title
        self.sizes = sizes
        self.life = 0
        self.is_final = False
        self.calls: dict[CallName, Call] = {}
        self._branches: dict[str, list[Call]] = {}

    def apply(self, entry: Entry) -> None:
        """Learn from a fact; the same fact may come again."""
        match entry.fact:
            case facts.ActionScheduled(call=name, action=action, args=args):
                call = self._call(name)
                call.action = action
                call.blob, call.blob_bytes = (args[0].blob, args[0].size) if args else ("", 0)
            case facts.ActionCompleted(call=name) | facts.ActionFailed(call=name):
                call = self._call(name)
                call.recorded = self.life if call.recorded is None else call.recorded
            case facts.RunCompleted() | facts.RunFailed() | facts.RunCancelled():
                self.is_final = True
            case _:
                pass

    def note_attempt(self, name: CallName, life: int) -> None:
        """Learn that an attempt began."""
        self._call(name).begun.append(life)

    def _call(self, name: CallName) -> Call:
        if name not in self.calls:
            self.calls[name] = Call()
            branch = name.rpartition("/")[0]
            if branch:
                self._branches.setdefault(branch, []).append(self.calls[name])
        return self.calls[name]

    def stages(self, *, is_dead: bool = False) -> list[Stage]:
        """Give the stage of each branch, in the order of the sizes. ``is_dead``: no engine runs at the moment."""
        known = [self._branches[path] for path in sorted(self._branches, key=_order)]
        stages = [self._stage(calls, is_dead=is_dead) for calls in known]
        return stages + [Stage.WAITING] * (len(self.sizes) - len(stages))

    def _stage(self, calls: Sequence[Call], *, is_dead: bool) -> Stage:
        last = calls[-1]
        if last.action == "upload" and last.recorded is not None:
            if last.recorded < self.life:
                return Stage.KEPT
            return Stage.AGAIN if any(call.was_made_again for call in calls) else Stage.DONE
        open_call = next((call for call in calls if call.recorded is None), None)
        if open_call is None or not open_call.begun:
            return Stage.CROPPED if calls[0].recorded is not None else Stage.WAITING
        return Stage.CUT if is_dead or open_call.begun[-1] < self.life else Stage.RUNNING

    @property
    def done(self) -> int:
        """Branches that have their outcome."""
        return sum(stage in (Stage.KEPT, Stage.AGAIN, Stage.DONE) for stage in self.stages())


def _order(path: str) -> tuple[int, ...]:
    return tuple(int(part) for part in path.split(".") if part.isdigit())


class Ledger:
    """The file in which the engine's processes note every attempt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0

    def news(self) -> Iterator[tuple[int, RunId, CallName]]:
        """Give process, run and call of each attempt noted since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            # A line is whole or it is left for the next time.
            text, end, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(text) + len(end)
        for line in text.decode().splitlines():
            process, _, key, _ = line.split("\t")
            parts = split_call_key(key)
            if parts is not None:
                yield int(process), parts[0], parts[2]


def calls_of(board: Iterable[Progress]) -> list[Call]:
    """Give all calls of all runs."""
    return [call for progress in board for call in progress.calls.values()]
