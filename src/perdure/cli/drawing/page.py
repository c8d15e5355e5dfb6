"""The whole picture of a run: head, axis, a row for each step, and how it ended or what it waits for."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from rich.text import Text

from perdure.cli.drawing.axis import Axis
from perdure.cli.drawing.bars import STYLES, bar_of
from perdure.cli.drawing.errors import notes_of, wrapped
from perdure.cli.drawing.tree import Row, rows_of
from perdure.cli.wording import plural, span_between
from perdure.insight import Kind, State, Step, Timeline
from perdure.model.duration import instant_us
from perdure.model.run import RunRow, Status

STATUS_STYLES: Mapping[Status, str] = {
    Status.COMPLETED: "bold green",
    Status.FAILED: "bold red",
    Status.CANCELLED: "bold bright_black",
    Status.STALLED: "bold magenta",
    Status.RUNNING: "bold yellow",
    Status.WAITING: "bold cyan",
}
LINE_FROM_WIDTH = 76
NAME_SHARE = 0.36
FACTS_TOLD_FROM = 1_000
BAR_MIN = 12
ASCII = str.maketrans(
    {"━": "=", "╌": "-", "┈": ".", "·": ".", "✗": "x", "○": "o", "▶": ">", "•": "*", "│": "|", "├": "+", "╷": "|"}
) | str.maketrans({"⋮": ":", "…": "~", "×": "x", "≈": "~", "–": "-", "→": ">", "─": "-"})


class Columns(Struct, frozen=True):
    """Widths. ``line`` is 0 where there is no room for source lines."""

    name: int
    bar: int
    took: int
    tries: int
    line: int


def head_of(row: RunRow, timeline: Timeline, until: datetime, width: int) -> Iterator[Text]:
    """Name the run, where it stands, and its counts."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(row.id, "bold").append("  ").append(row.definition)
    if row.version != 1:
        text.append(f" version {row.version}")
    text.append("  ").append(row.status.value, STATUS_STYLES[row.status])
    if timeline.began is not None:
        text.append(f" {'in' if row.status.is_final else 'for'} {span_between(timeline.began, timeline.ended or until)}")
    for tag in row.tags:
        text.append(f"  #{tag}", "cyan")
    yield text
    if timeline.began is not None:
        yield from (Text(line, "bright_black") for line in _filled([*_counts(timeline), *_family(row)], width))


def _filled(parts: Sequence[str], width: int) -> Iterator[str]:
    """Join the parts into lines, breaking between them only."""
    line = ""
    for part in parts:
        longer = f"{line} · {part}" if line else part
        if line and len(longer) > width:
            yield line
            longer = part
        line = longer
    yield line


def _family(row: RunRow) -> Iterator[str]:
    if row.parent is not None:
        yield f"child of {row.parent}"
    if row.base > 1:
        yield "continued as new: this is its latest journal"


def _counts(timeline: Timeline) -> Iterator[str]:
    assert timeline.began is not None
    yield f"began {timeline.began:%Y-%m-%d %H:%M:%S} UTC"
    actions = [step for step in timeline.steps if step.kind is Kind.ACTION]
    retries = sum(len(step.tries) - 1 for step in actions)
    yield plural(len(actions), "call")
    if retries:
        yield plural(retries, "retry", "retries")
    for kind, name in ((Kind.TIMER, "timer"), (Kind.SIGNAL, "signal"), (Kind.CHILD, "child"), (Kind.UPDATE, "update")):
        count = sum(step.kind is kind for step in timeline.steps)
        if count:
            yield plural(count, name, "children" if kind is Kind.CHILD else None)
    if timeline.facts >= FACTS_TOLD_FROM:
        yield plural(timeline.facts, "fact")


def drawing_of(timeline: Timeline, until: datetime, width: int, *, is_folded: bool = True) -> Iterator[Text]:
    """Draw the axis and the steps in ``width`` columns."""
    rows = rows_of(timeline.steps, is_folded=is_folded)
    if not rows:
        return
    columns = _columns(rows, until, width)
    axis = Axis(_instants(timeline, until), columns.bar)
    yield Text(f"{'':{columns.name}} {axis.labels()}", "bright_black", no_wrap=True)
    for row in rows:
        yield from _drawn(row, columns, axis, until, width)


