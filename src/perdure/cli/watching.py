"""``perdure watch``: the facts of a run, as they happen."""

from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.text import Text

from perdure import Engine, insight
from perdure.cli.connection import Place, ask
from perdure.cli.exits import Exit
from perdure.cli.output import Paper
from perdure.cli.values import as_json
from perdure.insight import Entry
from perdure.model.run import Status

_EXITS = {Status.COMPLETED: Exit.OK, Status.FAILED: Exit.FAILED, Status.CANCELLED: Exit.CANCELLED}
_STYLES = {"Failed": "red", "Lost": "red", "Stalled": "magenta", "Completed": "green", "Cancelled": "bright_black"}
_SHORT = ("call", "action", "channel", "definition", "run", "method", "attempt", "reason", "id", "line")
_PLACE = Place()


def watch(
    id: str,
    /,
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print a JSON object on each line.")] = False,
    place: Place = _PLACE,
) -> Exit:
    """Print the facts of a run so far and then each new one, until it has ended; the exit code is that of the run.

    Parameters
    ----------
    id
        The run.
    """
    paper = Paper()

    async def work(engine: Engine) -> Exit:
        run = engine.get(id)
        async for entry in run.watch():
            if json:
                print(as_json(entry.as_json()), flush=True)
            else:
                paper.print([_line(entry)])
        row = await insight.row_of(engine.store, run.id)
        return _EXITS.get(row.status, Exit.OK)

    return ask(place, work)


def _line(entry: Entry) -> Text:
    told = entry.as_json()
    style = next((style for ending, style in _STYLES.items() if entry.name.endswith(ending)), None)
    text = Text(no_wrap=True)
    text.append(f"{entry.at:%H:%M:%S}.{entry.at.microsecond // 1000:03} ", "bright_black").append(f"{entry.number:>4} ")
    text.append(f"{entry.name:<17}", style)
    text.append("".join(f" {_told(name, told[name])}" for name in _SHORT if told.get(name) not in (None, "")))
    error = told.get("error")
    if error:
        text.append(f" {error['type'].rpartition(':')[2]}: {error.get('message', '')}", "red")
    return text


def _told(name: str, value: Any) -> str:
    match name:
        case "attempt":
            return f"attempt {value}"
        case "line":
            return f"at {value}"
        case _:
            return value if isinstance(value, str) else msgspec.json.encode(value).decode()
