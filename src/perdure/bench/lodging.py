"""Where a workload lives: a folder and, on PostgreSQL, a schema. Protects disk and server from what a workload leaves behind."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct


class Lodging(Struct, frozen=True):
    """``server`` and ``schema`` are empty where the store is no server's."""

    folder: Path
    server: str = ""
    schema: str = ""


@contextmanager
def lodged(store: str, parent: Path, servers: Mapping[str, str]) -> Iterator[Lodging]:
    """Give an empty place for this store; all of it is gone in the end. ``servers``: the URL for each store that has one."""
    with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=parent) as folder:
        if store not in servers:
            yield Lodging(Path(folder))
            return
        from perdure.bench.postgres.server import fresh_schema

        with fresh_schema(servers[store]) as schema:
            yield Lodging(Path(folder), servers[store], schema)
