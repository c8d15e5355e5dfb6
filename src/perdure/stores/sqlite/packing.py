"""How values go to SQLite and come back: one JSON list of short things, and beside it the bytes of all of them in one piece.

Python's sqlite3 lets go of the interpreter lock with every row that it writes or reads, and may wait 5 ms to get it back while the event
loop computes; so a statement takes and gives one row, whatever it carries.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from perdure.model.errors import TooLarge, Unsupported

_encode = msgspec.json.Encoder().encode
_BYTES_MAX: Final = 1_000_000_000
"""SQLite's limit for one value (SQLITE_MAX_LENGTH)."""

Place = tuple[int | None, int]
_NOWHERE: Final[Place] = (None, 0)


class JoinedBytes:
    """Collects the bytes of a batch, and gives each its place: (first byte counted from 1, length)."""

    def __init__(self) -> None:
        # One byte in front: SQLite takes a slice of an empty blob for null, where a payload may be empty and is not null.
        self.parts: list[bytes] = [b"\0"]
        self.next = 2

    def place(self, data: bytes | None) -> Place:
        """Give where the bytes lie from now on: the first one's number, counted from 1, and how many."""
        if data is None:
            return _NOWHERE
        at, size = self.next, len(data)
        self.parts.append(data)
        self.next = at + size
        return at, size

    def place_text(self, text: str | None) -> Place:
        # Reasons quote what the world sent. Text that has no UTF-8 form must not stop the whole batch.
        return _NOWHERE if text is None else self.place(text.encode("utf-8", "replace"))

    def joined(self) -> bytes:
        if self.next > _BYTES_MAX:
            raise TooLarge(f"A batch has {self.next} bytes; SQLite takes up to {_BYTES_MAX} at once. Commit fewer runs together.")
        return b"".join(self.parts)


def json_list(entries: list[Any]) -> str | None:
    """Give the list as SQLite's JSON functions take it, ``None`` for an empty one. Raises `Unsupported` for text that they cut off."""
    if not entries:
        return None
    try:
        encoded = _encode(entries)
    except UnicodeEncodeError as error:
        raise Unsupported(what="An id, name or tag that is not Unicode text", why=str(error)) from error
    # SQLite's JSON functions end a text at NUL, so that two different ids could become one.
    if b"\\u0000" in encoded:
        raise Unsupported(what="An id, name or tag with a NUL character", why="SQLite would cut it off there; use other ids")
    return encoded.decode()


def slices(joined: bytes | None) -> Callable[[int | None], bytes | None]:
    """Give a function that takes the next so many bytes on each call; ``None`` stays ``None``."""
    source, at = joined or b"", 0

    def take(size: int | None) -> bytes | None:
        nonlocal at
        if size is None:
            return None
        at += size
        return source[at - size : at]

    return take
