"""``perdure show ID --cost``: what a run has cost."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
from cyclopts import Parameter

from perdure import Action, Engine, insight
from perdure.cli.connection import Place, ask
from perdure.cli.loading import load
from perdure.cli.output import Paper
from perdure.cli.values import as_json
from perdure.cli.wording import now
from perdure.insight import CostReport, Price, Timeline, TimelineFold
from perdure.insight.cost import Line
from perdure.model.ids import RunId

Code = Annotated[
    list[str] | None,
    Parameter(negative="", show_default=False, help="With --cost: a file whose actions declare their cost; may be repeated."),
]
HEADINGS = ("CALLS", "ATTEMPTS", "FAILED", "COST", "SERVICE")


class Wanted(NamedTuple):
    """What of the cost is printed, and how."""

    with_children: bool
    as_json: bool
    code: Sequence[str]


def print_cost(id: str, wanted: Wanted, place: Place) -> None:
    """Print the calls and the declared cost of a run, by action and by outside service."""
    declared = _declared(wanted.code)

    async def work(engine: Engine) -> CostReport:
        timelines = await _timelines(engine, RunId(id), with_children=wanted.with_children)
        prices = insight.prices_of([record async for record in insight.known_actions(engine.store)])
        return insight.cost_of(timelines, {**prices, **declared}, now=now())

    report = ask(place, work)
    if wanted.as_json:
        print(as_json(msgspec.to_builtins(report), indent=2))
    else:
        Paper().print(_page(id, report))


def _declared(files: Sequence[str]) -> dict[str, Price]:
    """Actions that nodes perform themselves are announced nowhere: their code says what they cost."""
    found: dict[str, Price] = {}
    for module in load(list(files)) if files else ():
        actions = [value for value in vars(module).values() if isinstance(value, Action)]
        found |= {action.spec.name: Price(action.spec.service, action.spec.cost) for action in actions}
    return found


async def _timelines(engine: Engine, id: RunId, *, with_children: bool) -> list[Timeline]:
    left, found = [id], []
    while left:
        run = left.pop(0)
        await insight.row_of(engine.store, run)
        fold = TimelineFold()
        async for entry in engine.get(run).journal():
            fold.take(entry)
        found.append(fold.timeline)
        if with_children:
            left += [step.run for step in fold.timeline.steps if step.run is not None and await engine.store.row(step.run) is not None]
    return found


def _page(id: str, report: CostReport) -> list[str]:
    runs = f"{report.runs} runs" if report.runs > 1 else "1 run"
    lines = [f"{id}: {_money(report.cost)} in {runs}; {report.outside} calls of outside services, {report.here} others"]
    for heading, found in (("ACTION", report.actions), ("OUTSIDE SERVICE", report.services)):
        if found:
            lines += ["", *_table(heading, found)]
    if report.unpriced:
        lines += ["", f"{report.unpriced} attempts at outside services have no declared cost, and are not in the sum."]
    return lines


def _table(heading: str, found: Sequence[Line]) -> list[str]:
    rows: list[tuple[str, ...]] = [(heading, *HEADINGS)]
    rows += [(line.name, str(line.calls), str(line.attempts), str(line.failed), _money(line.cost), line.service) for line in found]
    if heading != "ACTION":
        rows = [row[:-1] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _money(cost: float) -> str:
    return f"{cost:.6f}".rstrip("0").rstrip(".")
