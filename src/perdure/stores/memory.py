"""The store in memory: the readable reference of the port, for tests and for runs that need not outlive the process.

connection
    None: the dictionaries of this object. Several engines may share one object; each sees the commits of the others at once.
delivery
    As the port promises, apart from durability: what is here is gone with the process.
limits
    The memory of the process. Agenda reads look at every run that waits, so keep to some ten thousand of them.
options
    ``name``, which errors call it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from msgspec import UNSET

from perdure.model.errors import Internal, LeaseLost
from perdure.model.ids import CallName, RunId
from perdure.model.run import HELD, RunChange, RunRow, Transition
from perdure.ports.store import Batch, Heartbeat, InboxItem, Loaded, Reply, RunQuery


class _Tables:
    """What is stored. Frozen values are shared; a `RunRow` is mutable, so only copies of it come in and go out."""

    def __init__(self) -> None:
        self.runs: dict[RunId, RunRow] = {}
        self.journals: dict[RunId, dict[int, Transition]] = {}
        self.blobs: dict[str, bytes] = {}
        self.inboxes: dict[RunId, dict[str, InboxItem]] = {}
        self.arrivals: dict[tuple[RunId, str], InboxItem] = {}
        self.heartbeats: dict[RunId, dict[CallName, Heartbeat]] = {}
        self.replies: dict[str, Reply] = {}

    def write(self, batch: Batch, taken: Collection[RunId]) -> None:
        """Apply a batch that was found good; nothing here may fail half way."""
        for run in batch.replaced - set(taken):
            self._delete(run)
        for row in batch.starts:
            if row.id not in taken:
                self.runs[row.id] = copy(row)
        for digest, data in batch.blobs.items():
            self.blobs.setdefault(digest, data)
        for transition in batch.rows:
            if transition.run not in taken:
                self.journals.setdefault(transition.run, {})[transition.number] = transition
        for beat in batch.heartbeats:
            self.heartbeats.setdefault(beat.run, {})[beat.call] = beat
        for change in batch.changes:
            if change.id in self.runs and change.id not in taken:
                self._change(change)
        for run, below in batch.truncated.items():
            kept = {number: row for number, row in self.journals.get(run, {}).items() if number >= below}
            self.journals[run] = kept
        self._write_messages(batch, taken)

    def _delete(self, run: RunId) -> None:
        self.runs.pop(run, None)
        self.journals.pop(run, None)
        self.heartbeats.pop(run, None)
        for id in self.inboxes.pop(run, {}):
            del self.arrivals[run, id]

    def _change(self, change: RunChange) -> None:
        row = self.runs[change.id]
        row.status, row.updated_us, row.wake_us = change.status, change.updated_us, change.wake_us
        for name in ("base", "reason", "state", "version"):
            value: Any = getattr(change, name)
            if value is not UNSET:
                setattr(row, name, value)
        if change.status.is_final:
            self.heartbeats.pop(change.id, None)

    def _write_messages(self, batch: Batch, taken: Collection[RunId]) -> None:
        for item in batch.posts_without(taken) if taken else batch.posts:
            if (item.run, item.id) not in self.arrivals:
                self.arrivals[item.run, item.id] = item
                self.inboxes.setdefault(item.run, {})[item.id] = item
        for run, id in batch.consumed:
            if self.arrivals.pop((run, id), None) is not None:
                del self.inboxes[run][id]
        for reply in batch.replies:
            self.replies.setdefault(reply.id, reply)

    def journal(self, run: RunId, first: int) -> list[Transition]:
        rows = self.journals.get(run, {})
        return [rows[number] for number in sorted(rows) if number >= first]


class MemoryStore:
    """A whole store in the memory of this process."""

    def __init__(self, name: str = "memory://") -> None:
        self._name = name
        self._tables = _Tables()
        self._epoch = 0
        self._holder: str | None = None
        self._until_us = 0

    @property
    def name(self) -> str:
        return self._name

    async def open(self) -> None:
        """Nothing to do: the store is ready."""

    async def close(self) -> None:
        """Nothing to do: what is stored stays, for the other engines that share the object and for the next `open`."""

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        self._check_fence(batch.epoch)
        known = self._tables.runs
        taken = {row.id: copy(known[row.id]) for row in batch.starts if row.id in known and not self._is_replaced(batch, row.id)}
        self._check_starts(batch, taken)
        taken = {run: copy(row) for run, row in batch.dropped(taken).items()}
        self._check_rows(batch, taken)
        self._tables.write(batch, taken)
        return taken

    def _is_replaced(self, batch: Batch, run: RunId) -> bool:
        return run in batch.replaced and run in self._tables.runs and self._tables.runs[run].status.is_final

    def _check_fence(self, epoch: int | None) -> None:
        if epoch is not None and not self._holds(epoch):
            raise LeaseLost(epoch=epoch, found=self._found())

    def _check_starts(self, batch: Batch, taken: Collection[RunId]) -> None:
        unexpected = set(taken) - batch.checked
        if unexpected or len({row.id for row in batch.starts}) < len(batch.starts):
            raise Internal(what=f"A start that cannot be in conflict is: {sorted(unexpected) or 'twice in one batch'}")

    def _check_rows(self, batch: Batch, taken: Collection[RunId]) -> None:
        seen: set[tuple[RunId, int]] = set()
        for row in batch.rows:
            if row.run in taken or self._is_replaced(batch, row.run):
                continue
            if row.number in self._tables.journals.get(row.run, ()) or (row.run, row.number) in seen:
                raise LeaseLost(epoch=batch.epoch, found=f"the journal of {row.run!r} has a row {row.number} already")
            seen.add((row.run, row.number))

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        if self._holder not in (None, node) and self._until_us >= now_us:
            return None
        self._epoch += 1
        self._holder, self._until_us = node, now_us + lease_us
        return self._epoch

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> bool:
        if not self._holds(epoch):
            return False
        self._until_us = now_us + lease_us
        return True

    async def release_lease(self, epoch: int) -> None:
        if self._holds(epoch):
            self._holder = None

    def break_lease(self) -> None:
        """The holder has died, for tests: it writes nothing more, and any node may take the lease at once."""
        self._holder = None

    def _holds(self, epoch: int) -> bool:
        return self._holder is not None and epoch == self._epoch

    def _found(self) -> str:
        return f"node {self._holder!r} has them with epoch {self._epoch}" if self._holder else "its lease was ended"

    async def row(self, run: RunId) -> RunRow | None:
        row = self._tables.runs.get(run)
        return None if row is None else copy(row)

    async def find(self, query: RunQuery) -> list[RunRow]:
        found = [row for row in self._tables.runs.values() if _answers(row, query)]
        found.sort(key=_age, reverse=True)
        return [copy(row) for row in found[: query.limit]]

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        return self._tables.journal(run, after + 1)[:limit]

    async def load(self, runs: Sequence[RunId]) -> list[Loaded]:
        return [self._load(run) for run in dict.fromkeys(runs) if run in self._tables.runs]

    def _load(self, run: RunId) -> Loaded:
        tables = self._tables
        row = copy(tables.runs[run])
        inbox, beats = tables.inboxes.get(run, {}), tables.heartbeats.get(run, {})
        return Loaded(row, tables.journal(run, row.base), list(inbox.values()), list(beats.values()))

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        known = self._tables.blobs
        return {digest: known[digest] for digest in hashes if digest in known}

    async def reply(self, id: str) -> Reply | None:
        return self._tables.replies.get(id)

    async def held(self) -> list[RunId]:
        return [row.id for row in self._tables.runs.values() if row.wake_us == HELD]

    async def due(self, now_us: int, limit: int) -> list[RunId]:
        return [run for wake_us, run in sorted(self._waits()) if wake_us <= now_us][:limit]

    async def next_wake_us(self) -> int | None:
        return min((wake_us for wake_us, _ in self._waits()), default=None)

    def _waits(self) -> Iterable[tuple[int, RunId]]:
        return ((row.wake_us, row.id) for row in self._tables.runs.values() if row.wake_us is not None and row.wake_us != HELD)

    async def addressed(self, limit: int) -> list[InboxItem]:
        return list(self._tables.arrivals.values())[:limit]

    async def has_news(self) -> bool:
        """Always yes: engines that share the object ask through it too, and a yes to one must not be a no to the next."""
        return True

    async def prune_replies(self, before_us: int) -> int:
        replies = self._tables.replies
        old = [id for id, reply in replies.items() if reply.at_us < before_us]
        for id in old:
            del replies[id]
        return len(old)


def _age(row: RunRow) -> tuple[int, RunId]:
    return row.created_us, row.id


def _answers(row: RunRow, query: RunQuery) -> bool:
    return (
        query.status in (None, row.status)
        and (query.tag is None or query.tag in row.tags)
        and query.definition in (None, row.definition)
        and query.parent in (None, row.parent)
        and (query.before is None or _age(row) < query.before)
    )
