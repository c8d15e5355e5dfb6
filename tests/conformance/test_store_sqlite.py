"""The store in one SQLite file keeps the promises of the port."""

from pathlib import Path

import pytest

from perdure.ports.store import Store
from perdure.stores.sqlite import SqliteStore
from perdure.stores.sqlite.shortcut import Shortcut
from perdure.testing.conformance.store import StoreConformance


@pytest.mark.covers("M24", "M31")
class TestSqliteStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "perdure.db"

    def make_store(self) -> Store:
        return SqliteStore(self.path)

    def other_store(self, store: Store) -> Store:
        return SqliteStore(self.path)

    def crash(self, store: Store) -> None:
        assert isinstance(store, SqliteStore)
        store.abandon()


class TestSqliteStoreThatTakesTheShortcut(TestSqliteStore):
    """Whatever the disk is like, small commits are made in the event loop's thread."""

    @pytest.fixture(autouse=True)
    def _open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Shortcut, "is_open", True)


class TestSqliteStoreThatNeverTakesIt(TestSqliteStore):
    def make_store(self) -> Store:
        return SqliteStore(self.path, loop_wait_us_max=0)
