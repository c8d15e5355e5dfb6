"""Nodes and their partitions: rows that others can see. Protects from two nodes that advance one run."""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from perdure.model.errors import Internal, LeaseLost
from perdure.ports.store import NodeSeat, Survey
from perdure.stores.postgres.cluster import Cluster
from perdure.stores.postgres.failures import FENCED, state_of
from perdure.stores.postgres.link import Link

_FORGET_US: Final = 24 * 3600 * 1_000_000


class Leases:
    """Takes, renews and releases leases. Not on the connection that commits: a renewal must not wait for a large commit."""

    def __init__(self, link: Link, cluster: Cluster, statements: dict[str, str]) -> None:
        self._link = link
        self._cluster = cluster
        self._statements = statements

    async def _fetch(self, name: str, epoch: int, *arguments: Any, again: bool = True) -> list[Any]:
        try:
            return await self._link.fetch(self._statements[name], *arguments, again=again, vet=lambda: self._vet(epoch))
        except asyncpg.PostgresError as error:
            if state_of(error) == FENCED:
                raise LeaseLost(epoch=epoch, found=str(error)) from error
            raise Internal(what=f"The request {name!r} met what it cannot meet: {error}") from error

    def _vet(self, epoch: int) -> None:
        if (reason := self._cluster.doubt(epoch)) is not None:
            raise LeaseLost(epoch=epoch, found=reason)

    async def take(self, node: str, now_us: int, lease_us: int) -> int:
        # Not twice: an epoch that nobody knows of would look like one more node until its lease ends.
        rows = await self._link.fetch(self._statements["take_lease"], node, now_us, lease_us, _FORGET_US, again=False)
        epoch: int = rows[0][0]
        self._cluster.given(epoch)
        return epoch

    async def renew(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        rows = await self._fetch("renew_lease", epoch, epoch, now_us, lease_us)
        if not rows:
            return None
        epochs, names, untils, holders, clock_us, *promises = rows[0]
        self._cluster.promises(*promises)
        seats = [NodeSeat(*seat) for seat in zip(epochs or (), names or (), untils or (), strict=True)]
        return Survey(seats, list(holders), clock_us)

    async def release(self, epoch: int) -> None:
        await self._link.fetch(self._statements["release_lease"], epoch, again=True)

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        rows = await self._fetch("take_partitions", epoch, epoch, list(wanted), now_us)
        return list(rows[0][0])

    async def give_partitions(self, epoch: int, given: Sequence[int]) -> None:
        await self._link.fetch(self._statements["give_partitions"], epoch, list(given), again=True)
