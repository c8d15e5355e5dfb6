"""What a run has cost: calls and attempts of each action and outside service, and the cost that was declared of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from perdure.insight.timeline import Kind, State, Step, Timeline
from perdure.model.registry import ActionRecord

BUILT_IN = "perdure."
"""Actions whose names begin so are part of the engine."""


class Price(Struct, frozen=True):
    """What was declared of an action. ``service``: the outside service that it asks, empty if none. ``cost``: of one attempt."""

    service: str = ""
    cost: float | None = None


class Line(Struct, frozen=True):
    """What one action, or one service, has cost. ``unpriced``: attempts whose cost nobody declared; ``cost`` is without them."""

    name: str
    calls: int
    attempts: int
    failed: int
    cost: float
    unpriced: int
    service: str = ""


class CostReport(Struct, frozen=True):
    """``outside``: calls of actions that ask an outside service; ``here``: all others. ``runs``: how many runs were counted."""

    runs: int
    calls: int
    attempts: int
    outside: int
    here: int
    cost: float
    unpriced: int
    actions: list[Line]
    services: list[Line]


def prices_of(records: Iterable[ActionRecord]) -> dict[str, Price]:
    """Give what the registry knows; of several versions of an action, what the newest declares."""
    newest: dict[str, ActionRecord] = {}
    for record in records:
        known = newest.get(record.name)
        if known is None or (record.version, record.last_seen_us) >= (known.version, known.last_seen_us):
            newest[record.name] = record
    return {name: Price(record.service, record.cost) for name, record in newest.items()}


def cost_of(timelines: Sequence[Timeline], prices: Mapping[str, Price], *, now: datetime) -> CostReport:
    """Give what these runs have cost together. Every attempt that began counts: a service is paid for one that failed, too."""
    steps = [step for timeline in timelines for step in timeline.steps if step.kind is Kind.ACTION and not step.name.startswith(BUILT_IN)]
    actions = _lines(steps, prices, names={step.name: step.name for step in steps}, now=now)
    services = _lines(steps, prices, names={name: price.service for name, price in prices.items() if price.service}, now=now)
    outside = sum(line.calls for line in services)
    return CostReport(
        runs=len(timelines),
        calls=len(steps),
        attempts=sum(line.attempts for line in actions),
        outside=outside,
        here=len(steps) - outside,
        cost=sum(line.cost for line in actions),
        unpriced=sum(line.unpriced for line in actions),
        actions=actions,
        services=services,
    )


def _lines(steps: Sequence[Step], prices: Mapping[str, Price], *, names: Mapping[str, str], now: datetime) -> list[Line]:
    """One line for each name; the dearest first."""
    groups: dict[str, list[Step]] = {}
    for step in steps:
        if step.name in names:
            groups.setdefault(names[step.name], []).append(step)
    lines = [_line(name, group, prices=prices, now=now) for name, group in groups.items()]
    return sorted(lines, key=lambda line: (-line.cost, -line.attempts, line.name))


def _line(name: str, steps: Sequence[Step], *, prices: Mapping[str, Price], now: datetime) -> Line:
    made = [(attempts_of(step, now), prices.get(step.name, Price())) for step in steps]
    services = {price.service for _, price in made}
    return Line(
        name=name,
        calls=len(steps),
        attempts=sum(attempts for attempts, _ in made),
        failed=sum(step.state is State.FAILED for step in steps),
        cost=sum(attempts * price.cost for attempts, price in made if price.cost is not None),
        unpriced=sum(attempts for attempts, price in made if price.cost is None and price.service),
        service=services.pop() if len(services) == 1 else "",
    )


def attempts_of(step: Step, now: datetime) -> int:
    """Tell how many attempts of a call began: one that is only due, or that never came because nobody waited any more, is none."""
    return sum(not _is_only_due(step, at, now) for at in range(len(step.tries)))


def _is_only_due(step: Step, at: int, now: datetime) -> bool:
    tried, before = step.tries[at], step.tries[at - 1] if at else None
    if before is None or before.retry is None or tried.began != before.retry:
        return False
    return tried.began > now if tried.ended is None else tried.state is State.CANCELLED and tried.ended == tried.began
