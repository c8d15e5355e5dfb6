"""The SQL of this store, read once from the ``.sql`` files beside it."""

import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable


def read_statements() -> dict[str, str]:
    """Give the text of every file in ``sql/`` by its name without the ending."""
    return dict(_texts("sql"))


def read_migrations() -> list[tuple[int, str]]:
    """Give (version, text) of every migration, oldest first."""
    return sorted((int(name.partition("_")[0]), text) for name, text in _texts("migrations"))


def split_script(text: str) -> Iterator[str]:
    """Give the statements of a script one by one, so that it can run inside a transaction (``executescript`` commits first)."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _texts(folder: str) -> Iterator[tuple[str, str]]:
    entry: Traversable
    for entry in (files("perdure.stores.sqlite") / folder).iterdir():
        if entry.name.endswith(".sql"):
            yield entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8")
