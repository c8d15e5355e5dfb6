"""Which store a URL names: the only module that knows products."""

from pathlib import Path

from perdure.model.errors import InvalidOption, NamespaceNotFound, Unsupported
from perdure.ports.namespaces import Namespaces
from perdure.ports.store import Store
from perdure.stores.chaos import ChaosStore, chaos_of
from perdure.stores.memory import MemoryStore
from perdure.stores.sqlite import SqliteStore
from perdure.stores.sqlite.namespaces import SqliteNamespaces


def open_store(url: str) -> Store:
    """Give the store that a URL names: ``memory://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or
    ``postgresql://user@host/database``. Raises `InvalidOption`, and `Unsupported` without the extra that the store needs.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator:
        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return SqliteStore(Path(rest[1:]).expanduser(), name=url)
    if scheme in ("postgresql", "postgres") and separator:
        return _open_postgres(url)
    raise InvalidOption(option="the store's URL", found=repr(url), expected='"memory://", "sqlite:///file.db" or "postgresql://…"')


def _open_postgres(url: str) -> Store:
    try:
        from perdure.stores.postgres import PostgresStore
    except ImportError as error:
        why = "its driver is not installed; pip install 'perdure[postgres]' brings it"
        raise Unsupported(what=f"The store {url.partition('@')[2] or url!r}", why=why) from error
    return PostgresStore(url)


def open_namespaces(url: str) -> Namespaces:
    """Give the namespaces of the store that a URL names. Raises as `open_store`."""
    scheme, _, rest = url.partition("://")
    open_store(url)
    if scheme == "sqlite":
        return SqliteNamespaces(Path(rest[1:]).expanduser(), url)
    if scheme == "memory":
        raise Unsupported(what="A namespace of memory://", why="each engine on it has a store of its own already")
    from perdure.stores.postgres.namespaces import PostgresNamespaces

    return PostgresNamespaces(url)


class Opening:
    """An engine's store: the one that it is given, that its URL names, or the one of a namespace there; with ``chaos``, such a
    store with faults (`perdure.stores.chaos`).
    """

    def __init__(self, store: str | Store, namespace: str | None, chaos: str | None = None) -> None:
        self._namespace = namespace
        self._namespaces = None if namespace is None else open_namespaces(_url_of(store, namespace))
        url = store if namespace is None or self._namespaces is None else self._namespaces.url_of(namespace)
        self.store: Store = open_store(url) if isinstance(url, str) else url
        if chaos is not None:
            self.store = ChaosStore(self.store, chaos_of(chaos))

    async def check(self) -> None:
        """Raise `NamespaceNotFound` if the namespace is not there."""
        if self._namespaces is not None and self._namespace not in (known := await self._namespaces.names()):
            raise NamespaceNotFound(namespace=self._namespace, store=self.store.name, known=", ".join(known) or "none")


def _url_of(store: str | Store, namespace: str) -> str:
    if not isinstance(store, str):
        raise InvalidOption(option="namespace", found=repr(namespace), expected="a store that is named by its URL")
    return store
