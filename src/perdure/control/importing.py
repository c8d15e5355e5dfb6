"""Takes exported runs into a store. Protects from a run that is there twice, there in part, or there and never moved (G5, G9)."""

from collections.abc import AsyncIterable
from contextlib import AsyncExitStack
from typing import Final, assert_never

import msgspec
from msgspec import Struct, field

from perdure.control.lines import (
    AnyLine,
    BeginLine,
    BlobLine,
    EndLine,
    HeartbeatLine,
    InboxLine,
    RowLine,
    RunLine,
    TotalLine,
    Written,
    decode_line,
)
from perdure.control.vacancy import Vacancy
from perdure.engine.sharing.share import slice_of
from perdure.model.durability import Durability
from perdure.model.errors import InvalidExport, NodeIsLive, Unsupported
from perdure.model.ids import RunId
from perdure.model.message import RequestResume, encode_message
from perdure.model.payload import blobs_named
from perdure.model.run import HELD, RunRow, Transition
from perdure.ports.clock import Clock
from perdure.ports.store import Batch, Heartbeat, Hint, InboxItem, Store

RUNS_TOGETHER: Final = 500
BYTES_TOGETHER: Final = 8 * 1024 * 1024


class _Draft(Struct):
    """A run as far as it was read."""

    row: RunRow
    rows: list[Transition] = field(default_factory=list)
    inbox: list[InboxItem] = field(default_factory=list)
    beats: list[Heartbeat] = field(default_factory=list)

    def blobs(self) -> set[str]:
        texts = [*(row.facts for row in self.rows), *(item.body for item in self.inbox)]
        return {hash for text in texts for hash in blobs_named(text)}


