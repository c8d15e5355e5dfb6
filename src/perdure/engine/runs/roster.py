"""The runs in memory. Protects memory from sleepers (idle ones are put down) and busy runs from being loaded again and again."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from perdure.engine.runs.live import LiveRun, Phase
from perdure.engine.wakes import Wakes
from perdure.model.ids import RunId
from perdure.model.run import HELD


class Roster:
    def __init__(self, wakes: Wakes, idle_max: int) -> None:
        self._wakes = wakes
        self._idle_max = idle_max
        self._runs: dict[RunId, LiveRun] = {}
        self._idle: OrderedDict[RunId, None] = OrderedDict()
        self._is_trimming = False
        self._fresh: set[RunId] = set()

    def __iter__(self) -> Iterator[LiveRun]:
        return iter(list(self._runs.values()))

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, run: RunId) -> LiveRun | None:
        return self._runs.get(run)

    def add(self, run: LiveRun) -> None:
        self._runs[run.row.id] = run

    def touch(self, run: LiveRun) -> None:
        """The run is not idle any more."""
        self._idle.pop(run.row.id, None)

    def rest(self, run: LiveRun) -> None:
        """The run only waits: it is kept for a quick wake, and the one that has waited longest goes if there are too many."""
        if run.phase is Phase.ACTIVE and run.row.wake_us == HELD:
            return
        self._idle[run.row.id] = None
        self._idle.move_to_end(run.row.id)
        if self._is_trimming:
            self._fresh.add(run.row.id)
        else:
            self._trim_soon()

    def _trim_soon(self) -> None:
        if len(self._idle) > self._idle_max:
            self._is_trimming = True
            # Whoever was just given a run speaks to it in the loop's next turn; only then may it go.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._trim)

    def _trim(self) -> None:
        fresh, self._fresh, self._is_trimming = self._fresh, set(), False
        excess = len(self._idle) - self._idle_max
        for id in [id for id in self._idle if id not in fresh][: max(0, excess)]:
            del self._idle[id]
            if self._runs[id].is_idle():
                self.put_down(self._runs[id])
        self._trim_soon()

    def put_down(self, run: LiveRun) -> None:
        """The run is out of memory; the store knows when to wake it."""
        self.forget(run)
        run.drop_mind()
        if run.row.wake_us is not None and run.row.wake_us != HELD:
            self._wakes.note_store(run.row.wake_us)

    def forget(self, run: LiveRun) -> None:
        """The run is not known here any more."""
        if self._runs.get(run.row.id) is run:
            del self._runs[run.row.id]
        self._idle.pop(run.row.id, None)
        self._wakes.set(run.row.id, None)

    def close(self) -> None:
        for run in self:
            run.drop_mind()
        self._runs.clear()
        self._idle.clear()
        self._fresh.clear()
