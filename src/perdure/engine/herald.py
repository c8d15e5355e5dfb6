"""Tells others what they may be waiting for. Protects waiters from the length of a poll, and the hot commit from any part in that."""

from collections.abc import Sequence

from perdure.engine.runs.roster import Roster
from perdure.model.ids import RunId
from perdure.ports.store import Batch, Hint, InboxItem, Store


class Herald:
    """Silent on a store that has one node at a time: there the others look often, which is cheap."""

    def __init__(self, store: Store, roster: Roster) -> None:
        self._store = store
        self._roster = roster
        self._is_silent = store.traits.partitions == 1

    def posted(self, items: Sequence[InboxItem]) -> None:
        """These messages are durable; those to runs that are not here may be for other nodes."""
        if not self._is_silent:
            strangers = frozenset(item.run for item in items if self._roster.get(item.run) is None)
            if strangers:
                self._store.announce(Hint(posted=strangers))

    def ended(self, run: RunId) -> None:
        """The run has ended, durably."""
        if not self._is_silent:
            self._store.announce(Hint(ended=frozenset((run,))))

    def written(self, batch: Batch) -> None:
        """The batch is durable, and with it its replies."""
        if not self._is_silent and batch.replies:
            self._store.announce(Hint(ended=frozenset(reply.id for reply in batch.replies)))
