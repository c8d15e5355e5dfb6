"""Changes to one record that depend on what it holds. Protects from two that change it at once, and each loses what the other wrote."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from perdure.model.errors import StoreUnavailable
from perdure.ports.records import RecordChange, Records

TRIES_MAX: Final = 50


class Revision(Struct, frozen=True):
    """What a record is to hold. ``beside``: other records that follow from it, changed in the same write, whatever their versions."""

    value: bytes
    expires_us: int | None = None
    beside: Sequence[RecordChange] = ()


async def revise(records: Records, kind: str, key: str, change: Callable[[bytes], Revision | None]) -> bytes | None:
    """The record holds what ``change`` makes of it, or what it held where that gives ``None``; gives it, ``None`` if there is none.

    ``change`` may be asked more than once; what it raises changes nothing. Raises `StoreUnavailable`, which leaves open what was written.
    """
    for _ in range(TRIES_MAX):
        found = (await records.read(kind, [key])).get(key)
        if found is None:
            return None
        revision = change(found.value)
        if revision is None or revision.value == found.value:
            return found.value
        if not await records.write([RecordChange(kind, key, revision.value, found.version, revision.expires_us), *revision.beside]):
            return revision.value
    raise StoreUnavailable(store=f"the record {kind} {key!r}", problem="others change it all the time")
