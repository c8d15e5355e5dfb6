"""A registry in a dictionary, a carrier that writes down what it was given, and a performer between them, on virtual time."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.errors import PacketTooLarge, StoreUnavailable, TransportUnavailable
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content
from perdure.model.registry import BEAT_RECORDS, BeatRecord
from perdure.ports.records import ABSENT, ANY, Record, RecordChange
from perdure.remote.carriers import Hear
from perdure.remote.directory import Directory, Route
from perdure.remote.enrolling import Enrolling
from perdure.remote.performer import RemotePerformer
from perdure.testing import VirtualClock
from perdure.wire.attempts import Sender, attempt_id, held, wire_outcome
from perdure.wire.messages import VERSION, Announce, AnnouncedAction, Beat, Call, Leave
from perdure.wire.messages import Outcome as Told

LEASE_US = 10_000_000
SECOND = 1_000_000


class FakeRecords:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Record] = {}
        self.is_away = False
        self.gate: asyncio.Event | None = None

    async def read(self, kind: str, keys: Collection[str]) -> dict[str, Record]:
        return {key: self.kept[kind, key] for key in keys if (kind, key) in self.kept}

    async def scan(self, kind: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable(store="fake", problem="away")
        found = [record for (known, key), record in self.kept.items() if known == kind and key.startswith(prefix) and key > after]
        return sorted(found, key=lambda record: record.key)[:limit]

    async def write(self, changes: Sequence[RecordChange]) -> list[str]:
        for change in changes:
            old = self.kept.get((change.kind, change.key))
            if change.expected not in (ANY, ABSENT if old is None else old.version):
                return [change.key]
        for change in changes:
            old = self.kept.get((change.kind, change.key))
            assert change.value is not None
            version = 1 if old is None else old.version + 1
            self.kept[change.kind, change.key] = Record(change.kind, change.key, change.value, version, change.expires_us)
        return []

    async def add(self, kind: str, values: dict[str, bytes], *, expires_us: int | None = None) -> dict[str, bytes]:
        raise NotImplementedError

    async def expire(self, now_us: int, limit: int) -> int:
        raise NotImplementedError


class FakeCarrier:
    """``is_away``: it raises. ``queued``: how many lie in its queue untaken. ``largest``: how long an argument it carries.
    ``faults``: what it raises for which calls.
    """

    sends_at_once = 1

    def __init__(self) -> None:
        self.sent: list[Call] = []
        self.cancelled: list[tuple[str, str]] = []
        self.is_away = False
        self.queued = 0
        self.largest = 1_000
        self.faults: dict[str, Exception] = {}

    async def send(self, route: Route, calls: Sequence[Call], hear: Hear) -> None:
        if (size := max(len(bytes(value)) for call in calls for value in (b"", *call.args))) > self.largest:
            raise PacketTooLarge(address=route.address, size=size, transport="fake", limit=self.largest)
        if self.is_away:
            raise TransportUnavailable(transport="fake", problem="away")
        for call in calls:
            if call.call in self.faults:
                raise self.faults[call.call]
        self.sent += calls

    async def is_waiting(self, route: Route) -> bool:
        return self.queued > 0

    async def cancel(self, worker: str, ids: Sequence[str], reason: str) -> None:
        self.cancelled += [(worker, id) for id in ids]

    def is_under_way(self, id: str) -> bool:
        return False

    async def close(self) -> None:
        pass

    def ids(self) -> list[str]:
        return [call.id for call in self.sent]


class Scene:
    """One node's performer, and hands to play the workers with."""

    def __init__(self) -> None:
        self.clock, self.records, self.carrier = VirtualClock(), FakeRecords(), FakeCarrier()
        self.directory = Directory(self.records, self.clock, ["store"])
        sender = Sender(node="node", lease_ms=LEASE_US // 1_000)
        self.performer = RemotePerformer(self.directory, {"store": self.carrier}, self.clock, sender)
        self.enrolling = Enrolling(self.records, self.clock)
        self.ended: list[tuple[str, Outcome]] = []
        self.told: list[tuple[str, Content]] = []
        self.served = 0
        self.performer.listen(self._on_served)

    def _on_served(self) -> None:
        self.served += 1

    async def worker(self, name: str = "w", *, slots: int = 4, version: int = 1, language: str = "", **action: Any) -> None:
        action = {"name": "look", "version": version, **action}
        await self.enrolling.announce(
            Announce(
                v=VERSION,
                worker=name,
                host="host-3",
                language=language,
                started_ms=0,
                interval_ms=3_000,
                slots=slots,
                actions=[AnnouncedAction(**action)],
            ),
            "store",
        )

    async def beat(self, *attempts: str, worker: str = "w", details: bytes | None = None) -> None:
        content = None if details is None else Content("json", details)
        await self.enrolling.beat(Beat(v=VERSION, worker=worker, attempts=[held(id, content) for id in attempts], is_whole=True, sent_ms=0))

    async def leave(self, worker: str = "w") -> None:
        await self.enrolling.leave(Leave(v=VERSION, worker=worker))

    def perform(self, call: str = "1", *, spec: ActionSpec | None = None, **changes: Any) -> Any:
        attempt = Attempt(RunId("r"), 1, CallName(call), changes.pop("number", 1), spec or ActionSpec("look"), changes.pop("args", ()), {})
        attempt = msgspec.structs.replace(attempt, scheduled_us=self.clock.now_us(), **changes)
        return self.performer.perform(attempt, self._deliver, lambda attempt, content: self.told.append((attempt_id(attempt), content)))

    def _deliver(self, attempt: Attempt, outcome: Outcome) -> None:
        self.ended.append((attempt_id(attempt), outcome))
        if outcome.done is not None:
            outcome.done.set_result(None)

    def hear(self, id: str, value: bytes = b"1", worker: str = "w") -> Any:
        told: Told = wire_outcome(id, Outcome(Content("json", value)), worker=worker)
        return self.performer.hear(told)

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """That time passes, a tenth of a second after the other, with whatever happens in it."""
        await self.settle()
        end = self.clock.now_us() + round(seconds * SECOND)
        while self.clock.now_us() < end:
            self.clock.move_to(min(end, self.clock.now_us() + SECOND // 10))
            await self.settle()

    def beat_of(self, worker: str = "w") -> BeatRecord:
        return msgspec.json.decode(self.records.kept[BEAT_RECORDS, worker].value, type=BeatRecord)
