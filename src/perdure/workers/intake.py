"""Takes calls in, has them performed, and says how they ended. Protects from performing what is no call, or the same one twice.

A delivery is acked when the nodes know what became of it: its outcome, or, after a second, that it is under way here.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.duration import MICROSECONDS
from perdure.model.errors import InvalidMessage, PerdureError, TooLarge
from perdure.model.failure import Failure, error_types, failure_of
from perdure.model.ids import CallKey
from perdure.model.payload import Content
from perdure.ports.clock import Clock
from perdure.ports.performer import Performer
from perdure.ports.transport import Delivery, Handler
from perdure.wire.attempts import attempt_of, wire_outcome
from perdure.wire.encoding import JSON, decode, encode
from perdure.wire.headers import headers_of
from perdure.wire.messages import AnyWireMessage, Call, Cancel
from perdure.workers.holdings import BeatMaker, Holding, Holdings
from perdure.workers.reading_ahead import ReadingAhead
from perdure.workers.receipts import Receipts
from perdure.workers.reporting import Reporting, Said
from perdure.workers.settling import Settling

logger = logging.getLogger("perdure.worker")

WAIT_MAX_US: Final = 5 * MICROSECONDS
"""A call that got no slot for so long is given back: another worker may have one."""
UNSAID_MAX: Final = 1_000
"""Nothing new is begun while so many reports have not arrived."""


class Duties(Struct, frozen=True):
    """What an intake works with. ``content_type``: of outcomes."""

    clock: Clock
    performer: Performer
    reporting: Reporting
    settling: Settling
    holdings: Holdings
    beats: BeatMaker
    content_type: str = JSON


class Intake:
    """One pool of ``slots`` for the calls of all addresses."""

    def __init__(self, worker: str, slots: int, duties: Duties) -> None:
        self._worker = worker
        self._slots = slots
        self._duties = duties
        self._holdings = duties.holdings
        self._receipts = Receipts(duties.clock, self._tell)
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._ahead = ReadingAhead(slots)
        self.is_stopped = False
        self.on_width: Callable[[], None] = _nothing

    @property
    def width(self) -> int:
        """How many deliveries of an address may come: slots that are not taken by attempts whose delivery is settled, and some ahead."""
        free = 0 if self.is_stopped else max(0, self._slots - self._holdings.told)
        return free and free + self._ahead.room

    async def idle(self) -> None:
        """Nothing is under way."""
        await self._is_idle.wait()

    def handler(self, spec: ActionSpec) -> Handler:
        """Give the handler of an action's address."""
        return partial(self._take, spec)

    async def _take(self, spec: ActionSpec, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            try:
                message = decode(delivery.packet.body, delivery.packet.content_type)
                is_taken = self._admit(spec, message, delivery)
            except InvalidMessage as error:
                await _refuse(delivery, str(error.problem))
            else:
                if not is_taken:
                    await _give_back(delivery)

    def _admit(self, spec: ActionSpec, message: AnyWireMessage, delivery: Delivery) -> bool:
        """The call has its place; ``False`` if there is none any more. Raises `InvalidMessage`."""
        if not isinstance(message, Call):
            raise InvalidMessage(problem=f"it is of type {type(message).__name__.lower()!r}; only calls are taken here")
        if (message.action, message.version) != (spec.name, spec.version):
            found = f"{message.action!r} version {message.version}"
            raise InvalidMessage(problem=f"it is for {found}; performed here is {spec.name!r} version {spec.version}")
        known, said = self._holdings.find(message.id), self._holdings.outcome(message.id)
        if known is not None:
            self._join(known, delivery)
        elif said is not None:
            self._report(said, message.id, [delivery])
        elif self.is_stopped:
            return False
        else:
            attempt, now_us = attempt_of(message, spec), self._duties.clock.now_us()
            self._place(Holding(message.id, attempt, now_us, [delivery], headers=headers_of(message)))
        return True

    def _join(self, known: Holding, delivery: Delivery) -> None:
        """It came again: its deliveries are settled together, for the earlier ones may not count any more."""
        if known.is_told:
            self._duties.settling.ack([delivery])
        else:
            known.deliveries.append(delivery)

    def _place(self, holding: Holding) -> None:
        if self._has_slot():
            self._begin(holding)
        else:
            self._holdings.wait(holding)

    def _has_slot(self) -> bool:
        return self._holdings.under_way < self._slots and self._duties.reporting.waiting < UNSAID_MAX

    def _begin(self, holding: Holding) -> None:
        self._holdings.begin(holding)
        self._is_idle.clear()
        deliver, beat = partial(self._on_outcome, holding), partial(_on_beat, holding)
        holding.performance = self._duties.performer.perform(holding.attempt, deliver, beat)
        self._receipts.expect(holding)

    def fill(self) -> None:
        """Calls that wait have the slots that are free."""
        while not self.is_stopped and self._has_slot() and (holding := self._holdings.next_waiting()) is not None:
            self._begin(holding)

    def _on_outcome(self, holding: Holding, attempt: Attempt, outcome: Outcome) -> None:
        said = self._said(holding.id, holding.headers, outcome)
        self._holdings.end(holding, said)
        self._report(said, holding.id, holding.deliveries)
        self.fill()
        if self._ahead.note_end(outcome.took_us) or holding.is_told:
            self.on_width()
        if not self._holdings.under_way:
            self._is_idle.set()

    def _said(self, id: str, headers: Mapping[str, str], outcome: Outcome) -> Said:
        message = wire_outcome(id, outcome, worker=self._worker)
        content_type = self._duties.content_type
        return Said(f"outcome/{id}/{self._worker}", encode(message, content_type), CallKey(message.key), content_type, headers)

    def _report(self, said: Said, id: str, deliveries: list[Delivery]) -> None:
        self._duties.reporting.put(said, partial(self._arrived, deliveries), partial(self._too_large, id))

    def _arrived(self, deliveries: list[Delivery]) -> None:
        self._duties.settling.ack(deliveries)
        deliveries.clear()
        self.fill()

    def _too_large(self, id: str, error: TooLarge) -> Said:
        # The headers may be what was too large.
        return self._said(id, {}, Outcome(failure=failure_of(error, is_final=True), error_types=error_types(error)))

    def _tell(self, due: list[Holding]) -> None:
        """The nodes learn that these are under way here, and then their deliveries are acked."""
        beat = self._duties.beats.beat(due, sent_us=self._duties.clock.now_us(), is_whole=False)

        def arrived() -> None:
            beat.arrived()
            for holding in due:
                holding.is_told = True
                self._duties.settling.ack(holding.deliveries)
                holding.deliveries.clear()
            self.on_width()

        self._duties.reporting.put(beat.said, arrived)

    async def take_words(self, deliveries: Sequence[Delivery]) -> None:
        """What nodes say to this worker is done."""
        for delivery in deliveries:
            try:
                message = decode(delivery.packet.body, delivery.packet.content_type)
                if not isinstance(message, Cancel):
                    raise InvalidMessage(
                        problem=f"it is of type {type(message).__name__.lower()!r}; workers are told to cancel, nothing else"
                    )
            except InvalidMessage as error:
                await _refuse(delivery, str(error.problem))
            else:
                for id in message.attempts:
                    self._cancel(id, message.reason)
                self._duties.settling.ack([delivery])

    def _cancel(self, id: str, reason: str) -> None:
        holding = self._holdings.find(id)
        if holding is None:
            return
        if holding.performance is not None:
            holding.performance.cancel()
            return
        self._holdings.forget_waiting(holding)
        failure = Failure("asyncio.exceptions:CancelledError", reason or "the workflow stopped waiting", is_final=True)
        self._on_outcome(holding, holding.attempt, Outcome(failure=failure))

    async def give_back_stale(self) -> int:
        """Calls that have waited too long for a slot go back, so that another worker gets them; gives their number."""
        self._ahead.end_round(under_way=self._holdings.under_way)
        return await self._give_back(self._holdings.stale(self._duties.clock.now_us() - WAIT_MAX_US))

    async def stop(self) -> None:
        """Nothing new is begun; what waits for a slot goes back."""
        self.is_stopped = True
        await self._give_back(self._holdings.stale())

    async def _give_back(self, holdings: Sequence[Holding]) -> int:
        for holding in holdings:
            holding.is_over = True
            for delivery in holding.deliveries:
                await _give_back(delivery)
        return len(holdings)

    def close(self) -> None:
        """Nothing more is said of attempts under way."""
        self._receipts.close()


def _on_beat(holding: Holding, attempt: Attempt, content: Content) -> None:
    holding.details = content


async def _refuse(delivery: Delivery, reason: str) -> None:
    logger.warning("%s is refused: %s", delivery.packet.id, reason)
    try:
        await delivery.refuse(reason)
    except PerdureError as error:
        logger.debug("%s was not refused: %s", delivery.packet.id, error)


async def _give_back(delivery: Delivery) -> None:
    try:
        await delivery.give_back()
    except PerdureError as error:
        logger.debug("%s was not given back: %s", delivery.packet.id, error)


def _nothing() -> None:
    pass
