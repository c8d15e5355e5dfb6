"""The user's own tables and the store's in one transaction: exactly once where both lie in one database."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.store import Batch


class Transactions(Protocol):
    """What a store offers whose traits say ``is_transactional``."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Give a connection of the database's driver, in a transaction of its own: committed at the end, rolled back after an exception.

        Raises `StoreUnavailable` if there is no connection to be had. Raised at the end, it leaves open whether the commit took place.
        """
        ...

    async def write_in(self, connection: Any, batch: Batch) -> Mapping[RunId, RunRow]:
        """As `perdure.ports.store.Writer.commit`, in the open transaction of ``connection``: it takes effect when that one commits.

        ``connection`` may be the caller's own, of any driver that the store knows. Raises `InvalidOption` for one that it does not know
        or that has no transaction open, and `LeaseLost` for a fenced epoch: the transaction must then be rolled back.
        """
        ...
