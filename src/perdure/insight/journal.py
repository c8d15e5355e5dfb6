"""What the journal of a run says, and its row."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from perdure.model import fact as facts
from perdure.model.duration import instant
from perdure.model.errors import CorruptJournal, RunNotFound
from perdure.model.fact import AnyFact, as_json, decode_facts
from perdure.model.ids import RunId
from perdure.model.payload import Content, Payload, content_of
from perdure.model.run import RunRow
from perdure.ports.store import Reader

PAGE = 500


class Entry(Struct, frozen=True):
    """One fact of a journal: ``number`` of its row (facts of one transition share it), the instant of the transition, the fact."""

    number: int
    at: datetime
    fact: AnyFact
    data: bytes | None = None

    @property
    def name(self) -> str:
        """What happened, such as ``ActionCompleted``."""
        return type(self.fact).__name__

    def as_json(self) -> dict[str, Any]:
        """Give the entry as plain JSON values."""
        return {"number": self.number, "at": self.at.isoformat(), **as_json(self.fact)}


async def entries(reader: Reader, run: RunId, after: int = 0) -> AsyncIterator[Entry]:
    """Give the journal's facts, oldest first, from the row after ``after`` on. Raises `CorruptJournal` at a row that cannot be read."""
    while page := await reader.transitions(run, after, PAGE):
        for row in page:
            for fact in decode_facts(row.facts):
                yield Entry(row.number, instant(row.at_us), fact, row.data)
        after = page[-1].number


async def standing_entries(reader: Reader, run: RunId, after: int = 0) -> AsyncIterator[Entry]:
    """Give the facts that count: not those of a row whose place the row after it takes, as when a run is reopened."""
    held: list[Entry] = []
    async for entry in entries(reader, run, after):
        if held and entry.number != held[-1].number:
            if type(entry.fact) is not facts.RunReopened:
                for fact in held:
                    yield fact
            held = []
        held.append(entry)
    for fact in held:
        yield fact


async def row_of(reader: Reader, run: RunId) -> RunRow:
    """Give the run's row; raises `RunNotFound`."""
    row = await reader.row(run)
    if row is None:
        raise RunNotFound(run=run)
    return row


async def last_word(reader: Reader, run: RunId) -> tuple[facts.RunCompleted | facts.RunFailed | facts.RunCancelled, bytes | None]:
    """Give the fact that ended a run, and what lies beside its row. Raises `CorruptJournal` if an ended run's journal has none."""
    row = await row_of(reader, run)
    found = None
    async for entry in entries(reader, run, row.base - 1):
        if isinstance(entry.fact, facts.RunCompleted | facts.RunFailed | facts.RunCancelled):
            found = (entry.fact, entry.data)
    if found is None:
        raise CorruptJournal(what=f"run {run!r} is {row.status}, but its journal does not say how it ended")
    return found


async def content(reader: Reader, payload: Payload, data: bytes | None) -> Content:
    """Give a payload's content, fetching its blob if it has one."""
    blobs = await reader.blobs([payload.blob]) if payload.blob else {}
    return content_of(payload, data, blobs)
