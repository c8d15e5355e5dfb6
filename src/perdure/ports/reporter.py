"""The reporter: the way from a worker back to the nodes, over a broker or straight into the store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from perdure.model.ids import CallKey


class Report(Protocol):
    """An encoded message of `perdure.wire.messages` from a worker."""

    @property
    def id(self) -> str:
        """The same when it is sent again."""
        ...

    @property
    def body(self) -> bytes:
        """The message."""
        ...

    @property
    def content_type(self) -> str:
        """In which encoding it is: one of those of `perdure.wire.encoding`."""
        ...

    @property
    def key(self) -> CallKey | None:
        """The call that an outcome is for; ``None`` for what concerns the worker."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What travels beside an outcome: the headers of its call, `perdure.wire.headers`. Empty for what concerns the worker."""
        ...


class Reporter(Protocol):
    @property
    def reports_at_once(self) -> int:
        """How many calls of `report` are worth having under way at a time."""
        ...

    async def report(self, reports: Sequence[Report]) -> None:
        """The reports are durable where a node will find them. Safe to call again with the same.

        Raises `Unavailable` (`TransportUnavailable`, `StoreUnavailable`): some of them may have been taken all the same.
        """
        ...
