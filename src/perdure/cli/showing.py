"""``perdure show`` and ``perdure why``: one run, drawn and explained."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

from perdure import Engine, insight
from perdure.cli.connection import Place, ask
from perdure.cli.costing import Code, Wanted, print_cost
from perdure.cli.drawing.errors import described, wrapped
from perdure.cli.drawing.page import drawing_of, head_of
from perdure.cli.output import Paper
from perdure.cli.rows import reasons_json, run_json
from perdure.cli.values import as_json
from perdure.cli.wording import line_of, now, words_of
from perdure.insight import AnyReason, Entry, Timeline, TimelineFold
from perdure.model import fact as facts
from perdure.model.errors import CorruptJournal
from perdure.model.payload import EMPTY_CONTENT, Payload
from perdure.model.run import RunRow, Status

PLACE = Place()
REASONS_MAX = 12


class Seen(msgspec.Struct):
    """What was read of one run. ``problem``: why its journal could not be read to the end."""

    row: RunRow
    timeline: Timeline
    entries: list[Entry]
    reasons: list[AnyReason]
    problem: str = ""


def show(
    id: str,
    /,
    *,
    all: Annotated[bool, Parameter(negative="", show_default=False, help="Draw every call, however many there are.")] = False,
    width: Annotated[int | None, Parameter(help="Columns. Default: those of the terminal, 80 elsewhere.")] = None,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print everything that is known of the run as JSON.")] = False,
    cost: Annotated[bool, Parameter(negative="", show_default=False, help="Print its calls and their cost instead.")] = False,
    children: Annotated[bool, Parameter(negative="", show_default=False, help="With --cost: its children's too.")] = False,
    code: Code = None,
    place: Place = PLACE,
) -> None:
    """Draw the timeline of a run: its branches, calls, attempts, waits and errors on one time axis. Or tell what it has cost.

    Parameters
    ----------
    id
        The run.
    """
    if cost:
        print_cost(id, Wanted(with_children=children, as_json=json, code=tuple(code or ())), place)
        return
    seen = ask(place, lambda engine: _read(engine, id))
    if json:
        print(as_json(run_json(seen.row, seen.timeline, seen.entries, seen.reasons), indent=2))
        return
    paper = Paper()
    paper.print(_page(seen, max(40, width) if width is not None else paper.width, is_folded=not all))


async def _read(engine: Engine, id: str) -> Seen:
    run = engine.get(id)
    row = await insight.row_of(engine.store, run.id)
    seen = Seen(row, Timeline(), [], [])
    fold = TimelineFold()
    try:
        async for entry in run.journal():
            fold.take(entry)
            seen.entries.append(entry)
    except CorruptJournal as error:
        seen.problem = str(error)
    seen.timeline = fold.timeline
    seen.reasons = await insight.why(engine.store, run.id)
    return seen


def _page(seen: Seen, width: int, *, is_folded: bool) -> Iterator[Text]:
    until = seen.timeline.ended or now()
    if seen.row.status is Status.STALLED and seen.timeline.last is not None:
        until = seen.timeline.last
    yield from head_of(seen.row, seen.timeline, until, width)
    yield Text()
    drawn = list(drawing_of(seen.timeline, until, width, is_folded=is_folded))
    yield from drawn
    if drawn:
        yield Text()
    yield from _foot(seen, until, width)


def _foot(seen: Seen, until: datetime, width: int) -> Iterator[Text]:
    """How it ended, or what it waits for."""
    if seen.problem:
        yield from _labelled("unreadable", seen.problem, "red", width)
    if seen.row.state is not None:
        yield from _labelled("state", seen.row.state.decode(), "cyan", width)
    last = next((entry.fact for entry in reversed(seen.entries) if isinstance(entry.fact, _ENDS)), None)
    match last:
        case facts.RunCompleted():
            yield from _labelled("result", _payload_text(last.value), "green", width)
        case facts.RunFailed():
            yield from _labelled("failed", described(last.error), "red", width)
        case facts.RunCancelled():
            yield from _labelled("cancelled", last.reason or "no reason given", "bright_black", width)
        case _:
            yield from _waits(seen.reasons, width)


_ENDS = (facts.RunCompleted, facts.RunFailed, facts.RunCancelled)


def _payload_text(payload: Payload) -> str:
    if payload.json is not msgspec.UNSET:
        return bytes(payload.json).decode()
    if payload.codec == EMPTY_CONTENT.codec:
        return "(empty: nothing to pass on)"
    return f"({payload.size:,} bytes; perdure result prints them)"


def _labelled(label: str, text: str, style: str, width: int) -> Iterator[Text]:
    for number, line in enumerate(wrapped(text, width - len(label) - 2) or [""]):
        yield Text.assemble((label if number == 0 else " " * len(label), f"bold {style}"), "  ", line)


def _waits(reasons: Sequence[AnyReason], width: int) -> Iterator[Text]:
    label = "waits for"
    for number, reason in enumerate(reasons[:REASONS_MAX]):
        where = f"  {line_of(reason)}" if line_of(reason) else ""
        for at, line in enumerate(wrapped(f"{words_of(reason)}{where}", width - len(label) - 2)):
            yield Text.assemble((label if number == at == 0 else " " * len(label), "bold cyan"), "  ", line)
    if len(reasons) > REASONS_MAX:
        yield Text(f"{' ' * len(label)}  … and {len(reasons) - REASONS_MAX} more; perdure why tells all", "bright_black")


def why(
    id: str,
    /,
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print the typed reasons as JSON.")] = False,
    place: Place = PLACE,
) -> None:
    """Tell what an open run waits for, and the source line of each wait.

    Parameters
    ----------
    id
        The run.
    """

    async def work(engine: Engine) -> tuple[RunRow, list[AnyReason]]:
        run = engine.get(id)
        row = await insight.row_of(engine.store, run.id)
        return row, await run.why()

    row, reasons = ask(place, work)
    if json:
        print(as_json(reasons_json(reasons), indent=2))
        return
    paper = Paper()
    if not reasons:
        paper.print([f"Run {id} waits for nothing: it is {row.status}."])
        return
    paper.print([f"Run {id} ({row.definition}) is {row.status}. It waits for:"])
    paper.print(_reason_lines(reasons))


def _reason_lines(reasons: Sequence[AnyReason]) -> Iterator[Text]:
    for reason in reasons:
        yield Text.assemble("  ", words_of(reason).replace("\n", "\n  "))
        if line_of(reason):
            yield Text(f"      {line_of(reason)}", "bright_black")
