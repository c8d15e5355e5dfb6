"""The place of this process's node on a store. Protects from runs that nobody moves while somebody could."""

import asyncio
import logging
from collections.abc import Callable

from perdure.client.gateway import Gateway
from perdure.client.local import LocalGateway
from perdure.client.remote import RemoteGateway
from perdure.client.routed import RoutedGateway
from perdure.engine.node import Node
from perdure.ports.clock import Alarm, Clock, pause
from perdure.ports.store import Store

logger = logging.getLogger("perdure")

STANDBY_US = 500_000


class Seat:
    """The place of the node on one store: taken at once if it is free, else as soon as whoever has it is gone.

    ``on_taken``: told of each node that is open, and of the way to it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        make_node: Callable[[Callable[[BaseException], None]], Node],
        *,
        remote: RemoteGateway,
        on_taken: Callable[[Node, LocalGateway], None],
    ) -> None:
        self._store = store
        self._remote = remote
        self._clock = clock
        self._make_node = make_node
        self._on_taken = on_taken
        self._is_wanted = False
        self._alarm: Alarm | None = None
        self._try: asyncio.Task[None] | None = None
        self.node: Node | None = None
        self.gateway: Gateway | None = None

    async def take(self) -> None:
        """The seat is taken, or another has it and it will be asked for again and again."""
        self._is_wanted = True
        if not await self._sit_down():
            self._stand_by()

    async def _sit_down(self) -> bool:
        node = self._make_node(self._on_lost)
        if not await node.open():
            return False
        local = LocalGateway(node.desk, node.retrier, node.waits, self._store)
        self.node = node
        self.gateway = RoutedGateway(local, self._remote)
        self._on_taken(node, local)
        return True

    def _on_lost(self, error: BaseException) -> None:
        self.node, self.gateway = None, None
        if self._is_wanted:
            self._stand_by()

    def _stand_by(self) -> None:
        # One try at a time: two would make two nodes, and only one of them could ever be closed.
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._clock.call_at(self._clock.now_us() + STANDBY_US, self._begin_try)

    def _begin_try(self) -> None:
        self._try = asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        try:
            taken = await self._sit_down()
        except Exception as error:
            logger.warning("taking over the runs of %s: %s", self._store.name, error)
            taken = False
        if not taken and self._is_wanted:
            self._stand_by()

    async def leave(self, *, drain_us: int) -> None:
        """Attempts under way have ended, or that time has; everything is written; the seat is free."""
        node = await self._get_up()
        if node is not None:
            await self._drain(node, drain_us)
            await node.close()

    async def crash(self) -> None:
        """The node stopped at once, without a word."""
        node = await self._get_up()
        if node is not None:
            await node.crash()

    async def _get_up(self) -> Node | None:
        self._is_wanted = False
        if self._alarm is not None:
            self._alarm.cancel()
        if self._try is not None:
            await asyncio.gather(self._try, return_exceptions=True)
        node, self.node, self.gateway = self.node, None, None
        return node

    async def _drain(self, node: Node, drain_us: int) -> None:
        draining, over = asyncio.ensure_future(node.drain()), asyncio.ensure_future(pause(self._clock, drain_us))
        try:
            await asyncio.wait({draining, over}, return_when=asyncio.FIRST_COMPLETED)
            if not draining.done() and (running := node.dispatcher.running):
                logger.warning("%d attempts were still under way after the drain time; they will be made again", running)
        finally:
            draining.cancel()
            over.cancel()
            await asyncio.gather(draining, over, return_exceptions=True)