def _instants(timeline: Timeline, until: datetime) -> Iterator[int]:
    """Everything that the axis must keep apart."""
    for step in timeline.steps:
        yield instant_us(step.began)
        if step.ended is not None:
            yield instant_us(step.ended)
        for tried in step.tries:
            if tried.began <= until:
                yield instant_us(tried.began)
            if tried.ended is not None:
                yield instant_us(tried.ended)
    yield from (instant_us(mark.at) for mark in timeline.marks)
    if timeline.began is not None:
        yield instant_us(timeline.began)
    yield max(instant_us(timeline.ended or until), instant_us(timeline.last or until))


def _columns(rows: Sequence[Row], until: datetime, width: int) -> Columns:
    steps = [row.step for row in rows if row.step is not None]
    names = [len(f"{row.prefix}{row.step.call} {label_of(row.step)}") for row in rows if row.step is not None]
    lines = [len(short_line(step)) for step in steps]
    took = max((len(_took(step, until)) for step in steps), default=4)
    tries = max((len(_tries(step)) for step in steps), default=0)
    line = min(max(lines, default=0), max(12, width // 5)) if width >= LINE_FROM_WIDTH else 0
    name = min(max(names, default=4), int(width * NAME_SHARE))
    bar = width - name - 1 - (took + 1) - (tries + 1 if tries else 0) - (line + 2 if line else 0)
    return Columns(name, max(BAR_MIN, bar), took, tries, line)


def _drawn(row: Row, columns: Columns, axis: Axis, until: datetime, width: int) -> Iterator[Text]:
    if row.step is None:
        yield Text(f"{row.prefix}{row.text}", "bright_black", no_wrap=True, overflow="ellipsis")
        return
    step = row.step
    text = Text(no_wrap=True, overflow="crop")
    text.append_text(_name(row.prefix, step, columns.name)).append(" ")
    text.append_text(bar_of(step, axis, until)).append(" ")
    text.append(f"{_took(step, until):>{columns.took}}")
    if columns.tries:
        text.append(f" {_tries(step):<{columns.tries}}", "yellow")
    if columns.line:
        text.append(f"  {_elided(short_line(step), columns.line)}", "bright_black")
    text.rstrip()
    yield text
    yield from _notes(row.prefix, step, width)


def _name(prefix: str, step: Step, width: int) -> Text:
    text = Text(no_wrap=True)
    text.append(prefix, "bright_black").append(f"{step.call} ", "bright_black")
    text.append(label_of(step), STYLES[step.state] if step.state in (State.FAILED, State.OUTSIDE) else None)
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def _notes(prefix: str, step: Step, width: int) -> Iterator[Text]:
    indent = prefix.replace("├", "│") + " " * (len(step.call) + 1)
    for note, style in notes_of(step):
        for line in wrapped(note, width - len(indent)):
            yield Text.assemble((indent, "bright_black"), (line, style), no_wrap=True)


def label_of(step: Step) -> str:
    """Name a step in a few words."""
    match step.kind:
        case Kind.TIMER:
            return f"timer {span_between(step.began, step.due)}" if step.due else "timer"
        case Kind.SIGNAL:
            return f"signal {step.name}"
        case Kind.CHILD:
            return f"{'detached run' if step.is_detached else 'run'} {step.name}"
        case Kind.UPDATE:
            return f"update {step.name}"
        case _:
            return step.name


def short_line(step: Step) -> str:
    """Give the source line without the folder."""
    return step.line.rpartition("/")[2]


def _took(step: Step, until: datetime) -> str:
    if step.kind is Kind.RECORD or (step.kind is Kind.CHILD and step.is_detached):
        return ""
    if step.ended is not None:
        return span_between(step.began, step.ended)
    return f"{span_between(step.began, until)}…"


def _tries(step: Step) -> str:
    return f"×{len(step.tries)}" if len(step.tries) > 1 else ""


def _elided(text: str, width: int) -> str:
    """The end of a source line tells more than its beginning."""
    return text if len(text) <= width else f"…{text[1 - width :]}"
