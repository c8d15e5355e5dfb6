"""Namespaces of a SQLite store: a file for each, beside the main one: ``app.pay.db`` beside ``app.db``."""

import asyncio
from pathlib import Path

from perdure.model.errors import InvalidOption, NamespaceExists, NamespaceNotFound
from perdure.model.namespace import NAME
from perdure.stores.sqlite.store import SqliteStore


class SqliteNamespaces:
    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url

    def _file(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise InvalidOption(
                option="namespace", found=repr(name), expected="up to 31 small letters, digits and underscores, a letter first"
            )
        return self._path.with_name(f"{self._path.stem}.{name}{self._path.suffix}")

    def url_of(self, name: str) -> str:
        head, _, _ = self._url.rpartition(self._path.name)
        return head + self._file(name).name

    async def names(self) -> list[str]:
        prefix, suffix = f"{self._path.stem}.", self._path.suffix
        files = await asyncio.to_thread(lambda: [file.name for file in self._path.parent.glob(f"{prefix}*{suffix}")])
        found = [file.removeprefix(prefix).removesuffix(suffix) for file in files]
        return sorted(name for name in found if NAME.fullmatch(name))

    async def create(self, name: str) -> None:
        file = self._file(name)
        if file.exists():
            raise NamespaceExists(namespace=name, store=self._url)
        store = SqliteStore(file)
        await store.open()
        await store.close()

    async def delete(self, name: str) -> None:
        file = self._file(name)
        if not file.exists():
            raise NamespaceNotFound(namespace=name, store=self._url, known=", ".join(await self.names()) or "none")
        for ending in ("", "-wal", "-shm", "-node"):
            file.with_name(file.name + ending).unlink(missing_ok=True)
