"""What workers hold that ask over HTTP. Protects a call from being kept alive by a worker that has forgotten it: each attempt has to be
heard of itself.
"""

from collections import OrderedDict
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType

from perdure.ports.clock import Clock
from perdure.ports.transport import Packet
from perdure.wire.messages import VERSION, Beat
from perdure.wire.messages import Held as HeldAttempt

FRESH_US: Final = 3_500_000
"""An attempt that was heard of so lately is in the beat of its worker; a lease is three times as long."""
LENT_US: Final = 60_000_000
"""So long a call that was taken can be given back: a worker does so soon, or when it ends."""
WORKERS_MAX: Final = 10_000


class _Held(Struct):
    heard_us: int
    details: Raw | UnsetType = UNSET


class _Lent(Struct):
    since_us: int
    address: str
    packet: Packet


class _Worker(Struct):
    held: dict[str, _Held]
    cancelled: OrderedDict[str, None]
    lent: dict[str, _Lent]


class Holdings:
    """All in memory: another server, or this one after a restart, learns of an attempt when it is heard of next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._workers: OrderedDict[str, _Worker] = OrderedDict()

    def hear(self, worker: str, attempt: str, details: Raw | UnsetType = UNSET) -> None:
        """The worker has the attempt under way."""
        found = self._of(worker).held.setdefault(attempt, _Held(0))
        found.heard_us = self._clock.now_us()
        if details is not UNSET:
            found.details = details

    def lend(self, worker: str, attempt: str, address: str, packet: Packet) -> None:
        """The worker has been given the attempt; its packet, and where that lay, are kept for a while."""
        self.hear(worker, attempt)
        self._of(worker).lent[attempt] = _Lent(self._clock.now_us(), address, packet)

    def lent(self, worker: str, attempt: str) -> tuple[str, Packet] | None:
        """Give address and packet, if the worker has been given it here lately."""
        found = self._of(worker).lent.get(attempt)
        return None if found is None else (found.address, found.packet)

    def end(self, worker: str, attempt: str) -> None:
        """The attempt has ended."""
        found = self._of(worker)
        found.held.pop(attempt, None)
        found.cancelled.pop(attempt, None)
        found.lent.pop(attempt, None)

    def forget(self, worker: str) -> None:
        """The worker is gone."""
        self._workers.pop(worker, None)

    def cancel(self, worker: str, attempt: str) -> None:
        """Nobody waits for the attempt: the worker is told when it is heard of next."""
        self._of(worker).cancelled[attempt] = None

    def cancelled(self, worker: str) -> list[str]:
        """Give the attempts that the worker had better stop."""
        found = self._of(worker)
        return [attempt for attempt in found.cancelled if attempt in found.held]

    def beat(self, worker: str) -> Beat:
        """Give the worker's beat, with what was heard of lately; the rest is forgotten."""
        found, now_us = self._of(worker), self._clock.now_us()
        found.held = {attempt: held for attempt, held in found.held.items() if now_us - held.heard_us <= FRESH_US}
        found.lent = {attempt: lent for attempt, lent in found.lent.items() if now_us - lent.since_us <= LENT_US}
        attempts = [HeldAttempt(id=attempt, details=held.details) for attempt, held in found.held.items()]
        return Beat(v=VERSION, worker=worker, attempts=attempts, is_whole=True, sent_ms=now_us // 1_000)

    def _of(self, worker: str) -> _Worker:
        found = self._workers.setdefault(worker, _Worker({}, OrderedDict(), {}))
        self._workers.move_to_end(worker)
        if len(self._workers) > WORKERS_MAX:
            self._workers.popitem(last=False)
        return found
