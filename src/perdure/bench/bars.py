"""What this project asks of itself: the bars, and whether a figure meets them. Medians of one run."""

from collections.abc import Iterator, Sequence
from statistics import median

from msgspec import Struct

from perdure.bench.peers import CELERY, DBOS_POSTGRES, DBOS_SQLITE, PROCRASTINATE, RESTATE, Kind
from perdure.bench.result import Result
from perdure.bench.servers import POSTGRES, UNSLOWED

MEMORY_BAR_MB = 300
BROKER_SHARE = 0.5
SCRAPED_HOUR = 20 * 50_000
"""Twenty times what Frasty publishes of its own load."""
LOADED_BAR = 0.01
FLAT = 1.25
FLAT_FAN = 1.5
"""How much dearer a call may be at 10,000 than at 100 and still count as constant: beyond what the clock's noise does to 2 ms."""
PRICES: Sequence[str] = ("wal_bytes_per_step", "db_commits_per_step", "round_trips_per_step", "cpu_us_per_step")
CREW_PRICES: Sequence[str] = ("wal_bytes_per_step", "node_commits_per_step", "node_round_trips_per_step", "node_us_per_step")
SAME = 1.25
SYNCS_MAX = 2.25
"""As medians of what the clock says may differ."""
SYNCS_COUNTED_MAX = 2.1
"""The lease and a new file of the log are synced too, now and then."""
RATES = ("W1", "replay", "W4", "nodes", "stored", "sleepers_wake", "calls", "scrape")
"""Of these more is better; of the others less."""


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

    def times(self, workload: str, store: str, peer: str) -> float | None:
        """Give how many times better ours is than that peer's; ``None`` if either is not there."""
        ours, theirs = self.of(workload, store), self.of(workload, store, peer)
        if not ours or not theirs:
            return None
        return ours / theirs if workload.startswith(RATES) else theirs / ours


class Bar(Struct, frozen=True):
    """``is_met`` is ``None`` where it cannot be told, because what it is measured by is not there."""

    text: str
    is_met: bool | None

    @property
    def verdict(self) -> str:
        return "" if self.is_met is None else ("met" if self.is_met else "MISSED")


def bars(figures: Figures, workload: str, store: str) -> list[Bar]:
    """Give the bars that a figure is held to; none if there are none, or no figure."""
    if figures.of(workload, store) is None:
        return []
    return [*_everywhere(figures, workload, store), *_on_store(figures, workload, store)]


def _everywhere(figures: Figures, workload: str, store: str) -> Iterator[Bar]:
    ours = figures.of(workload, store) or 0.0
    match workload:
        case "W3_1000":
            first, last = (figures.setting(f"W3_{width}", store, "us_per_call") for width in (100, 10_000))
            yield Bar(f"10,000th ≤ {FLAT_FAN} of 100th", None if first is None or last is None else last <= FLAT_FAN * first)
        case "sleepers":
            yield Bar(f"{MEMORY_BAR_MB} MB", ours <= MEMORY_BAR_MB)
        case "sleepers_restart":
            loaded, runs = figures.setting(workload, store, "runs_loaded"), figures.setting(workload, store, "runs")
            yield Bar("not all loaded", None if loaded is None or runs is None else loaded <= max(1, runs * LOADED_BAR))
        case "sleepers_wake":
            yield at_most(f"peak of {MEMORY_BAR_MB} MB", figures.setting(workload, store, "rss_peak_mb"), MEMORY_BAR_MB)
        case "scrape":
            yield Bar(f"{SCRAPED_HOUR:,} runs/hour", ours >= SCRAPED_HOUR)
        case "replay":
            yield Bar("50,000 facts/s", ours >= 50_000)
        case "long_10000":
            first = figures.of("long_100", store)
            yield Bar(f"{FLAT} of the 100th", None if first is None else ours <= FLAT * first)
        case "W5M_100000" | "W5M_1000000":
            first = figures.of("W5M_10000", store)
            yield Bar(f"memory {FLAT} of that of 10,000", None if first is None else ours <= FLAT * first)
        case _:
            return


def _on_store(figures: Figures, workload: str, store: str) -> Iterator[Bar]:
    match workload, store:
        case "W1", "sqlite":
            yield _share(figures, store, 0.10)
        case "W2", "sqlite":
            yield _against(figures, workload, DBOS_SQLITE, 15, "DBOS / 15")
        case "W3_10000", "sqlite":
            yield _against(figures, workload, DBOS_SQLITE, 30, "30× DBOS")
        case _:
            if store == POSTGRES:
                yield from _on_postgres(figures, workload)


