"""Workers that ask for calls over HTTP. Protects a call from being lost between the queue and a worker that has gone away meanwhile: it
leaves the queue only once the registry says who has it, and a worker that does not speak of it loses it after a lease.
"""

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field, structs

from perdure.api.problems import Refusal
from perdure.api.waiting import Waiting
from perdure.api.work.holdings import Holdings
from perdure.api.work.news import News
from perdure.model.errors import InvalidMessage
from perdure.model.ids import CallKey
from perdure.model.registry import WORKER_RECORDS, WorkerRecord
from perdure.ports.clock import Clock
from perdure.ports.packets import Claim, Settlement
from perdure.ports.reporter import Reporter
from perdure.ports.store import Hint, Store
from perdure.ports.transport import DEAD, DELIVERIES_MAX, Packet, calls_address, dead_letter, queue_of, worker_address
from perdure.wire.answers import GivenCall, given
from perdure.wire.encoding import JSON, decode, encode
from perdure.wire.messages import VERSION, Announce, AnyWireMessage, Call, Cancel, Held, Leave

LOOK_MS_MAX: Final = 500
"""The longest pause between two looks of a worker that waits, where no word of a new call comes."""
CLAIM_US: Final = 10_000_000
"""So long a call that was taken here, and not received, is kept from others."""
CANCELS_MAX: Final = 100
RETURNS_HEADER: Final = "perdure-returns"
"""How often workers have given a call back."""


class Said(Struct, frozen=True):
    """A report to the nodes."""

    id: str
    body: bytes
    key: CallKey | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Wanted(Struct, frozen=True, kw_only=True):
    """What a worker asks for: calls of these actions, or of this queue; of all that it announced where it says neither."""

    worker: str
    actions: tuple[str, ...] = ()
    queue: str | None = None
    limit: int = 1
    wait_ms: int = 0


class Reporters(Struct, frozen=True, kw_only=True):
    """Who takes down what workers say: of those that ask for calls, and of those that are called."""

    pulling: Reporter
    pushed: Reporter


