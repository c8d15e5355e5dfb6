"""Group commit: whatever is ready when the commit before ends goes into the next one. Protects from paying for durability run by run."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from perdure.engine.runs.writing import Piece
from perdure.model.errors import LeaseLost, StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.clock import Clock, pause
from perdure.ports.store import Batch, Store

logger = logging.getLogger("perdure.engine")

_PAUSE_FIRST_US = 50_000
_PAUSE_MAX_US = 5_000_000

Settle = Callable[[Sequence[Piece], dict[RunId, RunRow]], None]


class Committer:
    """``batch`` collects while a commit is under way. ``settle`` is called after each commit, with its pieces and the starts it refused.

    A store that does not answer is tried again until it does; a lost lease is told to ``on_lost`` and nothing is written after it.
    """

    def __init__(self, store: Store, clock: Clock, settle: Settle, on_lost: Callable[[BaseException], None]) -> None:
        self._store = store
        self._clock = clock
        self._settle = settle
        self._on_lost = on_lost
        self._task: asyncio.Task[None] | None = None
        self._idle: list[asyncio.Future[None]] = []
        self.epoch = 0
        self.batch = Batch(epoch=0)
        self.pieces: list[Piece] = []
        self.commits = 0
        self.trouble: str | None = None
        self.trouble_us: int | None = None
        self.last_us: int | None = None
        self.is_dead = False
        self.on_written: Callable[[Batch], None] = lambda batch: None

    def open(self, epoch: int) -> None:
        self.epoch = epoch
        self.batch = Batch(epoch=epoch)

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    @property
    def has_work(self) -> bool:
        batch = self.batch
        return bool(self.pieces or batch.changes or batch.posts or batch.starts or batch.consumed or batch.replies or batch.heartbeats)

    def flush(self) -> None:
        """What has been collected is on its way, unless a commit is under way: then it goes next."""
        if self._task is None and not self.is_dead and self.has_work:
            batch, pieces = self.batch, self.pieces
            self.batch, self.pieces = Batch(epoch=self.epoch), []
            # Made directly: the loop's create_task costs as much again as the task.
            self._task = asyncio.Task(self._write(batch, pieces), loop=asyncio.get_running_loop())

    async def _write(self, batch: Batch, pieces: list[Piece]) -> None:
        try:
            refused = await self._commit(batch)
        except LeaseLost as error:
            self._die(error)
            return
        except Exception as error:
            logger.exception("the commit failed in a way that trying again will not mend; this node stops")
            self._die(error)
            return
        self._task = None
        self.commits += 1
        self._settle(pieces, refused)
        self.on_written(batch)
        self.flush()
        if self._task is None:
            self._wake_idle()

    def _die(self, error: BaseException) -> None:
        self._task = None
        self.is_dead = True
        self._wake_idle()
        self._on_lost(error)

    def _wake_idle(self) -> None:
        for future in self._idle:
            if not future.done():
                future.set_result(None)
        self._idle.clear()

    async def _commit(self, batch: Batch) -> dict[RunId, RunRow]:
        pause_us = _PAUSE_FIRST_US
        while True:
            try:
                refused = dict(await self._store.commit(batch))
            except StoreUnavailable as error:
                if self.trouble is None:
                    logger.warning("%s", error)
                    self.trouble_us = self._clock.now_us()
                self.trouble = str(error)
                await pause(self._clock, pause_us)
                pause_us = min(2 * pause_us, _PAUSE_MAX_US)
            else:
                self.trouble = self.trouble_us = None
                self.last_us = self._clock.now_us()
                return refused

    async def idle(self) -> None:
        """Nothing is collected or under way any more, or the committer is dead."""
        while not self.is_dead and (self._task is not None or self.has_work):
            self.flush()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(future)
            await future

    async def abort(self) -> None:
        """Nothing more is written; the commit under way is waited for."""
        self.is_dead = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._wake_idle()
