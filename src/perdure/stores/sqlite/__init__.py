"""The store in one SQLite file: the default, for one node at a time and any number of clients beside it."""

from perdure.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
