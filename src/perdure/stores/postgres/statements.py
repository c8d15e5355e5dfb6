"""The SQL of this store, read from the ``.sql`` files beside it, with the name of the schema filled in."""

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from perdure.model.errors import InvalidOption

_NAME: Final = re.compile(r"[^\W\d]\w*")
_NAME_BYTES_MAX: Final = 63


def quoted(schema: str) -> str:
    """Give the name of a schema as it stands in SQL; raises `InvalidOption` for one that PostgreSQL would cut off or keeps for itself."""
    if not _NAME.fullmatch(schema) or len(schema.encode()) > _NAME_BYTES_MAX or schema.startswith("pg_"):
        raise InvalidOption(
            option="schema", found=repr(schema), expected=f"up to {_NAME_BYTES_MAX} letters, digits and underscores, not beginning with pg_"
        )
    return f'"{schema}"'


def read_statements(schema: str) -> dict[str, str]:
    """Give the text of every file in ``sql/`` by its name without the ending."""
    return dict(_texts("sql", schema))


def read_migrations(schema: str) -> list[tuple[int, str]]:
    """Give (version, text) of every migration, oldest first."""
    return sorted((int(name.partition("_")[0]), text) for name, text in _texts("migrations", schema))


def _texts(folder: str, schema: str) -> Iterator[tuple[str, str]]:
    entry: Traversable
    for entry in (files("perdure.stores.postgres") / folder).iterdir():
        if entry.name.endswith(".sql"):
            yield entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8").replace("{schema}", quoted(schema))
