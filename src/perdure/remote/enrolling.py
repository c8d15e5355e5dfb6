"""What workers say of themselves, as the registry keeps it. Nobody but a worker can write there that an action exists (F7)."""

from hashlib import sha256

import msgspec
from msgspec import UNSET, Raw

from perdure.model.payload import packed
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
from perdure.ports.records import RecordChange, Records
from perdure.wire.attempts import details_of
from perdure.wire.messages import Announce, AnnouncedAction, Beat, Leave

KEPT_US = 7 * 86_400_000_000
"""How long a worker that was not heard of any more is remembered; its actions are for ever."""
DIGEST_DIGITS = 16
_encode = msgspec.json.Encoder().encode


class Enrolling:
    """Writes announcements and beats into the records."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    async def announce(self, message: Announce, transport: str) -> WorkerRecord:
        """The worker and its actions are known. Raises `StoreUnavailable`."""
        now_us = self._clock.now_us()
        record = WorkerRecord(
            worker=message.worker,
            transport=transport,
            host=message.host,
            pid=message.pid,
            language=message.language,
            started_us=message.started_ms * 1_000,
            interval_us=message.interval_ms * 1_000,
            slots=message.slots,
            actions={action_key(action.name, action.version, action.queue): schemas_digest(action) for action in message.actions},
            push_url=message.push_url,
        )
        seen = await self._seen(message, now_us)
        beat = BeatRecord(worker=message.worker, at_us=now_us, interval_us=record.interval_us)
        known = await self._records.read(BEAT_RECORDS, [message.worker])
        changes = [RecordChange(WORKER_RECORDS, message.worker, _encode(record), expires_us=now_us + KEPT_US), *seen]
        if not known:
            changes.append(RecordChange(BEAT_RECORDS, message.worker, _encode(beat), expires_us=now_us + KEPT_US))
        await self._records.write(changes)
        return record

    async def _seen(self, message: Announce, now_us: int) -> list[RecordChange]:
        keys = {action_key(action.name, action.version, action.queue): action for action in message.actions}
        known = await self._records.read(ACTION_RECORDS, list(keys))
        changes = []
        for key, action in keys.items():
            old = msgspec.json.decode(known[key].value, type=ActionRecord) if key in known else None
            first_us = now_us if old is None else old.first_seen_us
            changes.append(RecordChange(ACTION_RECORDS, key, _encode(_record(action, message, first_us, now_us))))
        return changes

    async def beat(self, message: Beat, interval_us: int | None = None) -> None:
        """The worker lives, with these attempts. One that is not whole tells too little to be kept. Raises `StoreUnavailable`."""
        if not message.is_whole:
            return
        now_us = self._clock.now_us()
        told = {held.id: details_of(held) for held in message.attempts}
        details = {id: Raw(packed(content)) for id, content in told.items() if content is not None}
        interval_us = interval_us or await self._interval_us(message.worker)
        record = BeatRecord(worker=message.worker, at_us=now_us, interval_us=interval_us, attempts=list(told), details=details)
        await self._records.write([RecordChange(BEAT_RECORDS, message.worker, _encode(record), expires_us=now_us + KEPT_US)])

    async def _interval_us(self, worker: str) -> int:
        found = await self._records.read(WORKER_RECORDS, [worker])
        return msgspec.json.decode(found[worker].value, type=WorkerRecord).interval_us if worker in found else DEFAULT_INTERVAL_US

    async def leave(self, message: Leave) -> None:
        """The worker has ended as it was told to. Raises `StoreUnavailable`."""
        now_us = self._clock.now_us()
        record = BeatRecord(worker=message.worker, at_us=now_us, interval_us=DEFAULT_INTERVAL_US, has_left=True)
        await self._records.write([RecordChange(BEAT_RECORDS, message.worker, _encode(record), expires_us=now_us + KEPT_US)])


DEFAULT_INTERVAL_US = 3_000_000
"""Of a worker that beats and has never announced itself here."""


def schemas_digest(action: AnnouncedAction | ActionRecord) -> str:
    """Give a hash of the schemas: two workers whose hashes differ do not mean the same action."""
    known = [None if schema is UNSET else schema for schema in (action.input_schema, action.output_schema)]
    return sha256(_encode(known)).hexdigest()[:DIGEST_DIGITS]


def _record(action: AnnouncedAction, message: Announce, first_us: int, now_us: int) -> ActionRecord:
    return ActionRecord(
        name=action.name,
        version=action.version,
        queue=action.queue,
        source=Source.HEARTBEAT,
        description=action.description,
        input_schema=action.input_schema,
        output_schema=action.output_schema,
        limit=UNSET if action.limit is None else Raw(_encode(action.limit)),
        cost=action.cost,
        service=action.service,
        first_seen_us=first_us,
        last_seen_us=now_us,
        last_worker=message.worker,
        last_host=message.host,
    )
