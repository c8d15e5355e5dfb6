"""A start that this process's node could not write is asked for through the store as it was asked for here."""

from typing import Any, cast

from perdure.client.gateway import StartRequest
from perdure.client.local import LocalGateway
from perdure.client.remote import RemoteGateway
from perdure.client.routed import RoutedGateway
from perdure.model.errors import RunElsewhere
from perdure.model.ids import RunId
from perdure.model.run import RunRow, Status
from perdure.model.stimulus import Begun
from perdure.stores.memory import MemoryStore


class Fenced:
    """A node that got as far as the run's end before it learned that it may not write."""

    store = MemoryStore()

    async def start(self, request: StartRequest) -> RunRow | None:
        request.row.status, request.row.wake_us = Status.COMPLETED, None
        raise RunElsewhere(run=request.row.id)


class Elsewhere:
    asked: StartRequest | None = None

    async def start(self, request: StartRequest) -> RunRow | None:
        self.asked = request
        return None


async def test_what_a_fenced_node_made_of_a_start_is_not_what_the_store_is_asked_for() -> None:
    remote = Elsewhere()
    gateway = RoutedGateway(cast(LocalGateway, cast(Any, Fenced())), cast(RemoteGateway, cast(Any, remote)))
    row = RunRow(id=RunId("r"), definition="d", created_us=1, updated_us=1)
    assert await gateway.start(StartRequest(row, Begun((), {}, 7))) is None
    assert remote.asked is not None
    assert (remote.asked.row.status, remote.asked.row.wake_us, remote.asked.is_checked) == (Status.RUNNING, 0, True)
