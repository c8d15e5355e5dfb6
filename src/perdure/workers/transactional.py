"""Attempts that share a transaction with their outcome. Protects from an effect without its outcome, and from a second effect (G4).

The action works on a connection of the store's database; what it returned goes into the run's inbox on the same connection, and one commit
makes both durable, or neither. A node that was fenced meanwhile cannot commit, so of two nodes that think they have the run only one does.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from perdure.model.call import Attempt, Outcome
from perdure.model.errors import StoreUnavailable, Unsupported
from perdure.model.retry import GiveUp
from perdure.ports.store import Batch, InboxItem, Store
from perdure.ports.transactions import Transactions

PAUSE_S = 0.2

Work = Callable[[object], Awaitable[Outcome]]
Keep = Callable[[Attempt, Outcome], Batch]


class Transactor:
    """``keep`` gives the batch that makes an outcome known to the run; the node says how."""

    def __init__(self, store: Store, transactions: Transactions | None) -> None:
        self._store = store
        self._transactions = transactions
        self.keep: Keep | None = None

    async def perform(self, attempt: Attempt, work: Work, begin_keeping: Callable[[], None]) -> Outcome:
        """Give the outcome of ``work``, durable together with all it did on its connection.

        ``begin_keeping`` is called before the commit, and raises if nobody wants the outcome any more; after it, nothing may stop this.
        """
        transactions, keep = self._transactions, self.keep
        if transactions is None or keep is None:
            error = Unsupported(what=f"The transactional action {attempt.spec.name!r}", why=_NO_TRANSACTIONS)
            raise GiveUp(str(error)) from error
        while True:
            outcome: Outcome | None = None
            try:
                async with transactions.transaction() as connection:
                    done = await work(connection)
                    begin_keeping()
                    batch = keep(attempt, done)
                    outcome = msgspec.structs.replace(done, kept=batch.posts[0])
                    await transactions.write_in(connection, batch)
            except StoreUnavailable:
                # The database went away. If it did so in the commit, the commit may have taken place; else nothing has happened.
                if outcome is None or not await self._is_kept(outcome.kept):
                    await asyncio.sleep(PAUSE_S)
                    continue
            return outcome

    async def _is_kept(self, item: InboxItem) -> bool:
        while True:
            try:
                found = await self._store.load([item.run])
            except StoreUnavailable:
                await asyncio.sleep(PAUSE_S)
            else:
                return any(entry.id == item.id for loaded in found for entry in loaded.inbox)


_NO_TRANSACTIONS = "only a store on PostgreSQL has transactions to share; open the engine on one, or make the action idempotent by its key"