class Pulling:
    """``secret``: gives the key of receipts."""

    def __init__(
        self, store: Store, clock: Clock, reporters: Reporters, *, secret: Callable[[], Awaitable[bytes]], waiting: Waiting
    ) -> None:
        self._store = store
        self._clock = clock
        self._reporters = reporters
        self._secret = secret
        self._waiting = waiting
        self._news = News(store)
        self.holdings = Holdings(clock)

    async def announce(self, message: Announce) -> None:
        """The worker and its actions are known."""
        reporter = self._reporters.pushed if message.push_url else self._reporters.pulling
        await reporter.report([_said(f"announce {message.worker} {message.started_ms}", message)])

    async def take(self, wanted: Wanted, is_gone: Callable[[], Awaitable[bool]]) -> list[GivenCall]:
        """Give calls, and wait for one if there is none. ``is_gone``: tells whether the worker has hung up."""
        record = await self._worker(wanted.worker)
        addresses = _addresses(record, wanted)
        end_us, beaten_us = self._clock.now_us() + wanted.wait_ms * 1_000, 0
        while True:
            now_us = self._clock.now_us()
            heard = self._news.begin(addresses)
            try:
                claims = await self._look(addresses, wanted.limit)
                if claims and await is_gone():
                    await self._store.settle_packets(Settlement(given_back=[claim for claim, _ in claims]), self._clock.now_us())
                    return []
                if claims or now_us - beaten_us >= record.interval_us:
                    await self._receive(wanted.worker, claims)
                    beaten_us = now_us
                left_ms = (end_us - now_us) // 1_000
                if claims or left_ms <= 0 or self._waiting.is_ending or await is_gone():
                    secret = await self._secret()
                    return [given(secret, call, queue_of(claim.address, call.action, call.version)) for claim, call in claims]
                await self._waiting.until(heard, min(left_ms, LOOK_MS_MAX))
            finally:
                heard.cancel()

    async def _worker(self, worker: str) -> WorkerRecord:
        found = (await self._store.read(WORKER_RECORDS, [worker])).get(worker)
        if found is None:
            raise Refusal(404, "worker-not-found", f"The worker {worker!r} is not known here. Announce it first: POST /v1/workers.")
        return msgspec.json.decode(found.value, type=WorkerRecord)

    async def _look(self, addresses: list[str], limit: int) -> list[tuple[Claim, Call]]:
        """One address after the other, and the next time from another one on: none of them starves."""
        found: list[tuple[Claim, Call]] = []
        refused: list[tuple[Claim, str]] = []
        addresses.append(addresses.pop(0))
        for address in addresses:
            if len(found) >= limit:
                break
            for claim in await self._claim(address, limit - len(found)):
                message = _message(claim)
                if isinstance(message, Call):
                    found.append((claim, message))
                else:
                    refused.append((claim, message))
        if refused:
            await self._store.settle_packets(Settlement(refused=refused), self._clock.now_us())
        return found

    async def _claim(self, address: str, most: int) -> list[Claim]:
        """Each look is another owner's: none gets what another one has."""
        now_us = self._clock.now_us()
        return await self._store.take_packets({address: most}, secrets.randbits(63), now_us=now_us, until_us=now_us + CLAIM_US)

    async def _receive(self, worker: str, claims: Sequence[tuple[Claim, Call]]) -> None:
        """First the registry has it that the worker holds them, then they leave the queue."""
        for claim, call in claims:
            self.holdings.lend(worker, call.id, claim.address, claim.packet)
        try:
            await self._beat(worker)
        except BaseException:
            for _, call in claims:
                self.holdings.end(worker, call.id)
            raise
        if claims:
            await self._store.settle_packets(Settlement(acked=[claim for claim, _ in claims]), self._clock.now_us())

    async def beat(self, worker: str, attempts: Sequence[Held]) -> list[str]:
        """The worker lives, with these attempts; gives those of them that it had better stop."""
        for held in attempts:
            self.holdings.hear(worker, held.id, held.details)
        await self._beat(worker)
        return await self.cancelled(worker)

    async def heartbeat(self, worker: str, attempt: str, details: Raw | UnsetType = UNSET) -> bool:
        """The attempt makes progress; tells whether nobody waits for it any more."""
        return attempt in await self.beat(worker, [Held(id=attempt, details=details)])

    async def _beat(self, worker: str) -> None:
        beat = self.holdings.beat(worker)
        await self._reporters.pulling.report([_said(f"beat {worker} {beat.sent_ms}", beat)])

    async def cancelled(self, worker: str) -> list[str]:
        """Give the attempts that the worker had better stop, as nodes have said by now."""
        claims = await self._claim(worker_address(worker), CANCELS_MAX)
        for claim in claims:
            with contextlib.suppress(InvalidMessage):  # Whatever else was sent to one worker alone is of no use to anybody.
                message = decode(claim.packet.body, claim.packet.content_type)
                for attempt in message.attempts if isinstance(message, Cancel) else ():
                    self.holdings.cancel(worker, attempt)
        if claims:
            await self._store.settle_packets(Settlement(acked=claims), self._clock.now_us())
        return self.holdings.cancelled(worker)

    async def give_back(self, worker: str, attempt: str, reason: str) -> None:
        """The call lies in its queue again; with a reason it is a dead letter, as it is after it came back `DELIVERIES_MAX` times."""
        lent = self.holdings.lent(worker, attempt)
        if lent is None:
            detail = f"The worker {worker!r} did not take {attempt!r} here lately; left alone, it goes to others after its lease."
            raise Refusal(409, "not-taken-here", detail)
        address, packet = _returned(*lent, reason, self._clock.now_us())
        await self._store.put_packets([(address, packet)], self._clock.now_us())
        self.holdings.end(worker, attempt)
        self._store.announce(Hint(called=frozenset({address})))
        await self._beat(worker)

    async def leave(self, worker: str) -> None:
        """The worker has ended; what it had is given to others."""
        await self._worker(worker)
        self.holdings.forget(worker)
        await self._reporters.pulling.report([_said(f"leave {worker}", Leave(v=VERSION, worker=worker))])


def _message(claim: Claim) -> Call | str:
    """Read what came, or say why it is nothing for a worker."""
    if claim.deliveries > DELIVERIES_MAX:
        return f"it was taken {DELIVERIES_MAX} times, and never received"
    try:
        message = decode(claim.packet.body, claim.packet.content_type)
    except InvalidMessage as error:
        return str(error)
    return message if isinstance(message, Call) else f"a {type(message).__name__.lower()} is not for workers"


def _returned(address: str, packet: Packet, reason: str, now_us: int) -> tuple[str, Packet]:
    count = int(packet.headers.get(RETURNS_HEADER, "0")) + 1
    if not reason and count < DELIVERIES_MAX:
        return address, structs.replace(packet, headers={**packet.headers, RETURNS_HEADER: str(count)})
    told = reason or f"given back {DELIVERIES_MAX} times"
    return DEAD, dead_letter(packet, address, told, now_us)


def _said(id: str, message: AnyWireMessage) -> Said:
    return Said(id, encode(message))


def _addresses(record: WorkerRecord, wanted: Wanted) -> list[str]:
    found = []
    for key in record.actions:
        rest, _, queue = key.rpartition("/")
        name, _, version = rest.rpartition("/")
        if (not wanted.actions or name in wanted.actions) and wanted.queue in (None, queue):
            found.append(calls_address(queue, name, int(version)))
    if not found:
        detail = f"The worker {record.worker!r} announced no such action; it has {', '.join(sorted(record.actions)) or 'none'}."
        raise Refusal(422, "action-not-announced", detail)
    return found
