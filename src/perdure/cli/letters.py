"""``perdure dead``: the packets that nobody could take, on the nodes' store or on a broker."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from json import dumps as to_json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from msgspec import to_builtins
from rich.text import Text

from perdure.cli.exits import CommandEnds, Exit, exit_of
from perdure.cli.output import Paper
from perdure.cli.transport import Carriage, ask_transport
from perdure.cli.wording import age_of, plain_text, plural
from perdure.control import DeadLetters, Letter
from perdure.ports.transport import Transport

T = TypeVar("T")

_CARRIAGE = Carriage()
BODY_BYTES_MAX = 4_096
HEADINGS = ("DEAD LETTER", "AGE", "BYTES", "FROM", "REASON")
Json = Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")]
All = Annotated[bool, Parameter(negative="", show_default=False, help="All that there are.")]
To = Annotated[str | None, Parameter(help="The address to put it to. Default: the one that it came from.")]


def list_all(
    *,
    limit: Annotated[int, Parameter(help="How many at most.")] = 100,
    json: Json = False,
    carriage: Carriage = _CARRIAGE,
) -> None:
    """List dead letters: where each came from, why nobody could take it, and since when. On RabbitMQ they are taken and given back."""
    if limit < 1:
        raise CommandEnds(Exit.USAGE, f"perdure dead list: --limit: found {limit}, expected at least 1")

    async def work(letters: DeadLetters) -> tuple[list[Letter], int]:
        return await letters.first(limit), await letters.count()

    found, count = _ask(carriage, work)
    if json:
        _print_json([_shown(letter) for letter in found])
        return
    paper = Paper()
    paper.print(_table([_cells(letter) for letter in found], paper.width if paper.is_terminal else None) if found else ["No dead letters."])
    if len(found) == limit < count:
        paper.print([f"{count - limit:,} more; --limit shows more of them."])


def show(
    id: str,
    /,
    *,
    output: Annotated[str | None, Parameter(help="Write the body to this file, as it is.")] = None,
    json: Json = False,
    carriage: Carriage = _CARRIAGE,
) -> None:
    """Print the headers and the beginning of the body of a dead letter. What a terminal would obey is written as an escape.

    Parameters
    ----------
    id
        The dead letter, as list shows it.
    """
    found = _ask(carriage, lambda letters: letters.find([id]))
    if output is not None:
        _write(output, found[0].packet.body)
    elif json:
        _print_json([{**_shown(letter), **_inside(letter)} for letter in found])
    else:
        Paper().print(line for letter in found for line in _page(letter))


def retry(*ids: str, all: All = False, to: To = None, carriage: Carriage = _CARRIAGE) -> Exit:
    """Put dead letters back where they came from. Each is there before it leaves here; its body is as it was, its id ends in #again1.

    Parameters
    ----------
    ids
        The dead letters, as list shows them.
    """
    _check(ids, "retry", is_all=all)
    if not all:
        for letter, address in _ask(carriage, lambda letters: letters.retry(ids, to=to)):
            print(f"{plain_text(letter.id)} is back at {plain_text(address)}.")
        return Exit.OK
    put = _ask(carriage, lambda letters: letters.retry_all(to=to))
    print(f"{plural(put.count, 'dead letter')} put back.")
    for letter, error in put.left:
        print(f"perdure: {plain_text(letter.id)} stays: {plain_text(str(error))}", file=sys.stderr)
    return exit_of(put.left[0][1]) if put.left else Exit.OK


def drop(*ids: str, all: All = False, carriage: Carriage = _CARRIAGE) -> None:
    """Delete dead letters, for good.

    Parameters
    ----------
    ids
        The dead letters, as list shows them.
    """
    _check(ids, "drop", is_all=all)
    count = _ask(carriage, lambda letters: letters.drop_all() if all else letters.drop(ids))
    print(f"{plural(count, 'dead letter')} dropped.")


def _check(ids: Sequence[str], command: str, *, is_all: bool) -> None:
    if bool(ids) == is_all:
        raise CommandEnds(Exit.USAGE, f"perdure dead {command}: name dead letters, or give --all")


def _ask(carriage: Carriage, work: Callable[[DeadLetters], Awaitable[T]]) -> T:
    async def with_transport(transport: Transport) -> T:
        return await work(DeadLetters(transport))

    return ask_transport(carriage, with_transport)


def _print_json(told: Sequence[dict[str, Any]]) -> None:
    # In ASCII: whatever a terminal might obey is an escape.
    print(to_json(to_builtins(told), indent=2))


def _shown(letter: Letter) -> dict[str, Any]:
    told: dict[str, Any] = {"id": letter.id, "origin": letter.origin, "reason": letter.reason, "died": letter.died}
    return {**told, "bytes": len(letter.packet.body), "content_type": letter.packet.content_type}


def _inside(letter: Letter) -> dict[str, Any]:
    """Give headers and body; as ``body`` where that is text, else in base64."""
    body = letter.packet.body
    try:
        told: dict[str, Any] = {"body": body.decode()}
    except UnicodeDecodeError:
        told = {"body_base64": body}
    return {"headers": letter.packet.headers, "priority": letter.packet.priority, **told}


def _cells(letter: Letter) -> tuple[str, ...]:
    age = "-" if letter.died is None else age_of(letter.died)
    return tuple(plain_text(cell) for cell in (letter.id, age, f"{len(letter.packet.body):,}", letter.origin or "-", letter.reason or "-"))


def _page(letter: Letter) -> list[str]:
    packet = letter.packet
    lines = [f"{letter.id}  ({packet.content_type}, {plural(len(packet.body), 'byte')})"]
    lines += [f"{name}: {value}" for name, value in sorted(packet.headers.items())]
    text = packet.body[:BODY_BYTES_MAX].decode("utf-8", "backslashreplace")
    if len(packet.body) > BODY_BYTES_MAX:
        text += f"\n({len(packet.body) - BODY_BYTES_MAX:,} bytes more; --output FILE writes all of them to a file)"
    return [plain_text(line) for line in [*lines, "", *text.split("\n")]]


def _table(rows: Sequence[tuple[str, ...]], room: int | None) -> list[Text]:
    widths = [max(len(cell) for cell in column) for column in zip(HEADINGS, *rows, strict=True)]
    lines = []
    for row in (HEADINGS, *rows):
        cells = (cell.rjust(width) if at == 2 else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True)))
        line = Text("  ".join(cells).rstrip(), "bold" if row is HEADINGS else "", no_wrap=True)
        if room is not None:
            line.truncate(room, overflow="ellipsis")
        lines.append(line)
    return lines


def _write(output: str, body: bytes) -> None:
    try:
        Path(output).write_bytes(body)
    except OSError as error:
        raise CommandEnds(Exit.USAGE, f"perdure: --output {output}: {error.strerror}") from error
