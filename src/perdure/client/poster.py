"""Group commit for clients: what many callers ask at once goes down together. Protects the store from a commit for each of them, and this
process from a queue without end while the store is slower than those who ask.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from perdure.engine.callers.admission import Admission
from perdure.model.durability import strongest
from perdure.model.errors import StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.store import Batch, Hint, Store

BATCH_MAX = 1_000

_Answer = asyncio.Future[Mapping[RunId, RunRow]]
_Waiting = tuple[Batch, _Answer]


class Poster:
    """Commits starts and posts; whatever is asked while a commit is under way goes into the next one.

    All are counted by ``admission``, also what ends work: that makes room on a node, but none here.
    """

    def __init__(self, store: Store, admission: Admission) -> None:
        self._store = store
        self._admission = admission
        self._waiting: OrderedDict[_Answer, Batch] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    async def commit(self, batch: Batch, asked: str) -> Mapping[RunId, RunRow]:
        """As `perdure.ports.store.Writer.commit`, for a batch of starts, posts and blobs; others are told that there is something.

        A caller that is cancelled before the commit begins has asked nothing. Raises `Overloaded` too, which names what was ``asked``.
        """
        entered_us = self._admission.enter(asked)
        future: _Answer = asyncio.get_running_loop().create_future()
        self._waiting[future] = batch
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._commit_all())
        try:
            return await future
        finally:
            self._waiting.pop(future, None)
            self._admission.leave(entered_us)

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                await self._commit_some(self._take())
        finally:
            self._task = None

    def _take(self) -> list[_Waiting]:
        """Take what can go together: of two that start one run, the second must see the first."""
        taken: list[_Waiting] = []
        started: set[RunId] = set()
        while self._waiting and len(taken) < BATCH_MAX:
            future, batch = next(iter(self._waiting.items()))
            ids = {row.id for row in batch.starts}
            if ids & started:
                break
            started |= ids
            del self._waiting[future]
            taken.append((batch, future))
        return taken

    async def _commit_some(self, taken: Sequence[_Waiting]) -> None:
        try:
            refused = await self._store.commit(_merged([batch for batch, _ in taken]))
        except Exception as error:
            await self._commit_apart(taken, error)
            return
        self._store.announce(Hint(posted=frozenset(item.run for batch, _ in taken for item in batch.posts)))
        for batch, future in taken:
            if not future.done():
                future.set_result({row.id: refused[row.id] for row in batch.starts if row.id in refused})

    async def _commit_apart(self, taken: Sequence[_Waiting], error: Exception) -> None:
        """One of them may be to blame: each goes alone then. A store that does not answer will not answer each of them either."""
        if len(taken) > 1 and not isinstance(error, StoreUnavailable):
            for one in taken:
                await self._commit_some([one])
            return
        for _, future in taken:
            if not future.done():
                future.set_exception(error)


def _merged(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    merged = Batch()
    for batch in batches:
        merged.starts += batch.starts
        merged.checked |= batch.checked
        merged.replaced |= batch.replaced
        merged.posts += batch.posts
        merged.blobs.update(batch.blobs)
        merged.durability = strongest(batch.durability, merged.durability)
    return merged
