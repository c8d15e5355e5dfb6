"""Who performs actions: alive, stale, and ever seen."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from perdure.model.duration import instant
from perdure.model.registry import (
    ACTION_RECORDS,
    BEAT_RECORDS,
    WORKER_RECORDS,
    ActionRecord,
    BeatRecord,
    Source,
    WorkerRecord,
)
from perdure.ports.records import Record, Records, scan_all

T = TypeVar("T")


class Presence(StrEnum):
    """``ALIVE``: heard of within three intervals. ``STALE``: silent since. ``LEFT``: ended as told to. ``SEEN``: a service."""

    ALIVE = "alive"
    STALE = "stale"
    LEFT = "left"
    SEEN = "seen"


class WorkerView(Struct, frozen=True):
    """A worker as the registry has it. ``running``: attempts that it has under way, as far as it has told."""

    worker: str
    presence: Presence
    host: str
    pid: int
    language: str
    transport: str
    slots: int
    running: int
    actions: list[str]
    started: datetime
    last_seen: datetime


class ActionView(Struct, frozen=True):
    """An action as the registry has it. ``workers``: how many are alive that perform it. ``has_conflict``: they differ in its schemas.

    ``schemas``: of the input and the output, as JSON Schema, ``None`` where unknown.
    """

    name: str
    version: int
    queue: str
    presence: Presence
    source: Source
    workers: int
    has_conflict: bool
    description: str
    service: str
    cost: float | None
    last_seen: datetime
    last_host: str
    schemas: tuple[Any, Any]


class Attendance(Struct, frozen=True):
    """Everything that the registry has, read at one time."""

    workers: list[WorkerRecord]
    beats: dict[str, BeatRecord]
    actions: list[ActionRecord]
    now_us: int

    def presence(self, worker: str) -> Presence:
        """Tell how a worker is."""
        beat = self.beats.get(worker)
        if beat is None:
            return Presence.STALE
        if beat.has_left:
            return Presence.LEFT
        return Presence.ALIVE if beat.is_alive(self.now_us) else Presence.STALE

    def performers(self, key: str) -> list[WorkerRecord]:
        """Give the live workers of an action."""
        return [worker for worker in self.workers if key in worker.actions and self.presence(worker.worker) is Presence.ALIVE]


async def attendance(records: Records, now_us: int) -> Attendance:
    """Read the registry. Raises `StoreUnavailable`."""
    workers = _read(await scan_all(records, WORKER_RECORDS), WorkerRecord)
    beats = _read(await scan_all(records, BEAT_RECORDS), BeatRecord)
    actions = _read(await scan_all(records, ACTION_RECORDS), ActionRecord)
    return Attendance(list(workers.values()), beats, list(actions.values()), now_us)


def _read(found: Sequence[Record], kind: type[T]) -> dict[str, T]:
    """Those that this version cannot read are left out: they are a newer one's."""
    read: dict[str, T] = {}
    for record in found:
        with suppress(msgspec.MsgspecError):
            read[record.key] = msgspec.json.decode(record.value, type=kind)
    return read


def worker_views(found: Attendance) -> list[WorkerView]:
    """Give all workers that are remembered, live ones first, the one that was heard of last before the others."""
    views = [_worker_view(found, record) for record in found.workers]
    return sorted(views, key=lambda view: (view.presence is not Presence.ALIVE, -view.last_seen.timestamp(), view.worker))


def _worker_view(found: Attendance, record: WorkerRecord) -> WorkerView:
    beat = found.beats.get(record.worker)
    return WorkerView(
        record.worker,
        found.presence(record.worker),
        record.host,
        record.pid,
        record.language,
        record.transport,
        record.slots,
        0 if beat is None else len(beat.attempts),
        sorted(key.rpartition("/")[0].rpartition("/")[0] for key in record.actions),
        instant(record.started_us),
        instant(record.started_us if beat is None else beat.at_us),
    )


def action_views(found: Attendance) -> list[ActionView]:
    """Give all actions ever seen, by name."""
    return sorted((_action_view(found, record) for record in found.actions), key=lambda view: (view.name, view.version, view.queue))


def _action_view(found: Attendance, record: ActionRecord) -> ActionView:
    performers = found.performers(record.key)
    is_service = record.source is not Source.HEARTBEAT
    return ActionView(
        record.name,
        record.version,
        record.queue,
        Presence.ALIVE if performers else Presence.SEEN if is_service else Presence.STALE,
        record.source,
        len(performers),
        len({worker.actions[record.key] for worker in performers}) > 1,
        record.description,
        record.service,
        record.cost,
        instant(last_us(found, record)),
        record.last_host,
        (_schema(record.input_schema), _schema(record.output_schema)),
    )


def last_us(found: Attendance, record: ActionRecord) -> int:
    """Give when a worker of this action was last heard of."""
    heard = [found.beats[worker.worker].at_us for worker in found.workers if record.key in worker.actions and worker.worker in found.beats]
    return max([record.last_seen_us, *heard])


def _schema(raw: Any) -> Any:
    return None if raw is msgspec.UNSET else msgspec.json.decode(raw)


def unserved(found: Attendance, action: str) -> str | None:
    """Say why nobody performs an action now; ``None`` if somebody does."""
    records: Sequence[ActionRecord] = [record for record in found.actions if record.name == action]
    if any(found.performers(record.key) or record.source is not Source.HEARTBEAT for record in records):
        return None
    if not records:
        return f"no worker has ever announced {action}"
    last = max(records, key=lambda record: last_us(found, record))
    since = instant(last_us(found, last))
    return f"no worker for {action} since {since:%Y-%m-%d %H:%M:%S} UTC, last seen {last.last_host or last.last_worker}"
