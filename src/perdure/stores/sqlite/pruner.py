"""Deletes what is outdated, each time in one transaction, so that no other writer sees or leaves half of it."""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from perdure.model.retention import Outdated
from perdure.stores.sqlite.adoption import Adoption
from perdure.stores.sqlite.thread import in_transaction

_encode = msgspec.json.Encoder().encode
_ids = msgspec.json.Decoder(list[str]).decode
_TABLES: Final = (("run", "id"), ("journal", "run"), ("inbox", "run"), ("heartbeat", "run"))


class Pruner:
    """Works on the writer's connection. Every commit that refers to a blob has the blob with it, so one that was deleted comes back."""

    def __init__(self, statements: dict[str, str]) -> None:
        self._statements = statements
        self._adoption = Adoption(statements)

    def adopt(self, connection: sqlite3.Connection) -> bool:
        """Do a part of what `Adoption` has to do in an old file; tell whether there is more."""
        if not self._adoption.is_done:
            try:
                in_transaction(connection, lambda: self._adoption.run_once(connection))
            except BaseException:
                self._adoption = Adoption(self._statements)  # The part that it takes for done was rolled back: it begins again.
                raise
        return not self._adoption.is_done

    def count(self, connection: sqlite3.Connection, outdated: Outdated) -> int:
        count: int = connection.execute(self._statements["count_outdated"], (outdated.status, outdated.before_us)).fetchone()[0]
        return count

    def prune_runs(self, connection: sqlite3.Connection, outdated: Outdated, limit: int) -> int:
        return in_transaction(connection, lambda: self._runs(connection, outdated, limit))

    def prune_replies(self, connection: sqlite3.Connection, before_us: int) -> int:
        return in_transaction(connection, lambda: self._replies(connection, before_us))

    def _runs(self, connection: sqlite3.Connection, outdated: Outdated, limit: int) -> int:
        found = connection.execute(self._statements["list_outdated"], (outdated.status, outdated.before_us, limit)).fetchone()
        ids = _ids(found[0])
        if ids:
            given = (_encode(ids).decode(),)
            connection.execute(self._statements["drop_tags"], given)
            for table, column in _TABLES:
                connection.execute(f"delete from {table} where {column} in (select value from json_each(?1))", given)
            self._drop_uses(connection, ids, is_reply=False)
        return len(ids)

    def _replies(self, connection: sqlite3.Connection, before_us: int) -> int:
        ids = _ids(connection.execute(self._statements["list_old_replies"], (before_us,)).fetchone()[0])
        if ids:
            connection.execute(self._statements["prune_replies"], (_encode(ids).decode(),))
            self._drop_uses(connection, ids, is_reply=True)
        return len(ids)

    def _drop_uses(self, connection: sqlite3.Connection, owners: Sequence[str], *, is_reply: bool) -> None:
        given = (_encode(owners).decode(), int(is_reply))
        hashes = [hash for (hash,) in connection.execute(self._statements["drop_uses"], given).fetchall()]
        if hashes:
            connection.execute(self._statements["drop_blobs"], (_encode(hashes).decode(),))
