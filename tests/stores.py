"""The stores that tests of whole engines run on, each new: a node on any of them can die without its process."""

from collections.abc import Callable
from pathlib import Path

from perdure.app import Engine
from perdure.ports.store import RunQuery, Store
from perdure.stores.memory import MemoryStore
from perdure.stores.postgres import PostgresStore
from perdure.testing import Environment
from tests.engine.stores import in_a_file
from tests.postgres import execute

EVERY = ("memory", "sqlite", "postgres")
ON_DISK = ("sqlite", "postgres")
CALM = 3
_COLUMNS = """
    select c.relname, a.attname, format_type(a.atttypid, null) from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = '"{schema}"'::regnamespace and c.relkind in ('r', 'm')
"""


class CrashablePostgresStore(PostgresStore):
    """Its nodes can die without their process: they are fenced when the next one comes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url
        self._has_died = False

    def break_lease(self) -> None:
        self._has_died = True

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        if self._has_died:
            server, _, schema = self._url.rpartition("schema=")
            await execute(server.rstrip("?&"), f'delete from "{schema}".node')
            self._has_died = False
        return await super().take_lease(node, now_us, lease_us)


def url_of(name: str, folder: Path, postgres_url: Callable[[], str]) -> str:
    """Give the URL of a new store; each engine that opens ``memory://`` has one of its own."""
    return {"memory": lambda: "memory://", "sqlite": lambda: f"sqlite:///{folder / 'perdure.db'}", "postgres": postgres_url}[name]()


def store_of(name: str, folder: Path, postgres_url: Callable[[], str]) -> Store:
    """Give a new store, closed."""
    if name == "postgres":
        return CrashablePostgresStore(postgres_url())
    return MemoryStore() if name == "memory" else in_a_file(folder)


async def bytes_at_rest(url: str) -> bytes:
    """Give all that a store on a disk holds: the file and what lies beside it, or each column of each row of each table."""
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    server, _, schema = url.rpartition("schema=")
    server = server.rstrip("?&")
    held: list[bytes] = []
    for table, column, kind in await execute(server, _COLUMNS.format(schema=schema)):
        value = f'"{column}"' if kind == "bytea" else f'"{column}"::text'
        rows = await execute(server, f'select {value} from "{schema}"."{table}" where "{column}" is not null')
        held += [cell if isinstance(cell, bytes) else str(cell).encode() for (cell,) in rows]
    return b"\n".join(held)


class Room(Environment):
    """Virtual time on any store: settled means also that no question to the store is under way, be it asked by the node or by an attempt.

    Attempts are short here: one that waits for time would be waited for without end.
    """

    async def _settle(self, engine: Engine) -> None:
        calm = 0
        while calm < CALM:
            await super()._settle(engine)
            node = engine.node
            if node is None or not node.is_open:
                return
            is_busy = node.committer.is_busy or node.committer.has_work or node.fetcher.is_busy or node.rounds.is_at_work
            is_busy |= bool(engine.here is not None and engine.here._running)
            await self.store.find(RunQuery(limit=1))
            await node.committer.idle()
            calm = 0 if is_busy else calm + 1
