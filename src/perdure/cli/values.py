"""Values on the command line: what goes in, JSON or plain text, and what comes out."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from perdure.cli.exits import CommandEnds, Exit
from perdure.model.payload import EMPTY


def value_of(text: str) -> Any:
    """Read an argument: JSON where it is JSON, else the text itself. A text that looks like JSON goes in quotes: ``'"5"'``."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        return text


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def values_of(texts: Sequence[str]) -> list[Any]:
    """Read positional arguments."""
    return [value_of(text) for text in texts]


def keywords_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs. Ends the command at one that is none."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise CommandEnds(Exit.USAGE, f"perdure: --arg: found {pair!r}, expected name=value, such as --arg size=60")
        if name in found:
            raise CommandEnds(Exit.USAGE, f"perdure: --arg: {name!r} is given twice")
        found[name] = value_of(text)
    return found


def as_json(value: Any, *, indent: int = 0) -> str:
    """Write a value as JSON; bytes become base64, and `EMPTY` null."""
    data = msgspec.json.encode(None if value is EMPTY else value)
    return msgspec.json.format(data, indent=indent).decode() if indent else data.decode()


def print_value(value: Any, output: str | None = None) -> None:
    """Print a result: JSON, or bytes as they are. Bytes are not written to a terminal."""
    is_bytes = isinstance(value, bytes)
    data = value if is_bytes else as_json(value, indent=2 if sys.stdout.isatty() else 0).encode() + b"\n"
    if output is not None:
        _write(output, data)
    elif is_bytes and sys.stdout.isatty():
        print(f"({len(value):,} bytes; --output FILE writes them to a file)")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _write(output: str, data: bytes) -> None:
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise CommandEnds(Exit.USAGE, f"perdure: --output {output}: {error.strerror}") from error
