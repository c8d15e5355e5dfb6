"""Delivers answers that somebody has marked on a ticket and not delivered. Protects a run from waiting for ever because he died.

Each node looks after the runs that it has, so nodes do not meet, and a run's next node takes over with the run.
"""

from collections.abc import Callable
from typing import Final

from perdure.app.ending import CallEnds
from perdure.client.gateway import Gateway
from perdure.client.tickets import Tickets
from perdure.engine.node import Node
from perdure.model.codec import Serializer
from perdure.ports.clock import Clock
from perdure.ports.store import Store

FIRST_US: Final = 1_000_000
PAUSE_LEAST_US: Final = 2_000_000
IDLE_POLLS: Final = 6
"""Looks that find nothing are a twelfth of the questions that an idle node may ask."""
TOGETHER: Final = 100


class LeftAnswers(CallEnds):
    """``gateway``: to the node of this process, which refuses runs that are elsewhere."""

    def __init__(self, gateway: Gateway, serializer: Serializer, store: Store, clock: Clock) -> None:
        self.store = store
        self._serializer = serializer
        self._here = gateway
        self._tickets = Tickets(self, clock)
        self._next_us = FIRST_US
        self._after = ""

    def _gateway(self) -> Gateway:
        return self._here

    def pause_us(self) -> int:
        """Give the span until the next look: short while there may be more to find."""
        return self._next_us

    async def run_once(self) -> int:
        """A bounded number of answers is delivered or was tried; gives how many there were. The next round goes on behind them."""
        found = await self._tickets.deliver_left(after=self._after, limit=TOGETHER)
        self._after = found[-1].id if len(found) == TOGETHER else ""
        idle_us = max(PAUSE_LEAST_US, IDLE_POLLS * self.store.traits.poll_idle_us)
        self._next_us = FIRST_US if self._after else idle_us
        return len(found)


def look_for_left_answers(store: Store, clock: Clock, serializer: Serializer) -> Callable[[Node, Gateway], None]:
    """Give what makes the look a duty of a node that is open; ``gateway`` is the way to that node alone."""

    def join(node: Node, gateway: Gateway) -> None:
        answers = LeftAnswers(gateway, serializer, store, clock)
        node.rounds.every("answers", answers.pause_us, answers.run_once)

    return join
