"""Writes runs out of a store. Protects from an export that is cut off, or torn by a node that goes on meanwhile, being taken for whole."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Final

from perdure.control.lines import (
    VERSION,
    BeginLine,
    BlobLine,
    EndLine,
    Line,
    TotalLine,
    encode_line,
    heartbeat_line,
    inbox_line,
    row_line,
    run_line,
    written,
)
from perdure.control.vacancy import Vacancy
from perdure.model.ids import RunId
from perdure.model.payload import blobs_named
from perdure.model.run import RunRow, Status
from perdure.ports.clock import Clock
from perdure.ports.store import Loaded, RunQuery, Store

PAGE: Final = 200
LOADED_TOGETHER: Final = 16


class Export:
    """Runs of a store as lines, those that were started first coming first.

    Ended runs only, unless ``has_open``: then open ones too, for which no node may be live (`NodeIsLive`) and none can come meanwhile. What
    is written of an open run is a copy: one of the two stores must not be served again, or the run goes on in both. ``runs``, ``blobs``,
    ``open_runs``: what was written so far; ``left_out``: open runs that were not.
    """

    def __init__(
        self, store: Store, clock: Clock, *, status: Status | None = None, definition: str | None = None, has_open: bool = False
    ) -> None:
        self._store = store
        self._clock = clock
        self._status = status
        self._definition = definition
        self._has_open = has_open
        self._vacancy = Vacancy(store, clock, "export")
        self._blobs_seen: set[bytes] = set()
        self.runs = 0
        self.blobs = 0
        self.open_runs = 0
        self.left_out = 0

    async def lines(self) -> AsyncIterator[bytes]:
        """Give each line, with its line end. A reader needs the last one to know that it has all."""
        async with self._vacancy.keep() if self._has_open else nullcontext():
            yield _text(BeginLine(perdure=VERSION, store=self._store.name, at_us=self._clock.now_us()))
            async for loaded in self._loaded():
                async for line in self._lines_of(loaded):
                    yield _text(line)
            yield _text(TotalLine(perdure=VERSION, runs=self.runs, blobs=self.blobs))

    async def _loaded(self) -> AsyncIterator[Loaded]:
        async for rows in self._pages():
            wanted = [row.id for row in rows if self._is_wanted(row)]
            for at in range(0, len(wanted), LOADED_TOGETHER):
                if self._has_open:
                    self._vacancy.check()
                together = wanted[at : at + LOADED_TOGETHER]
                found = {loaded.row.id: loaded for loaded in await self._store.load(together)}
                for run in together:
                    if run in found:
                        yield found[run]

    async def _pages(self) -> AsyncIterator[list[RunRow]]:
        last: tuple[int, RunId] | None = None
        while rows := await self._store.find(
            RunQuery(status=self._status, definition=self._definition, after=last, is_oldest_first=True, limit=PAGE)
        ):
            yield rows
            last = (rows[-1].created_us, rows[-1].id)

    def _is_wanted(self, row: RunRow) -> bool:
        is_wanted = row.status.is_final or self._has_open
        self.left_out += not is_wanted
        return is_wanted

    async def _lines_of(self, loaded: Loaded) -> AsyncIterator[Line]:
        async for blob in self._new_blobs(loaded):
            yield blob
        yield run_line(loaded.row)
        for row in loaded.transitions:
            yield row_line(row)
        for item in loaded.inbox:
            yield inbox_line(item)
        for beat in loaded.heartbeats:
            yield heartbeat_line(beat)
        yield EndLine(perdure=VERSION, run=loaded.row.id, rows=len(loaded.transitions))
        self.runs += 1
        self.open_runs += not loaded.row.status.is_final

    async def _new_blobs(self, loaded: Loaded) -> AsyncIterator[BlobLine]:
        texts = [*(row.facts for row in loaded.transitions), *(item.body for item in loaded.inbox)]
        for hash in sorted({hash for text in texts for hash in blobs_named(text)}):
            if bytes.fromhex(hash) in self._blobs_seen:
                continue
            # One at a time: each may be as large as a payload may be.
            for data in (await self._store.blobs([hash])).values():
                self._blobs_seen.add(bytes.fromhex(hash))
                self.blobs += 1
                yield BlobLine(perdure=VERSION, hash=hash, data=written(data))


def _text(line: Line) -> bytes:
    return encode_line(line) + b"\n"
