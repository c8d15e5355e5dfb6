"""What the store in memory holds, and how a batch changes it."""

from collections.abc import Collection
from copy import copy
from typing import Any

from msgspec import UNSET

from perdure.model.ids import CallName, RunId
from perdure.model.run import RunChange, RunRow, Transition
from perdure.ports.store import Batch, BlobUse, Heartbeat, InboxItem, Reply, uses_of


class Tables:
    """What is stored. Frozen values are shared; a `RunRow` is mutable, so only copies of it come in and go out."""

    def __init__(self) -> None:
        self.runs: dict[RunId, RunRow] = {}
        self.journals: dict[RunId, dict[int, Transition]] = {}
        self.blobs: dict[str, bytes] = {}
        self.inboxes: dict[RunId, dict[str, InboxItem]] = {}
        self.arrivals: dict[tuple[RunId, str], InboxItem] = {}
        self.heartbeats: dict[RunId, dict[CallName, Heartbeat]] = {}
        self.replies: dict[str, Reply] = {}
        self.uses: set[BlobUse] = set()

    def write(self, batch: Batch, taken: Collection[RunId]) -> None:
        """Apply a batch that was found good; nothing here may fail half way."""
        for run in batch.replaced - set(taken):
            self.delete(run)
        for row in batch.starts:
            if row.id not in taken:
                self.runs[row.id] = copy(row)
        for digest, data in batch.blobs.items():
            self.blobs.setdefault(digest, data)
        self.uses |= uses_of(batch)
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

    def delete(self, run: RunId) -> None:
        """The run is gone, with all that belongs to it but its blobs."""
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

    def drop_uses(self, owner: str, *, is_reply: bool = False) -> None:
        """The owner refers to no blob any more, and those that nobody else refers to are gone."""
        dropped = {use for use in self.uses if use.owner == owner and use.is_reply == is_reply}
        self.uses -= dropped
        for digest in {use.hash for use in dropped} - {use.hash for use in self.uses}:
            self.blobs.pop(digest, None)

    def journal(self, run: RunId, first: int) -> list[Transition]:
        rows = self.journals.get(run, {})
        return [rows[number] for number in sorted(rows) if number >= first]