class Import:
    """Lines of an export into a store, in batches; each run with all that belongs to it in one commit, or not at all.

    ``imported``, ``open_runs`` among them, ``skipped`` (a run of that id is there already), ``downgraded`` (the store cannot give the
    class of durability that the run had; it has the store's own), ``is_beside_node``: a node may have moved runs before all were there.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._number = 0
        self._draft: _Draft | None = None
        self._drafts: list[_Draft] = []
        self._blobs: dict[str, bytes] = {}
        self._bytes = 0
        self._seen = 0
        self._has_total = False
        self.imported = 0
        self.open_runs = 0
        self.skipped = 0
        self.downgraded = 0
        self.is_beside_node = False

    async def read(self, lines: AsyncIterable[bytes]) -> None:
        """All runs of the lines are in the store. Raises `InvalidExport`, `Unsupported`; runs that were whole by then may be there."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(Vacancy(self._store, self._clock, "import").keep())
            except NodeIsLive:
                self.is_beside_node = True
            async for text in lines:
                self._number += 1
                self._bytes += len(text)
                self._take(self._decoded(text))
                if len(self._drafts) >= RUNS_TOGETHER or self._bytes >= BYTES_TOGETHER:
                    await self._write()
            await self._write()
            if not self._has_total:
                raise self._invalid("the last line is missing: the export was cut off")

    def _invalid(self, problem: str) -> InvalidExport:
        return InvalidExport(line=self._number, problem=problem)

    def _decoded(self, text: bytes) -> AnyLine:
        try:
            line = decode_line(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._invalid(str(error)) from error
        if (self._number == 1) != isinstance(line, BeginLine):
            raise self._invalid('the first line, and no other, has the kind "export"')
        if self._has_total:
            raise self._invalid('nothing follows the line of kind "total"')
        return line

    def _take(self, line: AnyLine) -> None:
        match line:
            case BeginLine():
                pass
            case BlobLine():
                self._blobs[line.hash] = line.data.bytes()
            case RunLine():
                self._begin(line)
            case RowLine():
                self._part_of(line.run).rows.append(
                    Transition(line.run, line.number, line.at_us, line.facts.bytes(), _bytes_or_none(line.data))
                )
            case InboxLine():
                item = InboxItem(line.run, line.id, line.at_us, line.body.bytes(), _bytes_or_none(line.data))
                self._part_of(line.run).inbox.append(item)
            case HeartbeatLine():
                beat = Heartbeat(line.run, line.call, line.attempt, line.body.bytes(), _bytes_or_none(line.data))
                self._part_of(line.run).beats.append(beat)
            case EndLine():
                self._end(line)
            case TotalLine():
                self._check_total(line)
            case _:
                assert_never(line)

    def _begin(self, line: RunLine) -> None:
        if self._draft is not None:
            raise self._invalid(f"run {line.id!r} begins within run {self._draft.row.id!r}")
        if any(draft.row.id == line.id for draft in self._drafts):
            raise self._invalid(f"run {line.id!r} is there twice")
        values = {name: getattr(line, name) for name in line.__struct_fields__ if name not in ("perdure", "state", "durability")}
        row = RunRow(**values, state=_bytes_or_none(line.state), durability=self._granted(line.durability))
        row.partition = slice_of(row.id, list(range(self._store.traits.partitions)))
        if row.status.is_final:
            row.wake_us = None
        self._draft = _Draft(row)

    def _granted(self, asked: Durability | None) -> Durability | None:
        try:
            return None if asked is None else self._store.grants(asked)
        except Unsupported:
            self.downgraded += 1
            return None

    def _part_of(self, run: RunId) -> _Draft:
        if self._draft is None or self._draft.row.id != run:
            raise self._invalid(f"a part of run {run!r} lies outside it")
        return self._draft

    def _end(self, line: EndLine) -> None:
        draft = self._part_of(line.run)
        if len(draft.rows) != line.rows:
            raise self._invalid(f"run {line.run!r} has {len(draft.rows)} of {line.rows} journal rows")
        self._seen += 1
        self._draft = None
        if draft.row.wake_us == HELD:
            # Its node is not here. The message brings a node to look after it, whether one is there already or comes later; and being held
            # still tells that one that attempts which were under way are lost.
            body = encode_message(RequestResume())
            draft.inbox.append(InboxItem(line.run, f"{line.run}#import", self._clock.now_us(), body))
        self._drafts.append(draft)

    def _check_total(self, line: TotalLine) -> None:
        if self._draft is not None or line.runs != self._seen:
            raise self._invalid(f"{self._seen} of {line.runs} runs are whole")
        self._has_total = True

    async def _write(self) -> None:
        """What was read and is whole is in the store."""
        drafts, self._drafts, self._bytes = self._drafts, [], 0
        if not drafts:
            return
        batch = Batch(starts=[draft.row for draft in drafts], checked={draft.row.id for draft in drafts})
        for draft in drafts:
            batch.rows += draft.rows
            batch.posts += draft.inbox
            # Heartbeats of a run that is there already must not take the place of its own.
            if draft.beats and await self._store.row(draft.row.id) is None:
                batch.heartbeats += draft.beats
        batch.blobs = await self._needed({hash for draft in drafts for hash in draft.blobs()})
        taken = await self._store.commit(batch)
        fresh = [draft for draft in drafts if draft.row.id not in taken]
        self.imported += len(fresh)
        self.skipped += len(taken)
        self.open_runs += sum(not draft.row.status.is_final for draft in fresh)
        self._store.announce(Hint(posted=frozenset(draft.row.id for draft in fresh if draft.inbox)))

    async def _needed(self, hashes: set[str]) -> dict[str, bytes]:
        """Each blob goes down with the rows that refer to it, also one that is there already: so no pruner takes it for unused."""
        here = {hash: self._blobs.pop(hash) for hash in hashes & self._blobs.keys()}
        return here | (await self._store.blobs(hashes - here.keys()) if hashes - here.keys() else {})


def _bytes_or_none(value: Written | None) -> bytes | None:
    return None if value is None else value.bytes()
