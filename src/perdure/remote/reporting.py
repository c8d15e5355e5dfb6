"""What workers say, written straight into the store: outcomes into the inboxes of their runs, the rest into the registry.

Used by workers that have the store, by the HTTP server for its workers, and by nodes for what brokers bring for runs of other nodes.
"""

import logging
from collections.abc import Sequence

from perdure.model.errors import InvalidMessage
from perdure.ports.clock import Clock
from perdure.ports.reporter import Report
from perdure.ports.store import Batch, Hint, Store
from perdure.remote.directory import STORE
from perdure.remote.enrolling import Enrolling
from perdure.remote.inbox import post_outcome
from perdure.wire.encoding import decode
from perdure.wire.messages import Announce, AnyWireMessage, Beat, Leave, Outcome

logger = logging.getLogger("perdure.remote")


class StoreReporter:
    """``transport``: the scheme by which calls reach the workers that report here."""

    def __init__(self, store: Store, clock: Clock, *, inline_max: int, transport: str = STORE) -> None:
        self._store = store
        self._clock = clock
        self._inline_max = inline_max
        self._transport = transport
        self._enrolling = Enrolling(store, clock)

    @property
    def reports_at_once(self) -> int:
        """One: each is a commit, and the next one takes along whatever came meanwhile."""
        return 1

    async def report(self, reports: Sequence[Report]) -> None:
        """As the port says. What is no message is logged and dropped: sending it again would not mend it."""
        messages = []
        for report in reports:
            try:
                messages.append(decode(report.body, report.content_type))
            except InvalidMessage as error:
                logger.error("a worker's report %s: %s", report.id, error)
        await self.take(messages)

    async def take(self, messages: Sequence[AnyWireMessage]) -> None:
        """These messages are durable. Raises `StoreUnavailable`."""
        batch = Batch()
        for message in messages:
            match message:
                case Outcome():
                    self._post(message, batch)
                case Announce():
                    await self._enrolling.announce(message, self._transport)
                case Beat():
                    await self._enrolling.beat(message)
                case Leave():
                    await self._enrolling.leave(message)
                case _:
                    logger.error("a worker sent a %s, which is for workers", type(message).__name__)
        if batch.posts:
            await self._store.commit(batch)
            self._store.announce(Hint(posted=frozenset(item.run for item in batch.posts)))

    def _post(self, message: Outcome, batch: Batch) -> None:
        try:
            post_outcome(message, batch, self._clock.now_us(), inline_max=self._inline_max)
        except InvalidMessage as error:
            logger.error("the outcome of %s by %s: %s", message.id, message.worker, error)
