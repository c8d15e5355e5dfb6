"""The table at the end: ours, the raw ceiling, the peer, the bar, met or missed. Medians of one run, as lines of text."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from msgspec import Struct

from perdure.bench.peers import PEER_NAME
from perdure.bench.result import Result

MEMORY_BAR_MB = 300
LOADED_BAR = 0.01
FLAT = 1.25
FLAT_FAN = 1.5
"""How much dearer a call may be at 10,000 than at 100 and still count as constant: beyond what the clock's noise does to 2 ms."""


class Figures:
    """Medians over the rounds."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.results: Sequence[Result] = results

    def of(self, workload: str, store: str, peer: str = "perdure", beside: str | None = None) -> float | None:
        values = [
            result.value
            for result in self.results
            if (result.peer, result.workload, result.store) == (peer, workload, store)
            and result.value is not None
            and beside in (None, result.settings.get("beside"))
        ]
        return median(values) if values else None

    def setting(self, workload: str, store: str, name: str) -> float | None:
        values = [
            float(result.settings[name])
            for result in self.results
            if (result.peer, result.workload, result.store) == ("perdure", workload, store) and result.settings.get(name) is not None
        ]
        return median(values) if values else None

    def unit(self, workload: str) -> str:
        return next((result.unit for result in self.results if result.workload == workload and result.value is not None), "")


class Row(Struct, frozen=True):
    """One line of the table, as text."""

    workload: str
    store: str
    ours: str
    ceiling: str = ""
    of_ceiling: str = ""
    peer: str = ""
    against_peer: str = ""
    bar: str = ""
    verdict: str = ""
    more: str = ""


_HEADINGS = Row("workload", "store", "ours", "raw ceiling", "of it", "DBOS", "against it", "bar", "", "also")

# The ceiling of a workload, and how a figure of ours is laid beside it: both as things a second.
_CEILINGS: Mapping[str, tuple[str, Callable[[float, float], float]]] = {
    "W1": ("ceiling", lambda ours, raw: ours / raw),
    "W2": ("ceiling_single", lambda ours, raw: raw / ours),
    "replay": ("ceiling_read", lambda ours, raw: ours / raw),
    "long": ("ceiling_single", lambda ours, raw: raw * 1e3 / ours),
}
_RATES = ("W1", "replay")
"""Of these more is better; of the others less."""

_Bar = Callable[[Figures, str], tuple[str, bool | None]]


def rows(results: Sequence[Result]) -> list[Row]:
    """Give the lines of the table, in the order in which the workloads were first measured."""
    figures = Figures(results)
    ours = [result for result in results if result.peer == "perdure"]
    return [_row(figures, workload, store) for workload, store in dict.fromkeys((result.workload, result.store) for result in ours)]


def _row(figures: Figures, workload: str, store: str) -> Row:
    ours, unit = figures.of(workload, store), figures.unit(workload)
    if ours is None:
        return Row(workload, store, "failed", verdict="see the JSON lines")
    ceiling, of_ceiling = _ceiling(figures, workload, store, ours)
    peer = figures.of(workload, store, PEER_NAME)
    against = "" if peer is None else f"{ours / peer if workload.startswith(_RATES) else peer / ours:.1f}×"
    bar, is_met = _bar(figures, workload, store)
    verdict = "" if is_met is None else ("met" if is_met else "MISSED")
    shown = "" if peer is None else _number(peer)
    more = _beside(figures, workload, store)
    return Row(workload, store, f"{_number(ours)} {unit}", ceiling, of_ceiling, shown, against, bar, verdict, more)


def _beside(figures: Figures, workload: str, store: str) -> str:
    """Give what belongs to the figure and is not it."""
    names = {
        "W1": ("p50_ms", "p99_ms"),
        "W2": ("p99_ms",),
        "W3": ("us_per_call",),
        "W5": ("late_p50_s", "late_p99_s", "rss_peak_mb"),
        "replay": ("seconds",),
    }
    more = {"sleepers": ("runs_in_memory", "starts_s"), "sleepers_restart": ("runs_loaded", "rss_mb"), "sleepers_wake": ("rss_peak_mb",)}
    found = [
        f"{name} {_number(value)}"
        for name in {**names, **more}.get(workload if workload in more else workload.partition("_")[0], ())
        if (value := figures.setting(workload, store, name)) is not None
    ]
    return ", ".join(found)


def _ceiling(figures: Figures, workload: str, store: str, ours: float) -> tuple[str, str]:
    family = workload.partition("_")[0]
    if family == "W3":
        raw, call_us = figures.of("ceiling", store, "raw", family), figures.setting(workload, store, "us_per_call")
        return ("", "") if raw is None or call_us is None else (f"{_number(raw)} rows/s", f"{1e6 / call_us / raw:.3f}")
    name, compare = _CEILINGS.get(family, ("", lambda ours, raw: 0.0))
    raw = figures.of(name, store, "raw", family)
    return ("", "") if raw is None else (f"{_number(raw)} {figures.unit(name)}", f"{compare(ours, raw):.3f}")


def _bar(figures: Figures, workload: str, store: str) -> tuple[str, bool | None]:
    """Give the bar that a figure is held to, and whether it is met; ``None`` where there is none or it cannot be told."""
    ours, peer = figures.of(workload, store), figures.of(workload, store, PEER_NAME)
    if ours is None:
        return "", None
    match workload, store:
        case "W1", "sqlite":
            raw = figures.of("ceiling", store, "raw", "W1")
            return "0.10 of the ceiling", None if raw is None else ours / raw >= 0.10
        case "W2", "sqlite":
            return "DBOS / 15", None if peer is None else peer / ours >= 15
        case "W3_10000", "sqlite":
            return "30× DBOS", None if peer is None else peer / ours >= 30
        case "W3_1000", _:
            return _flat_fan(figures, store)
        case "sleepers", _:
            return f"{MEMORY_BAR_MB} MB", ours <= MEMORY_BAR_MB
        case "sleepers_restart", _:
            loaded, runs = figures.setting(workload, store, "runs_loaded"), figures.setting(workload, store, "runs")
            return "not all loaded", None if loaded is None or runs is None else loaded <= max(1, runs * LOADED_BAR)
        case "sleepers_wake", _:
            peak = figures.setting(workload, store, "rss_peak_mb")
            return f"peak of {MEMORY_BAR_MB} MB", None if peak is None else peak <= MEMORY_BAR_MB
        case "replay", _:
            return "50,000 facts/s", ours >= 50_000
        case "long_10000", _:
            first = figures.of("long_100", store)
            return f"{FLAT} of the 100th", None if first is None else ours <= FLAT * first
    return "", None


def _flat_fan(figures: Figures, store: str) -> tuple[str, bool | None]:
    first, last = (figures.setting(f"W3_{width}", store, "us_per_call") for width in (100, 10_000))
    return f"10,000th ≤ {FLAT_FAN} of 100th", None if first is None or last is None else last <= FLAT_FAN * first


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(results: Sequence[Result]) -> list[str]:
    """Give the table as aligned lines; below it what was skipped or failed, and why."""
    found = [tuple(getattr(row, name) for name in Row.__struct_fields__) for row in (_HEADINGS, *rows(results))]
    widths = [max(len(row[column]) for row in found) for column in range(len(found[0]))]
    used = [column for column in range(len(widths)) if any(row[column] for row in found[1:])]
    lines = ["  ".join(row[column].ljust(widths[column]) for column in used).rstrip() for row in found]
    lines.insert(1, "  ".join("─" * widths[column] for column in used))
    problems = dict.fromkeys(
        f"{result.peer} {result.workload} on {result.store}: {result.unit}: {result.settings.get('problem')}"
        for result in results
        if result.value is None
    )
    return [*lines, *([""] if problems else []), *problems]
