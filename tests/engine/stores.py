"""The stores that whole runs are tested on."""

from collections.abc import Callable
from pathlib import Path

from perdure.stores.memory import MemoryStore
from perdure.stores.sqlite import SqliteStore
from perdure.stores.sqlite.lease import Lease

AnyStore = MemoryStore | SqliteStore


class CrashableSqliteStore(SqliteStore):
    """Its node can die without its process: the lock, which ends with a process, is then let go by hand."""

    def break_lease(self) -> None:
        self._lock.release()
        self._lease = Lease(self._statements, self._lock)


def in_memory(folder: Path) -> AnyStore:
    return MemoryStore()


def in_a_file(folder: Path) -> AnyStore:
    return CrashableSqliteStore(folder / "perdure.db")


STORES: dict[str, Callable[[Path], AnyStore]] = {"memory": in_memory, "sqlite": in_a_file}
