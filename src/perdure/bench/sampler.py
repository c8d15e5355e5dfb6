"""Where the time goes: looks at the event loop's thread a few thousand times a second.

A tracing profiler (cProfile) pays for every call it sees, which makes a step of many small functions several times dearer and blames the
smallest of them. A sampler pays for its samples only: 2,000 a second cost about one percent. What a function calls outside this package
(the interpreter's library, the encoder) counts as its own. Waits for the interpreter lock count where they happen, mostly where the
store's thread is handed something.
"""

import gc
import signal
import time
from collections import Counter
from collections.abc import Sequence
from types import FrameType
from typing import Any, Self

INTERVAL_S = 0.0005
_OURS = "perdure."
_OUTSIDE = "event loop, waiting"


class Sampler:
    """Counts samples between `start` and `stop`, as often as they are called."""

    def __init__(self) -> None:
        self.functions: Counter[tuple[str, str]] = Counter()
        self._handler_before: Any = signal.SIG_DFL
        self.wall_s = self.loop_s = self.cpu_s = 0.0
        self.collection_s = self._collection_began = 0.0

    def start(self) -> Self:
        gc.callbacks.append(self._on_collection)
        self._handler_before = signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)
        return self

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler_before)
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "stop":
            self.collection_s += now - self._collection_began
        self._collection_began = now

    def add(self, *, wall_s: float, cpu_s: float, loop_s: float) -> None:
        """The time between a `start` and its `stop`: by the clock, of the processor, and of the event loop's thread."""
        self.wall_s += wall_s
        self.cpu_s += cpu_s
        self.loop_s += loop_s

    def _look(self, _: int, frame: FrameType | None) -> None:
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            if module.startswith(_OURS):
                break
            frame = frame.f_back
        else:
            self.functions["", _OUTSIDE] += 1
            return
        if module.startswith("perdure.bench") and module != "perdure.bench.workflows":
            name = _OUTSIDE if module == "perdure.bench.child" else "the benchmark itself"
            self.functions["", name] += 1
        else:
            self.functions[module, frame.f_code.co_qualname] += 1

    def lines(self, steps: int, top: int = 40) -> Sequence[str]:
        """Give two tables: by module and by function, each with its share and its microseconds of one step."""
        per_step_us = self.wall_s / steps * 1e6
        modules: Counter[str] = Counter()
        for (module, function), count in self.functions.items():
            modules[module or function] += count
        total = self.functions.total()
        spans_us = (span_s / steps * 1e6 for span_s in (self.wall_s, self.cpu_s, self.loop_s, self.collection_s))
        wall, cpu, loop, collection = (f"{span_us:.1f} µs" for span_us in spans_us)
        head = [
            f"{steps} steps, {total} samples. One step: {wall} of wall time, {cpu} of processor time ({loop} in the event loop's thread).",
            f"Garbage collection: {collection} a step, within the functions that it came upon.",
        ]
        functions = Counter({f"{module}:{function}" if module else function: n for (module, function), n in self.functions.items()})
        return [
            *head,
            "",
            *_table("module", modules.most_common(top), total, per_step_us),
            "",
            *_table("function", functions.most_common(top), total, per_step_us),
        ]


def _table(what: str, counts: Sequence[tuple[str, int]], total: int, per_step_us: float) -> list[str]:
    lines = [f"{'share':>6}  {'µs/step':>8}  {what}"]
    for name, count in counts:
        share = count / max(total, 1)
        lines.append(f"{share:>6.1%}  {share * per_step_us:>8.2f}  {name}")
    return lines
