"""The servers of such a storm: a broker or a database that nobody else uses, killed with SIGKILL and started again."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Protocol

import asyncpg

from tests import brokers
from tests.torture import cluster


class Server(Protocol):
    """``url``: where its clients find it, each time it is started."""

    @property
    def url(self) -> str: ...

    def begin(self) -> None:
        """It is on its way; it is not there yet."""
        ...

    async def is_up(self) -> bool:
        """Whether clients can use it."""
        ...

    def kill(self) -> None:
        """None of its processes is left, and none was told."""
        ...


class Broker:
    """RabbitMQ or NATS."""

    def __init__(self, process: brokers.OwnServer, url: str, data: Path) -> None:
        self.url = url
        self.begin, self.is_up, self.kill = process.begin, process.is_up, process.kill
        self._data = data

    def wipe(self) -> None:
        """What it had is lost; after `kill`."""
        shutil.rmtree(self._data)


class Database:
    """PostgreSQL."""

    def __init__(self, primary: cluster.Server) -> None:
        self._primary = primary
        self.url = primary.url
        self.begin, self.kill = primary.begin, primary.kill

    async def is_up(self) -> bool:
        """Whether it has recovered."""
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True


@asynccontextmanager
async def own_broker(product: Literal["amqp", "nats"], folder: Path) -> AsyncIterator[Server]:
    """A running broker; `missing` where the program is not installed."""
    place = folder / product
    place.mkdir()
    is_nats = product == "nats"
    async with brokers.own_nats(place, "-js") if is_nats else brokers.own_rabbitmq(place, settings="") as process:
        url = f"{product}://127.0.0.1:{process.port}{'?ack_wait=3' if is_nats else '/'}"
        yield Broker(process, url, place / ("jetstream" if is_nats else "data"))


@asynccontextmanager
async def own_postgres() -> AsyncIterator[Server]:
    """A running server without a standby; raises `NoServer` where none can be made."""
    with cluster.private_cluster() as found:
        yield Database(found.primary)
