"""The table at the end: ours, the raw ceiling, the peers, the bars, met or missed. Medians of one run, as lines of text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest

from msgspec import Struct

from perdure.bench.bars import Bar, Figures, bars
from perdure.bench.peers import KINDS
from perdure.bench.result import Result


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


_HEADINGS = Row("workload", "store", "ours", "raw ceiling", "of it", "peer", "against it", "bar", "", "also")

# The ceiling of a workload, and how a figure of ours is laid beside it: both as things a second.
_CEILINGS: Mapping[str, tuple[str, Callable[[float, float], float]]] = {
    "W1": ("ceiling", lambda ours, raw: ours / raw),
    "W2": ("ceiling_single", lambda ours, raw: raw / ours),
    "replay": ("ceiling_read", lambda ours, raw: ours / raw),
    "long": ("ceiling_single", lambda ours, raw: raw * 1e3 / ours),
}
_PRICES: Sequence[str] = (
    "wal_bytes_per_step",
    "db_commits_per_step",
    "round_trips_per_step",
    "cpu_us_per_step",
    "server_us_per_step",
)
_PUT: Sequence[str] = ("p50_ms", "p99_ms")
_BESIDE: Mapping[str, Sequence[str]] = {
    "W1": ("p50_ms", "p99_ms", *_PRICES),
    "W2": ("p99_ms",),
    "W3": ("us_per_call",),
    "W4_put": _PUT,
    "W4_put_single": _PUT,
    "W4_drain": ("before_s", "rss_mb"),
    "W5": ("late_p50_s", "late_p99_s", "rss_peak_mb"),
    "W5M": ("runs", "runs_in_memory", "late_p50_s", "late_p99_s", "starts_s"),
    "burst": ("runs", "open_s", "acknowledged_ms", "first_queued_ms", "queued_begun_meanwhile"),
    "nodes": ("node_commits_per_step", "node_round_trips_per_step", "node_us_per_step", *_PRICES),
    "stored": ("stored_mb", *_PRICES),
    "bloat": ("seconds", "steps_s_first", "steps_s_last", "dead_rows", "dead_rows_per_run"),
    "calls": ("p50_ms", "p99_ms", "raw_p50_ms", "raw_p99_ms", "node_us_per_call", "worker_us_per_call"),
    "scrape": ("of_frasty", "p50_ms", "p99_ms", "cores", "server_cores", "cpu_us_per_step"),
    "replay": ("seconds",),
    "sleepers": ("runs_in_memory", "starts_s"),
    "sleepers_restart": ("runs_loaded", "rss_mb"),
    "sleepers_wake": ("rss_peak_mb",),
}
"""What belongs to a figure and is not it, by its name or the first word of that."""


def rows(results: Sequence[Result]) -> list[Row]:
    """Give the lines of the table, in the order in which the workloads were first measured."""
    figures = Figures(results)
    ours = [result for result in results if result.peer == "perdure" and result.unit != "skipped"]
    measured = dict.fromkeys((result.workload, result.store) for result in ours)
    return [row for workload, store in measured for row in _rows_of(figures, workload, store)]


def _rows_of(figures: Figures, workload: str, store: str) -> Iterator[Row]:
    """Give the line of a figure, and lines below it where there is more than one peer or bar."""
    ours, unit = figures.of(workload, store), figures.unit(workload)
    if ours is None:
        yield Row(workload, store, "failed", verdict="see the JSON lines")
        return
    ceiling, of_ceiling = _ceiling(figures, workload, store, ours)
    head = (workload, store, f"{number(ours)} {unit}", ceiling, of_ceiling)
    more = _beside(figures, workload, store)
    beside = zip_longest(_peers(figures, workload, store), bars(figures, workload, store), fillvalue=None)
    for peer, bar in list(beside) or [(None, None)]:
        yield Row(*head, *(peer or ("", "")), *_shown(bar), more)
        head, more = ("", "", "", "", ""), ""


def _shown(bar: Bar | None) -> tuple[str, str]:
    return ("", "") if bar is None else (bar.text, bar.verdict)


def _peers(figures: Figures, workload: str, store: str) -> list[tuple[str, str]]:
    """Give each peer's figure and how many times better ours is."""
    found = []
    for kind in KINDS:
        theirs, times = figures.of(workload, store, kind.label), figures.times(workload, store, kind.label)
        if theirs is not None and kind.store == store:
            found.append((f"{kind.title} {number(theirs)}", "" if times is None else f"{times:.1f}×"))
    return found


def _beside(figures: Figures, workload: str, store: str) -> str:
    names = _BESIDE.get(workload, _BESIDE.get(workload.partition("_")[0], ()))
    found = [f"{name} {number(value)}" for name in names if (value := figures.setting(workload, store, name)) is not None]
    return ", ".join(found)


def _ceiling(figures: Figures, workload: str, store: str, ours: float) -> tuple[str, str]:
    family = workload.partition("_")[0]
    if family == "W3":
        raw, call_us = figures.of("ceiling", store, "raw", family), figures.setting(workload, store, "us_per_call")
        return ("", "") if raw is None or call_us is None else (f"{number(raw)} rows/s", f"{1e6 / call_us / raw:.3f}")
    if family == "calls":
        raw = figures.of(workload, store, "raw")
        return ("", "") if raw is None else (f"{number(raw)} {figures.unit(workload)}", f"{ours / raw:.3f}")
    name, compare = _CEILINGS.get(family, ("", lambda ours, raw: 0.0))
    raw = figures.of(name, store, "raw", family)
    return ("", "") if raw is None else (f"{number(raw)} {figures.unit(name)}", f"{compare(ours, raw):.3f}")


def number(value: float) -> str:
    """Give a figure with as many digits as it deserves."""
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
