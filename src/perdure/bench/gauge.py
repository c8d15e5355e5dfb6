"""Reads what the process uses: cores, memory, bytes written."""

import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from perdure.bench.sampler import Sampler

MB = 1e6


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def memory_mb() -> float:
    """Give the resident memory of this process now, or its peak where the system tells no more."""
    return _status("VmRSS") or peak_mb()


def peak_mb() -> float:
    """Give the most resident memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def _status(field: str) -> float | None:
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / MB
    return None


def _written_bytes() -> int | None:
    """Give the bytes that this process has handed to ``write``: log, checkpoints and all."""
    try:
        text = Path("/proc/self/io").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("wchar:")), None)


class Gauge:
    """``with Gauge() as gauge: …``; afterwards ``wall_s`` and `use` tell what the block took. ``sampler`` looks on."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._sampler = sampler

    def __enter__(self) -> Self:
        if self._sampler is not None:
            self._sampler.start()
        self._written = _written_bytes()
        self._cpu = time.process_time()
        self._thread = time.thread_time()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall_s = time.perf_counter() - self._began
        self.cpu_s = time.process_time() - self._cpu
        self.loop_s = time.thread_time() - self._thread
        written = _written_bytes()
        self.written = None if written is None or self._written is None else written - self._written
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler.add(wall_s=self.wall_s, cpu_s=self.cpu_s, loop_s=self.loop_s)

    def use(self, steps: int) -> dict[str, Any]:
        """Give cores of the process, of these the event loop's thread; processor time and bytes written for each step."""
        return {
            "cpu_us_per_step": round(self.cpu_s / steps * 1e6, 1),
            "cores": round(self.cpu_s / self.wall_s, 2),
            "loop_cores": round(self.loop_s / self.wall_s, 2),
            "written_bytes_per_step": None if self.written is None else round(self.written / steps),
        }
