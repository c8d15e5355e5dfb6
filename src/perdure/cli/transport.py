"""The way of a command to a transport: the queue in the nodes' store, or a broker."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cyclopts import Parameter

from perdure.app.connecting import Terms, connection_of
from perdure.cli.connection import Place, check_file, run_loop
from perdure.config import settings
from perdure.model.limits import Limits
from perdure.ports.system import SystemClock
from perdure.ports.transport import Transport

T = TypeVar("T")


@Parameter(name="*")
@dataclass
class Carriage(Place):
    """Options of every command that works on a transport."""

    connect: Annotated[
        str | None,
        Parameter(help="URL by which calls come, such as that of a broker. Default: --store, else PERDURE_CONNECT, else the store."),
    ] = None

    @property
    def transport_url(self) -> str:
        """Give what is meant: a store is a transport too."""
        return self.connect or self.store or settings().connect or self.url


def ask_transport(carriage: Carriage, work: Callable[[Transport], Awaitable[T]]) -> T:
    """Give what ``work`` gives, with the transport open. A store must be there already."""
    url = carriage.transport_url
    if carriage.namespace is None:
        check_file(url)
    connection = connection_of(url, SystemClock(), Terms(limits=Limits(), namespace=carriage.namespace))

    async def work_with_transport() -> T:
        if not connection.transport.traits.shows_packets:
            return await work(connection.transport)
        if connection.check is not None:
            await connection.check()
        if connection.store is not None:
            await connection.store.open()
        try:
            await connection.transport.open()
            return await work(connection.transport)
        finally:
            await connection.transport.close()
            if connection.store is not None:
                await connection.store.close()

    return run_loop(work_with_transport)
