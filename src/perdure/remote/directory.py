"""Who performs what, as the registry has it. Protects calls from being sent where nobody takes them.

The registry lies in the store's records, so every node sees the same. Only workers that were heard of lately count; what was ever seen is
looked up when somebody asks why a call waits.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from perdure.model.call import ActionSpec, Limit
from perdure.model.errors import StoreUnavailable
from perdure.model.registry import (
    ACTION_RECORDS,
    BEAT_RECORDS,
    WORKER_RECORDS,
    ActionRecord,
    BeatRecord,
    Source,
    WorkerRecord,
    action_key,
)
from perdure.ports.clock import Clock
from perdure.ports.records import Record, Records, scan_all
from perdure.ports.transport import calls_address
from perdure.remote.schemas import Schemas
from perdure.wire.messages import Limit as WireLimit

logger = logging.getLogger("perdure.remote")

T = TypeVar("T")

STORE = "store"
PUSH = "http"
"""The scheme by which calls are sent to workers that have a ``push_url``."""
WINDOW_MIN = 16
WINDOW_FACTOR = 2
ANEW_MAX = 100
"""How many workers that are known are read anew with each look: one that began again under its name may perform other actions now."""
DIRECT_SLOTS = 100
"""How many calls one node has under way at once at a service that it calls itself."""


class Route(Struct, frozen=True):
    """A way for the calls of one action. ``transport``: a scheme. ``address``: of a queue, or of the service that is called directly.
    ``slots``: of all live workers there together.
    """

    transport: str
    address: str
    action: str
    version: int
    queue: str
    slots: int
    record: ActionRecord | None = None

    @property
    def place(self) -> tuple[str, str]:
        """What names it."""
        return self.transport, self.address

    @property
    def window(self) -> int:
        """How many calls may be on their way or under way at once: enough to keep the workers busy, no more than they soon get to."""
        return max(WINDOW_MIN, WINDOW_FACTOR * self.slots)


class Directory:
    """``on_change``: called when actions are served that were not before. ``transports``: the schemes that this node can send by."""

    def __init__(self, records: Records, clock: Clock, transports: Sequence[str]) -> None:
        self._records = records
        self._clock = clock
        self._transports = frozenset(transports)
        self._workers: dict[str, WorkerRecord] = {}
        self._beats: dict[str, BeatRecord] = {}
        self._versions: dict[str, int] = {}
        self._heard_us: dict[str, int] = {}
        self._services: list[ActionRecord] = []
        self._actions: dict[str, list[ActionRecord]] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._anew: list[str] = []
        self._is_blind = False
        self._blind_us = 0
        self._routes: dict[str, list[Route]] = {}
        self._places: dict[tuple[str, str], Route] = {}
        self.schemas = Schemas()
        self.on_change: Callable[[], None] = lambda: None
        self.on_beat: Callable[[BeatRecord, int], None] = lambda beat, now_us: None
        self.refreshed_us: int | None = None

    def route(self, spec: ActionSpec) -> Route | None:
        """Give the way for this action: of the version asked for, else the newest that is served; ``None`` if nobody serves it now."""
        # A call by name alone says nothing of a version.
        wanted = 0 if spec.function is None and not spec.is_chosen else spec.version
        found = [
            route
            for route in self._routes.get(spec.name, ())
            if wanted in (0, route.version) and (spec.queue is None or spec.queue == route.queue)
        ]
        return max(found, key=lambda route: (route.version, route.slots), default=None)

    def at(self, place: tuple[str, str]) -> Route | None:
        """Give the route of this transport and address, ``None`` if it leads to nobody now."""
        return self._places.get(place)

    def limit(self, spec: ActionSpec) -> Limit | None:
        """Give the limit that was announced for an action, by those who perform it now, else by the last who did; ``None`` if none was."""
        route, known = self.route(spec), self._actions.get(spec.name, [])
        if route is not None:
            known = [action for action in known if action.key == action_key(route.action, route.version, route.queue)]
        last = max(known, key=lambda action: action.last_seen_us, default=None)
        return None if last is None or last.limit is UNSET else _limit_of(last.limit)

    async def refresh(self) -> int:
        """What the registry says is known here. Gives how long nobody could say anything because the store was away: that somebody was
        silent then tells nothing. Raises `StoreUnavailable`.
        """
        try:
            beats = await scan_all(self._records, BEAT_RECORDS)
            now_us = self._clock.now_us()
            blind_us = now_us - (self.refreshed_us or now_us) if self._is_blind else 0
            self._heard_us = {worker: min(now_us, heard_us + blind_us) for worker, heard_us in self._heard_us.items()}
            self._take_beats(beats, now_us)
            self._is_blind, self.refreshed_us, self._blind_us = False, now_us, self._blind_us + blind_us
            await self._read_workers(now_us)
            actions = list(self._read_as(ActionRecord, await scan_all(self._records, ACTION_RECORDS)).values())
        except StoreUnavailable:
            self._is_blind = True
            raise
        self._services = [action for action in actions if action.source is not Source.HEARTBEAT]
        self._actions = {}
        for action in actions:
            self._actions.setdefault(action.name, []).append(action)
        self._rebuild(now_us)
        blind_us, self._blind_us = self._blind_us, 0
        return blind_us

    async def _read_workers(self, now_us: int) -> None:
        missing = [worker for worker, beat in self._beats.items() if beat.is_alive(now_us) and worker not in self._workers]
        self._anew = self._anew or list(self._workers)
        anew, self._anew = self._anew[:ANEW_MAX], self._anew[ANEW_MAX:]
        wanted = [*missing, *(worker for worker in anew if worker in self._workers)]
        if wanted:
            self._workers |= self._read_as(WorkerRecord, (await self._records.read(WORKER_RECORDS, wanted)).values())

    def _read_as(self, kind: type[T], records: Iterable[Record]) -> dict[str, T]:
        """Those that this version cannot read are left out, and told of once: they are a newer one's."""
        read: dict[str, T] = {}
        for record in records:
            try:
                read[record.key] = msgspec.json.decode(record.value, type=kind)
            except msgspec.MsgspecError as error:
                if self._told.get((record.kind, record.key)) != record.version:
                    self._told[record.kind, record.key] = record.version
                    logger.warning("the record %r of kind %r cannot be read and is left out: %s", record.key, record.kind, error)
        return read

    def note(self, record: WorkerRecord) -> None:
        """A worker announced itself to this node."""
        self._workers[record.worker] = record

    def _take_beats(self, records: Sequence[Record], now_us: int) -> None:
        """A beat counts from when it was seen here: clocks of workers need not agree with the nodes'."""
        known = {record.key for record in records}
        for gone in self._versions.keys() - known:
            del self._versions[gone]
            self._beats.pop(gone, None)
            self._heard_us.pop(gone, None)
            self._workers.pop(gone, None)
        changed = [record for record in records if self._versions.get(record.key) != record.version]
        beats = self._read_as(BeatRecord, changed)
        for record in changed:
            if record.key not in beats:
                continue
            beat, is_first = beats[record.key], record.key not in self._versions
            self._versions[record.key], self._beats[record.key] = record.version, beat
            self._heard_us[record.key] = min(now_us, beat.at_us) if is_first else now_us
            if not is_first and beat.has_left:
                self._workers.pop(record.key, None)
            self.on_beat(beat, self._heard_us[record.key])

    def _rebuild(self, now_us: int) -> None:
        before = set(self._places)
        slots: dict[tuple[str, str, str, int, str], int] = {}
        alive: list[WorkerRecord] = []
        for worker, record in self._workers.items():
            beat = self._beats.get(worker)
            transport = PUSH if record.push_url else record.transport
            if beat is None or transport not in self._transports or not self._is_alive(beat, now_us):
                continue
            alive.append(record)
            for name, version, queue in filter(None, map(_parts, record.actions)):
                address = record.push_url or calls_address(queue, name, version)
                place = (transport, address, name, version, queue)
                slots[place] = slots.get(place, 0) + record.slots
        self.schemas.renew(alive, (action for known in self._actions.values() for action in known))
        routes = [Route(*place, slots=count) for place, count in slots.items()]
        for action in self._services:
            scheme = action.address.partition("://")[0].removesuffix("s")
            if scheme in self._transports:
                routes.append(Route(scheme, action.address, action.name, action.version, action.queue, DIRECT_SLOTS, action))
        self._routes, self._places = {}, {}
        for route in routes:
            self._places[route.place] = route
            self._routes.setdefault(route.action, []).append(route)
        if self._places.keys() - before:
            self.on_change()

    def _is_alive(self, beat: BeatRecord, now_us: int) -> bool:
        heard = msgspec.structs.replace(beat, at_us=self._heard_us.get(beat.worker, beat.at_us))
        return heard.is_alive(now_us)

    @property
    def beats(self) -> dict[str, BeatRecord]:
        """The last word of each worker."""
        return self._beats


def _limit_of(raw: Raw) -> Limit:
    """Announced limits have no functions in them."""
    return Limit(**msgspec.structs.asdict(msgspec.json.decode(raw, type=WireLimit)))


def _parts(key: str) -> tuple[str, int, str] | None:
    rest, _, queue = key.rpartition("/")
    name, _, version = rest.rpartition("/")
    return (name, int(version), queue) if version.isdecimal() else None
