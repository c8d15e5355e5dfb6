"""Commits batches: one call of ``commit_1`` (``migrations/0002_commit.sql`` says what it does), one round trip, one transaction."""

from asyncio import CancelledError
from collections.abc import Mapping
from copy import copy
from typing import Any, Final

import asyncpg
import msgspec

from perdure.model.durability import Durability
from perdure.model.errors import Internal, LeaseLost, PerdureError, StoreUnavailable
from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.store import Batch
from perdure.stores.postgres.cluster import Cluster
from perdure.stores.postgres.failures import (
    FENCED,
    LINKED_START,
    OTHER_SERVER,
    UNEXPECTED_START,
    is_for_the_caller,
    state_of,
    translated,
)
from perdure.stores.postgres.guests import Guest
from perdure.stores.postgres.link import Link
from perdure.stores.postgres.packing import packed, without
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.reader import unpack_run
from perdure.stores.postgres.statements import quoted, read_statements

_SYNC: Final[Mapping[Durability | None, str]] = {
    None: "local",
    Durability.MEMORY: "off",
    Durability.MEMORY_REPLICA: "remote_write",
    Durability.DISK: "local",
    Durability.DISK_REPLICA: "on",
}
_ARGUMENTS: Final = 62
_COMMIT: Final = f"select packed, reason, state from {{schema}}.commit_1({', '.join(f'${at + 1}' for at in range(_ARGUMENTS))})"
_UNSURE_MAX: Final = 10_000
_decode_ids = msgspec.json.Decoder(list[RunId]).decode

_Key = tuple[str, int]


class Writer:
    """Commits batches on one connection. ``token`` is the number of this store object among all that write."""

    def __init__(self, link: Link, cluster: Cluster, place: Place, token: int) -> None:
        self._store = place.name
        self._link = link
        self._cluster = cluster
        self._commit = _COMMIT.replace("{schema}", quoted(place.schema))
        self._read_runs = read_statements(place.schema)["read_runs"]
        self._token = token
        self._unsure: dict[_Key, None] = {}

    async def commit(self, batch: Batch) -> dict[RunId, RunRow]:
        """Write all of the batch but the starts in conflict; give the rows that they met."""
        # Packed before anything is waited for: whatever the caller does with the batch from now on is not written.
        arguments = packed(batch)
        if batch.refusals or batch.led_to:
            # It may have to be packed a second time.
            batch = msgspec.structs.replace(batch, **{name: copy(getattr(batch, name)) for name in batch.__struct_fields__})
        key = _key(batch)
        try:
            taken = await self._write(batch, arguments, is_again=key in self._unsure)
        except (StoreUnavailable, CancelledError):
            self._remember(key)
            raise
        self._unsure.pop(key, None)
        if batch.epoch is not None:
            self._cluster.written(batch)
        return taken

    async def _write(self, batch: Batch, arguments: tuple[Any, ...], *, is_again: bool) -> dict[RunId, RunRow]:
        """Write the batch; where a start is taken that others hang on, again without all that falls with it.

        Another writer may take one more id in between; each round leaves out at least one start, so the rounds end.
        """
        met: dict[RunId, RunRow] = {}
        while True:
            try:
                rows = await self._call(batch, arguments, is_again=is_again)
                return batch.dropped(met | {row.id: row for row in map(unpack_run, rows)})
            except asyncpg.PostgresError as error:
                if state_of(error) != LINKED_START:
                    raise _refusal(error, batch.epoch) from error
                taken = _decode_ids(str(error))
            found = await self._link.fetch(self._read_runs, taken, again=True)
            met |= {row.id: row for row in map(unpack_run, found)}
            arguments = packed(without(batch, batch.dropped(met)))

    async def _call(self, batch: Batch, arguments: tuple[Any, ...], *, is_again: bool) -> list[Any]:
        sync = _SYNC[batch.durability]
        while True:
            head = (self._token, is_again, sync, self._cluster.started, batch.epoch)
            try:
                return await self._link.fetch(self._commit, *head, *arguments, again=False, vet=lambda: self.check(batch.epoch))
            except asyncpg.PostgresError as error:
                if state_of(error) != OTHER_SERVER:
                    raise
            await self._link.reconnect()

    async def write_in(self, guest: Guest, batch: Batch) -> dict[RunId, RunRow]:
        """Write the batch in the open transaction of a caller; what `commit` promises holds when that one commits."""
        arguments = packed(batch)
        sync = "on" if batch.durability in (Durability.MEMORY_REPLICA, Durability.DISK_REPLICA) else None
        self.check(batch.epoch)
        head = (self._token, _key(batch) in self._unsure, sync, self._cluster.started, batch.epoch)
        try:
            rows = await guest.fetch(self._commit, *head, *arguments)
        except guest.errors as error:
            if not is_for_the_caller(error):
                raise translated(error, self._store) from error
            raise _refusal(error, batch.epoch) from error
        return {row.id: row for row in map(unpack_run, rows)}

    def check(self, epoch: int | None) -> None:
        """Raise `LeaseLost` if the database may lack what this epoch wrote."""
        if epoch is not None and (reason := self._cluster.doubt(epoch)) is not None:
            raise LeaseLost(epoch=epoch, found=reason)

    def _remember(self, key: _Key) -> None:
        self._unsure[key] = None
        if len(self._unsure) > _UNSURE_MAX:
            del self._unsure[next(iter(self._unsure))]


def _key(batch: Batch) -> _Key:
    """Tell a batch from others that may be committed between two tries of it."""
    if batch.rows:
        return batch.rows[0].run, batch.rows[0].number
    return (batch.starts[0].id if batch.starts else ""), 0


def _refusal(error: BaseException, epoch: int | None) -> PerdureError:
    if state_of(error) in (FENCED, OTHER_SERVER):
        return LeaseLost(epoch=epoch, found=str(error))
    if state_of(error) == UNEXPECTED_START:
        return Internal(what=f"A start that cannot be in conflict is, or is there twice: {error}")
    if getattr(error, "table_name", "") == "journal":
        return LeaseLost(epoch=epoch, found=f"a journal has one of these rows already ({getattr(error, 'detail', '')})")
    return Internal(what=f"A commit met what it cannot meet: {error}")
