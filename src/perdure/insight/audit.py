"""The auditor: reads a store and tells what cannot be, had every promise been kept. Beside live nodes too; nothing is written.

Each run is read as of one commit, so what is found of it was really so. Memory is bounded by the largest run.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from perdure.insight.rules import Fault, Rule, children_awaited, faults_of
from perdure.model.errors import CorruptJournal
from perdure.model.fact import decode_facts
from perdure.model.ids import RunId
from perdure.model.message import decode_message
from perdure.model.payload import Payload, payloads_in
from perdure.ports.store import Loaded, Reader, RunQuery

PAGE: Final = 200
LOADED_TOGETHER: Final = 16


class Audit:
    """``runs``: how many were looked at so far."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.runs = 0

    async def faults(self) -> AsyncIterator[Fault]:
        """Give what is wrong with any run, those that were started first coming first."""
        last: tuple[int, RunId] | None = None
        while rows := await self._reader.find(RunQuery(after=last, is_oldest_first=True, limit=PAGE)):
            for at in range(0, len(rows), LOADED_TOGETHER):
                for loaded in await self._reader.load([row.id for row in rows[at : at + LOADED_TOGETHER]]):
                    self.runs += 1
                    for fault in await self._faults_of(loaded):
                        yield fault
            last = (rows[-1].created_us, rows[-1].id)

    async def _faults_of(self, loaded: Loaded) -> list[Fault]:
        return [*faults_of(loaded), *await self._untold(loaded), *await self._missing_blobs(loaded)]

    async def _untold(self, loaded: Loaded) -> list[Fault]:
        """Nobody is left who would tell the run of the end of a child."""
        return [fault for child in children_awaited(loaded) for fault in await self._untold_of(loaded.row.id, child)]

    async def _untold_of(self, run: RunId, child: RunId) -> Sequence[Fault]:
        row = await self._reader.row(child)
        if row is not None and not row.status.is_final:
            return ()
        # A child's end and the message of it are one commit: read after the child, the run must have it.
        again = await self._reader.load([run])
        if not any(child in children_awaited(loaded) for loaded in again):
            return ()
        problem = "is not there" if row is None else f"is {row.status.value}"
        return (Fault(run, Rule.SILENT, f"it waits for its child {child!r}, which {problem}, and no message of that is there"),)

    async def _missing_blobs(self, loaded: Loaded) -> list[Fault]:
        faults: list[Fault] = []
        for hash in sorted({payload.blob for payload in _payloads(loaded) if payload.blob}):
            # One at a time: each may be as large as a payload may be.
            if not await self._reader.blobs([hash]):
                faults.append(Fault(loaded.row.id, Rule.BLOB, f"the value {hash[:12]}… that it refers to is not there"))
        return faults


def _payloads(loaded: Loaded) -> list[Payload]:
    found: list[Payload] = []
    for text, read in [
        *((row.facts, decode_facts) for row in loaded.transitions),
        *((item.body, decode_message) for item in loaded.inbox),
    ]:
        if b'"blob"' in text:
            try:
                found += payloads_in(read(text))
            except CorruptJournal:
                continue  # Told by the rules already.
    return found
