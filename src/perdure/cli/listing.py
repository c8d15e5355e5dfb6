"""``perdure list``: runs as a table."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from cyclopts import Parameter
from rich.cells import cell_len
from rich.text import Text

from perdure import Engine, insight
from perdure.cli.connection import Place, ask
from perdure.cli.drawing.page import STATUS_STYLES
from perdure.cli.output import Paper
from perdure.cli.rows import row_json
from perdure.cli.values import as_json
from perdure.cli.wording import age_of, short_words_of
from perdure.model.duration import instant
from perdure.model.errors import RunNotFound
from perdure.model.run import RunRow, Status

HEADINGS = ("ID", "DEFINITION", "STATUS", "AGE", "WAITS FOR")
WAITS_ROOM = 16


class Line(NamedTuple):
    """One row of the table."""

    id: str
    definition: str
    status: Status
    age: str
    waits: str


def list_runs(
    *,
    status: Annotated[Status | None, Parameter(help="Only runs of this status.")] = None,
    tag: Annotated[str | None, Parameter(help="Only runs with this tag.")] = None,
    definition: Annotated[str | None, Parameter(help="Only runs of this workflow.")] = None,
    parent: Annotated[str | None, Parameter(help="Only children of this run.")] = None,
    limit: Annotated[int, Parameter(help="At most so many.")] = 50,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")] = False,
    place: Place = Place(),  # noqa: B008 — an immutable default, as cyclopts needs it.
) -> None:
    """List runs, newest first."""

    async def work(engine: Engine) -> tuple[list[RunRow], list[Line]]:
        rows = await engine.list(status=status, tag=tag, definition=definition, parent=parent, limit=max(0, limit))
        return rows, [] if json else [await _line(engine, row) for row in rows]

    rows, lines = ask(place, work)
    paper = Paper()
    if json:
        print(as_json([row_json(row) for row in rows], indent=2))
    elif not lines:
        paper.print(["No runs."])
    else:
        paper.print(_table(lines, paper.width if paper.is_terminal else None))


async def _line(engine: Engine, row: RunRow) -> Line:
    return Line(row.id, row.definition, row.status, age_of(instant(row.created_us)), await _waits(engine, row))


async def _waits(engine: Engine, row: RunRow) -> str:
    if row.status.is_final:
        return ""
    try:
        reasons = await insight.why(engine.store, row.id)
    except RunNotFound:
        return ""
    if not reasons:
        return ""
    more = f" (+{len(reasons) - 1})" if len(reasons) > 1 else ""
    return f"{short_words_of(reasons[0])}{more}".replace("\n", " ")


def _table(lines: Sequence[Line], width: int | None) -> list[Text]:
    """Lay out the table; only the last column is ever cut, and only on a terminal."""
    widths = [max(cell_len(entry) for entry in column) for column in zip(HEADINGS, *lines, strict=True)]
    room = None if width is None else max(WAITS_ROOM, width - sum(widths[:-1]) - 2 * (len(widths) - 1))
    return [_laid_out(HEADINGS, widths, room, "bold"), *(_laid_out(line, widths, room, STATUS_STYLES[line.status]) for line in lines)]


def _laid_out(cells: Sequence[str], widths: Sequence[int], room: int | None, style: str) -> Text:
    text = Text(no_wrap=True)
    for at, cell in enumerate(cells[:-1]):
        padded = f"{cell}{' ' * (widths[at] - cell_len(cell))}  "
        text.append(padded, style if at == HEADINGS.index("STATUS") or cells is HEADINGS else None)
    last = Text(cells[-1], "bold" if cells is HEADINGS else "bright_black")
    if room is not None:
        last.truncate(room, overflow="ellipsis")
    text.append_text(last)
    text.rstrip()
    return text
