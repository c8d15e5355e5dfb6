"""``perdure actions`` and ``perdure workers``: what the registry knows."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.cells import cell_len
from rich.text import Text

from perdure import Engine, insight
from perdure.cli.connection import Place, ask
from perdure.cli.output import Paper
from perdure.cli.values import as_json
from perdure.cli.wording import age_of
from perdure.insight import ActionView, Attendance, Presence, WorkerView
from perdure.ports.system import SystemClock

_PLACE = Place()
Json = Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")]
_STYLES: Mapping[Presence, str] = {
    Presence.ALIVE: "green",
    Presence.STALE: "yellow",
    Presence.LEFT: "bright_black",
    Presence.SEEN: "bright_black",
}
ACTION_HEADINGS = ("ACTION", "VERSION", "QUEUE", "STATE", "WORKERS", "SOURCE", "LAST SEEN", "ABOUT")
WORKER_HEADINGS = ("WORKER", "STATE", "HOST", "OVER", "SLOTS", "RUNNING", "LAST SEEN", "ACTIONS")
STATE_AT: Mapping[str, int] = {"ACTION": 3, "WORKER": 1}


def actions(*, json: Json = False, place: Place = _PLACE) -> None:
    """List the actions that were ever announced: alive, stale, and where the schemas of their workers disagree."""
    views = insight.action_views(_read(place))
    if json:
        print(as_json(msgspec.to_builtins(views), indent=2))
    else:
        _print(
            ACTION_HEADINGS, [_action_cells(view) for view in views], [view.presence for view in views], "No actions were ever announced."
        )


def workers(*, json: Json = False, place: Place = _PLACE) -> None:
    """List workers: those that beat, those that fell silent, and those that left within a week."""
    views = insight.worker_views(_read(place))
    if json:
        print(as_json(msgspec.to_builtins(views), indent=2))
    else:
        _print(WORKER_HEADINGS, [_worker_cells(view) for view in views], [view.presence for view in views], "No workers were ever here.")


def _read(place: Place) -> Attendance:
    async def work(engine: Engine) -> Attendance:
        return await insight.attendance(engine.store, SystemClock().now_us())

    return ask(place, work)


def _action_cells(view: ActionView) -> Sequence[str]:
    about = "workers disagree about its schemas" if view.has_conflict else view.description
    seen = f"{age_of(view.last_seen)} ago{f' on {view.last_host}' if view.last_host else ''}"
    return view.name, str(view.version), view.queue, view.presence, str(view.workers), view.source, seen, about


def _worker_cells(view: WorkerView) -> Sequence[str]:
    seen, names = f"{age_of(view.last_seen)} ago", ", ".join(view.actions)
    return view.worker, view.presence, view.host, view.transport, str(view.slots), str(view.running), seen, names


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]], presences: Sequence[Presence], none: str) -> None:
    paper = Paper()
    if not rows:
        paper.print([none])
        return
    widths = [max(cell_len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    width = paper.width if paper.is_terminal else None
    lines = [_line(headings, widths, width, "bold", None)]
    lines += [_line(row, widths, width, _STYLES[presence], STATE_AT[headings[0]]) for row, presence in zip(rows, presences, strict=True)]
    paper.print(lines)


def _line(cells: Sequence[str], widths: Sequence[int], width: int | None, style: str, styled: int | None) -> Text:
    """One row; ``style`` is for the cell ``styled``, or for all."""
    text = Text(no_wrap=True, style="" if styled is not None else style)
    for at, cell in enumerate(cells):
        text.append(f"{cell}{' ' * (widths[at] - cell_len(cell))}  ", style if at == styled else None)
    text.rstrip()
    if width is not None:
        text.truncate(width, overflow="ellipsis")
    return text
