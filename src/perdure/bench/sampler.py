"""Where the time goes: looks at the event loop's thread up to two thousand times a second.

A tracing profiler (cProfile) pays for every call it sees, which makes a step of many small functions several times dearer and blames the
smallest of them. A sampler pays for its looks only, about one percent of the time.

Each look is worth the processor time of the thread since the one before. The interpreter is only looked at between two of its instructions,
so a long call into C is seen once, after its end, and must count in full; and time in which the thread did not run (it waited for a commit,
for the interpreter lock, for another program of the machine) is nobody's work. Garbage collections are told by the interpreter and stand
for themselves. What a function calls outside this package (the standard library, the encoder) counts as its own.
"""

import gc
import signal
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Self

INTERVAL_S = 0.0005
_OURS = "perdure."
_LOOP, _COLLECTION, _BENCH = "(event loop)", "(garbage collection)", "(the benchmark itself)"


class Sampler:
    """Adds up seconds by place between `start` and `stop`, as often as they are called."""

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.looks = 0
        self.wall_s = self.loop_s = self.cpu_s = 0.0
        self._looked = self._collected = self._collection_began = 0.0
        self._handler_before: Any = signal.SIG_DFL

    def start(self) -> Self:
        gc.callbacks.append(self._on_collection)
        self._handler_before = signal.signal(signal.SIGALRM, self._look)
        self._looked, self._collected = time.thread_time(), 0.0
        signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)
        return self

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler_before)
        gc.callbacks.remove(self._on_collection)

    def add(self, *, wall_s: float, cpu_s: float, loop_s: float) -> None:
        """The time between a `start` and its `stop`: by the clock, of the processor, and of the event loop's thread."""
        self.wall_s += wall_s
        self.cpu_s += cpu_s
        self.loop_s += loop_s

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "stop":
            self._collected += now - self._collection_began
        self._collection_began = now

    def _look(self, _: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        self.looks += 1
        self.seconds["", _COLLECTION] += self._collected
        self.seconds[_place(frame)] += max(0.0, now - self._looked - self._collected)
        self._looked, self._collected = now, 0.0

    def lines(self, steps: int, top: int = 40) -> Sequence[str]:
        """Give two tables: by module and by function, each with its share and its microseconds of one step."""
        spans_s = (self.wall_s, self.loop_s, self.cpu_s - self.loop_s, self.wall_s - self.loop_s)
        wall, loop, store, idle = (f"{span_s / steps * 1e6:.1f} µs" for span_s in spans_s)
        modules: defaultdict[str, float] = defaultdict(float)
        functions: defaultdict[str, float] = defaultdict(float)
        for (module, function), span_s in self.seconds.items():
            modules[module or function] += span_s
            functions[f"{module}:{function}" if module else function] += span_s
        return [
            f"{steps} steps, {self.looks} looks. One step by the clock: {wall}.",
            f"Processor time: {loop} of the event loop's thread (below, by place), {store} of the store's and other threads.",
            f"The event loop's thread did not run for {idle}: it waited for commits, for the interpreter lock, or for other programs.",
            "",
            *_table("module", modules, steps, top),
            "",
            *_table("function", functions, steps, top),
        ]


def _place(frame: FrameType | None) -> tuple[str, str]:
    """Give module and function of the innermost frame that is ours."""
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if module == "perdure.bench.child":
            return "", _LOOP
        if module == __name__:
            # A look that fell due during a collection comes when the interpreter tells of its end.
            return "", _COLLECTION
        if module.startswith("perdure.bench.") and module != "perdure.bench.workflows":
            return "", _BENCH
        if module.startswith(_OURS):
            return module, frame.f_code.co_qualname
        frame = frame.f_back
    return "", _LOOP


def _table(what: str, seconds: Mapping[str, float], steps: int, top: int) -> list[str]:
    total = sum(seconds.values()) or 1.0
    lines = [f"{'share':>6}  {'µs/step':>8}  {what}"]
    for name, span_s in sorted(seconds.items(), key=lambda entry: -entry[1])[:top]:
        lines.append(f"{span_s / total:>6.1%}  {span_s / steps * 1e6:>8.2f}  {name}")
    return lines
