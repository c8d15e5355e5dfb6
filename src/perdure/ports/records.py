"""Records: small things that are neither runs nor calls, kept beside them: who is alive, tickets, tokens, sets of what was seen.

A record has a kind, a key and bytes. Promises of every store, proved by ``perdure.testing.conformance.records``:

* `write` is atomic: all of its changes are durable after it returned ``[]``; after anything else none is.
* Each change says which version it expects, so that of two who read the same version only one writes.
* A version is never given twice to one kind and key, even after a record was deleted and written again.
* ``expires_us`` is a hint to whoever tidies up: an expired record is still read until `expire` has deleted it.
"""

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from msgspec import Struct

ANY: Final = -1
"""The version of a change that does not care what is there."""
ABSENT: Final = 0
"""The version of a change that expects that there is nothing."""
_CODE_POINT_MAX: Final = 0x10FFFF
_BEFORE_SURROGATES: Final = 0xD7FF
_AFTER_SURROGATES: Final = 0xE000


class Record(Struct, frozen=True, gc=False):
    """What is kept. ``version``: at least 1, and higher after each write."""

    kind: str
    key: str
    value: bytes
    version: int
    expires_us: int | None = None


class RecordChange(Struct, frozen=True, gc=False):
    """A record to write, or to delete if ``value`` is ``None``. ``expected``: the version that was read, `ABSENT` or `ANY`."""

    kind: str
    key: str
    value: bytes | None
    expected: int = ANY
    expires_us: int | None = None


class Records(Protocol):
    async def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        """Give the records of these keys; those that are not there are left out."""
        ...

    async def scan(self, kind: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        """Give up to ``limit`` records whose key begins with ``prefix`` and is after ``after``, in the order of their keys' bytes."""
        ...

    async def write(self, changes: Sequence[RecordChange]) -> list[str]:
        """All changes are durable, or none: then gives the keys whose version was not the expected one.

        Raises `StoreUnavailable`, which leaves open whether they were written. A key is changed at most once in a call.
        """
        ...

    async def add(self, kind: str, values: dict[str, bytes], *, expires_us: int | None = None) -> dict[str, bytes]:
        """Each key has a record: its own from before, or one of this value; gives what was there before, by key.

        Raises `StoreUnavailable`, which leaves open whether they were written: asked again, what was written then is there before.
        """
        ...

    async def expire(self, now_us: int, limit: int) -> int:
        """Up to ``limit`` records whose ``expires_us`` is at or before ``now_us`` are gone; gives their number."""
        ...


PAGE: Final = 1_000


async def scan_all(records: Records, kind: str) -> list[Record]:
    """Give all records of a kind, in the order of their keys. Raises `StoreUnavailable`."""
    found: list[Record] = []
    while page := await records.scan(kind, after=found[-1].key if found else "", limit=PAGE):
        found += page
        if len(page) < PAGE:
            break
    return found


def end_of(prefix: str) -> str | None:
    """Give the first text, in the order of bytes, after all that begin with this; ``None`` if none is."""
    while prefix:
        head, last = prefix[:-1], ord(prefix[-1])
        if last < _CODE_POINT_MAX:
            # There is no text between U+D7FF and U+E000: UTF-8 has no surrogates.
            return head + chr(_AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1)
        prefix = head
    return None
