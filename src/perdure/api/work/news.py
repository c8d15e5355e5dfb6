"""Word of new calls for those who wait. Protects the store from being asked all the time by workers for whom there is nothing."""

import asyncio
from collections.abc import Sequence

from perdure.ports.store import Hint, Store


class News:
    """One subscription serves all that wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._is_subscribed = False

    def begin(self, addresses: Sequence[str]) -> "asyncio.Future[None]":
        """Give what is done once there may be something at one of the addresses that was not there when this was called; or cancel it."""
        if not self._is_subscribed:
            self._is_subscribed = True
            self._store.subscribe(self._on_hint)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for address in addresses:
            self._waiting.setdefault(address, set()).add(future)
        future.add_done_callback(lambda done: self._end(done, tuple(addresses)))
        return future

    def _end(self, future: "asyncio.Future[None]", addresses: Sequence[str]) -> None:
        for address in addresses:
            self._waiting[address].discard(future)
            if not self._waiting[address]:
                del self._waiting[address]

    def _on_hint(self, hint: Hint) -> None:
        for address in list(self._waiting) if hint.is_partial else [one for one in hint.called if one in self._waiting]:
            for future in list(self._waiting[address]):
                if not future.done():
                    future.set_result(None)
