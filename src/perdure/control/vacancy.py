"""The seat of a store's node, kept free of nodes for a while. Protects runs that are read or written from moving meanwhile."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from perdure.model.errors import LeaseLost, NodeIsLive
from perdure.ports.clock import Clock, pause
from perdure.ports.store import Store

LEASE_US: Final = 30_000_000


class Vacancy:
    """No node moves runs of the store, for as long as `keep` is under way."""

    def __init__(self, store: Store, clock: Clock, asked: str) -> None:
        self._store = store
        self._clock = clock
        self._asked = asked
        self._epoch: int | None = None

    @asynccontextmanager
    async def keep(self) -> AsyncIterator[None]:
        """Nodes that come meanwhile find no place. Raises `NodeIsLive` if one is there; `LeaseLost`, from `check`, if it is taken away."""
        await self._take()
        renewing = asyncio.ensure_future(self._renew_again_and_again())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            await self._leave()

    def check(self) -> None:
        """Raise `LeaseLost` if somebody else has taken the runs."""
        if self._epoch is None:
            raise LeaseLost(epoch=None, found=f"a node took them during {self._asked}")

    async def _take(self) -> None:
        name = f"{self._asked} on {socket.gethostname()}-{os.getpid()}"
        self._epoch = await self._store.take_lease(name, self._clock.now_us(), LEASE_US)
        if self._epoch is None:
            raise NodeIsLive(store=self._store.name, nodes="a node", asked=self._asked)
        try:
            await self._take_all(self._epoch)
        except BaseException:
            await self._leave()
            raise

    async def _take_all(self, epoch: int) -> None:
        survey = await self._store.renew_lease(epoch, self._clock.now_us(), LEASE_US)
        others = [] if survey is None else [seat.name for seat in survey.nodes if seat.epoch != epoch]
        wanted = range(self._store.traits.partitions)
        if others or len(await self._store.take_partitions(epoch, wanted, self._clock.now_us())) < len(wanted):
            raise NodeIsLive(store=self._store.name, nodes=", ".join(others) or "a node", asked=self._asked)

    async def _renew_again_and_again(self) -> None:
        while self._epoch is not None:
            await pause(self._clock, LEASE_US // 3)
            if await self._store.renew_lease(self._epoch, self._clock.now_us(), LEASE_US) is None:
                self._epoch = None

    async def _leave(self) -> None:
        if self._epoch is not None:
            await self._store.release_lease(self._epoch)