def _on_postgres(figures: Figures, workload: str) -> Iterator[Bar]:
    match workload:
        case "W1":
            yield _share(figures, POSTGRES, 0.08)
            yield _against(figures, workload, DBOS_POSTGRES, 25, "25× DBOS")
            yield _against(figures, workload, RESTATE, 5, "5× Restate")
            yield from _slowed_w1(figures)
        case "W2":
            yield _against(figures, workload, DBOS_POSTGRES, 5, "DBOS / 5")
            yield from _slowed_w2(figures)
        case "W4_put" | "W4_drain":
            yield _against(figures, workload, DBOS_POSTGRES, 5, "5× DBOS")
        case "W5":
            yield at_most("p99 late by 1 s", figures.setting(workload, POSTGRES, "late_p99_s"), 1.0)
        case "burst":
            yield at_most("100 ms", figures.of(workload, POSTGRES), 100)
        case "calls_drain":
            yield _against(figures, workload, CELERY, 2, "2× Celery")
            yield _against(figures, workload, PROCRASTINATE, 5, "5× Procrastinate")
        case "calls_rabbitmq" | "calls_nats":
            raw, ours = figures.of(workload, POSTGRES, "raw"), figures.of(workload, POSTGRES)
            yield Bar(f"{BROKER_SHARE} of the raw round trip", None if not raw or ours is None else ours / raw >= BROKER_SHARE)
        case "nodes_2" | "nodes_4":
            yield from _same(figures, workload, "nodes_1", CREW_PRICES)
        case "stored_100000" | "stored_1000000":
            yield from _same(figures, workload, "stored_1000", PRICES)
        case _:
            return


def at_most(text: str, found: float | None, limit: float) -> Bar:
    return Bar(text, None if found is None else found <= limit)


def _share(figures: Figures, store: str, share: float) -> Bar:
    ours, raw = figures.of("W1", store), figures.of("ceiling", store, "raw", "W1")
    return Bar(f"{share:.2f} of the ceiling", None if raw is None or ours is None else ours / raw >= share)


def _against(figures: Figures, workload: str, kind: Kind, wanted: float, text: str) -> Bar:
    times = figures.times(workload, kind.store, kind.label)
    return Bar(text, None if times is None else times >= wanted)


def _same(figures: Figures, workload: str, first: str, prices: Sequence[str]) -> Iterator[Bar]:
    """What a step costs is the same as in the first of its kind, within what two runs of the same differ by."""
    for name in prices:
        before, now = figures.setting(first, POSTGRES, name), figures.setting(workload, POSTGRES, name)
        times = None if before is None or now is None or not before else now / before
        found = "" if times is None else f": {times:.2f}"
        yield Bar(f"{name} ≤ {SAME} of {first}{found}", None if times is None else times <= SAME)


def _slowed_w1(figures: Figures) -> Iterator[Bar]:
    slow, quick = figures.of("W1", POSTGRES), figures.of("W1", UNSLOWED)
    if slow is not None and quick is not None:
        yield Bar(f"half of unslowed: {slow / quick:.2f}", slow / quick >= 0.5)


def _slowed_w2(figures: Figures) -> Iterator[Bar]:
    slow, quick = figures.of("W2", POSTGRES), figures.of("W2", UNSLOWED)
    if slow is None or quick is None:
        return
    raw_slow, raw_quick = (figures.of("ceiling_single", store, "raw", "W2") for store in (POSTGRES, UNSLOWED))
    if raw_slow is not None and raw_quick is not None and raw_slow > raw_quick:
        # A slowed sync costs more than it was asked to: the system's pauses are longer, and whoever waited wakes up later.
        syncs = (slow - quick) / (raw_slow - raw_quick)
        yield Bar(f"two slower raw commits more than unslowed: {syncs:.2f} ({slow - quick:.2f} ms)", syncs <= SYNCS_MAX)
    # Counted for the whole server, so told only of one that nobody else uses.
    yield at_most(f"{SYNCS_COUNTED_MAX} syncs a run", figures.setting("W2", POSTGRES, "syncs_per_step"), SYNCS_COUNTED_MAX)
