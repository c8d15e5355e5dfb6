"""Waits that a word from another writer can shorten. Protects the store from clients that ask again and again."""

import asyncio

from perdure.ports.store import Hint, Store


class Hearing:
    """Knows who waits for which run or reply; one subscription serves all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._is_subscribed = False

    async def wait(self, id: str, longest_s: float) -> None:
        """Something was heard of that run or reply, or the span is over."""
        self._subscribe()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id, set()).add(future)
        try:
            await asyncio.wait([future], timeout=longest_s)
        finally:
            self._waiting[id].discard(future)
            if not self._waiting[id]:
                del self._waiting[id]

    def _subscribe(self) -> None:
        if not self._is_subscribed:
            self._is_subscribed = True
            self._store.subscribe(self._on_hint)

    def _on_hint(self, hint: Hint) -> None:
        wanted = list(self._waiting) if hint.is_partial else [id for id in hint.ended if id in self._waiting]
        for id in wanted:
            for future in self._waiting[id]:
                if not future.done():
                    future.set_result(None)
