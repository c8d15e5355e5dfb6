"""The topology of such a storm: who is started with which URLs, and what can be done to each on its way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests import brokers, postgres
from tests.conformance.proxy import Proxy
from tests.torture.binaries import NoServer
from tests.torture.far.client import Wishes
from tests.torture.far.members import ROOT, Member
from tests.torture.far.planted import FAULT_VARIABLE
from tests.torture.far.servers import Broker, Server, own_broker, own_postgres
from tests.torture.far.ways import Way

LEASE_S = 2.0
INTERVAL_S = 0.3
WORKERS = 3
SLOTS = 6
_ERRANDS = str(ROOT / "tests" / "torture" / "far" / "errands.py")


class Topology:
    """The members, and the proxies between them and the server. ``server``: the broker or database behind them, which is ours to kill."""

    def __init__(self, way: Way, folder: Path, store: str, server: Server | None) -> None:
        self.way = way
        self.server = server
        self.store = store
        self.effects = folder / "effects.jsonl"
        self.told = folder / "told"
        self.told.touch()
        self.nodes: list[Member] = []
        self.workers: list[Member] = []
        self.apis: list[Member] = []
        self.proxies: dict[str, Proxy] = {}
        self.client: Member | None = None
        self._folder = folder
        self._environment = {"FAR_EFFECTS": str(self.effects)}
        self._is_cut_off = False

    @property
    def members(self) -> list[Member]:
        """All but the client."""
        return [*self.apis, *self.workers, *self.nodes]

    async def build(self, server: str | None) -> None:
        """The members are known, and none has begun. ``server``: the broker's URL."""
        for number in range(self.way.nodes):
            name = f"node{number}"
            store = self.store if server is not None or not self.way.has_network else await self._through_proxy(name, self.store)
            broker = [] if server is None else ["--transport", await self._through_proxy(name, server)]
            options = ["--store", store, "--roles", "runs", "--lease", f"{LEASE_S:g}s", "--name", name, "--drain", "1s", *broker]
            self.nodes.append(self._member(name, ["-P", "-m", "perdure", "serve", _ERRANDS, *options]))
        if self.way.name == "http":
            await self._build_pullers()
            return
        for number in range(WORKERS):
            name, url = f"worker{number}", server or self.store
            url = await self._through_proxy(name, url) if self.way.has_network else url
            options = ["--connect", url, "--interval", f"{INTERVAL_S * 1e3:.0f}ms", "--slots", str(SLOTS), "--name", name, "--drain", "1s"]
            self.workers.append(self._member(name, ["-P", "-m", "perdure", "worker", _ERRANDS, *options]))

    async def _build_pullers(self) -> None:
        port = brokers.free_port()
        command = ["-P", "-m", "perdure", "api", "--store", self.store, "--listen", f"127.0.0.1:{port}"]
        self.apis.append(self._member("api", command))
        for number in range(WORKERS):
            command = ["-m", "tests.torture.far.puller", f"http://127.0.0.1:{port}"]
            self.workers.append(self._member(f"worker{number}", command))

    async def _through_proxy(self, name: str, url: str) -> str:
        self.proxies[name] = Proxy(url)
        return await self.proxies[name].start()

    def _member(self, name: str, command: list[str]) -> Member:
        return Member(name, command, self._folder, self._environment)

    def plant(self, fault: str) -> None:
        """Whoever begins from now on has the fault."""
        self._environment[FAULT_VARIABLE] = fault

    def begin_client(self, wishes: Wishes) -> None:
        """The load comes."""
        self.client = self._member("client", ["-m", "tests.torture.far.client", msgspec.json.encode(wishes).decode()])
        self.client.begin()

    async def heal(self) -> None:
        """All proxies pass everything."""
        for proxy in self.proxies.values():
            proxy.asks.set()
            proxy.answers.set()
            if self._is_cut_off:
                await proxy.resume()
        self._is_cut_off = False

    async def cut_off(self) -> None:
        """Nothing is listened to by any proxy, and all connections are lost."""
        for proxy in self.proxies.values():
            if not self._is_cut_off:
                await proxy.stop()
        self._is_cut_off = True

    async def end(self) -> None:
        """No process is left."""
        for member in [*self.members, *([] if self.client is None else [self.client])]:
            member.kill()
        for proxy in self.proxies.values():
            await proxy.end()


@asynccontextmanager
async def topology(way: Way, folder: Path, database: str | None) -> AsyncIterator[Topology]:
    """Members that nobody has begun, at servers of their own and in a schema of their own of ``database``."""
    async with AsyncExitStack() as stack:
        match way.name:
            case "postgres":
                server: Server | None = await stack.enter_async_context(own_postgres())
            case "amqp" | "nats":
                server = await stack.enter_async_context(own_broker(way.name, folder))
            case _:
                server = None
        is_broker = isinstance(server, Broker)
        store = await _store(way, folder, database, stack) if server is None or is_broker else server.url
        found = Topology(way, folder, store, server)
        stack.push_async_callback(found.end)
        await found.build(server.url if server is not None and is_broker else None)
        yield found


async def _store(way: Way, folder: Path, database: str | None, stack: AsyncExitStack) -> str:
    if way.store == "sqlite":
        return f"sqlite:///{folder}/store.db"
    if database is None:
        raise NoServer("no PostgreSQL is there for the store")
    schema: Any = postgres.fresh_schema(database)
    url = await asyncio.to_thread(schema.__enter__)
    stack.push_async_callback(asyncio.to_thread, schema.__exit__, None, None, None)
    return str(url)
