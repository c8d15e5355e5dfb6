"""The attempts that a worker has. Protects from performing one twice because its delivery came twice, and from forgetting one in a beat."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct, field

from perdure.model.call import Attempt
from perdure.model.payload import Content
from perdure.ports.performer import Performance
from perdure.ports.transport import Delivery
from perdure.wire import messages as wire
from perdure.wire.attempts import held
from perdure.wire.encoding import JSON, encode
from perdure.workers.reporting import Said

ENDED_MAX: Final = 10_000
ENDED_BYTES_MAX: Final = 16 * 1024 * 1024


class Holding(Struct, eq=False):
    """An attempt that came. ``deliveries``: those that are not settled. ``performance``: once it was begun. ``is_told``: a node knows that
    it is here. ``is_over``: it has ended. ``details``: what it reported last; ``told_details``: the last of it that a node knows.
    ``headers``: those of its call, which travel beside its outcome.
    """

    id: str
    attempt: Attempt
    taken_us: int
    deliveries: list[Delivery]
    performance: Performance | None = None
    is_told: bool = False
    is_over: bool = False
    details: Content | None = None
    told_details: Content | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Holdings:
    """Attempts that wait for a slot, are under way, or ended lately. Beats read it from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, Holding] = {}
        self._waiting: OrderedDict[str, Holding] = OrderedDict()
        self._ended: OrderedDict[str, Said] = OrderedDict()
        self._ended_bytes = 0

    @property
    def under_way(self) -> int:
        """How many have begun and not ended."""
        return len(self._under_way)

    @property
    def told(self) -> int:
        """How many of those under way a node was told of: they take long."""
        return sum(holding.is_told for holding in self._under_way.values())

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    def find(self, id: str) -> Holding | None:
        """Give the attempt that waits or is under way."""
        return self._under_way.get(id) or self._waiting.get(id)

    def outcome(self, id: str) -> Said | None:
        """Give what was reported of an attempt that ended lately."""
        return self._ended.get(id)

    def wait(self, holding: Holding) -> None:
        """It waits for a slot."""
        self._waiting[holding.id] = holding

    def next_waiting(self) -> Holding | None:
        """Give the one that has waited longest; it does not wait any more."""
        return self._waiting.popitem(last=False)[1] if self._waiting else None

    def forget_waiting(self, holding: Holding) -> None:
        """It does not wait any more."""
        self._waiting.pop(holding.id, None)

    def stale(self, before_us: int | None = None) -> list[Holding]:
        """Give those that have waited since before that instant, or all; they do not wait any more."""
        found = [holding for holding in self._waiting.values() if before_us is None or holding.taken_us <= before_us]
        for holding in found:
            del self._waiting[holding.id]
        return found

    def begin(self, holding: Holding) -> None:
        """It is under way."""
        with self._lock:
            self._under_way[holding.id] = holding

    def end(self, holding: Holding, said: Said) -> None:
        """It has ended so; that is remembered for a while."""
        holding.is_over = True
        with self._lock:
            self._under_way.pop(holding.id, None)
        self._ended[holding.id] = said
        self._ended_bytes += len(said.body)
        while len(self._ended) > ENDED_MAX or (self._ended_bytes > ENDED_BYTES_MAX and len(self._ended) > 1):
            _, dropped = self._ended.popitem(last=False)
            self._ended_bytes -= len(dropped.body)

    def all_under_way(self) -> list[Holding]:
        """Give those under way. From any thread."""
        with self._lock:
            return list(self._under_way.values())


class BeatMaker:
    """Gives beats as reports. From any thread."""

    def __init__(self, worker: str, content_type: str = JSON) -> None:
        self._worker = worker
        self._content_type = content_type
        self._lock = threading.Lock()
        self._number = 0

    def beat(self, holdings: Collection[Holding], *, sent_us: int, is_whole: bool) -> "Beat":
        """Give the beat of these attempts, with whatever new they have reported."""
        with self._lock:
            self._number += 1
            number = self._number
        details = [(holding, holding.details) for holding in holdings]
        entries = [held(holding.id, found if found is not holding.told_details else None) for holding, found in details]
        message = wire.Beat(v=wire.VERSION, worker=self._worker, attempts=entries, is_whole=is_whole, sent_ms=sent_us // 1_000)
        body = encode(message, self._content_type)
        return Beat(Said(f"beat/{self._worker}/{number}", body, content_type=self._content_type), details)


class Beat(Struct, frozen=True):
    """A beat, and the details that it tells."""

    said: Said
    details: list[tuple[Holding, Content | None]]

    def arrived(self) -> None:
        """What it told need not be told again."""
        for holding, content in self.details:
            holding.told_details = content
