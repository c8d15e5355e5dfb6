"""A worker: announces its actions, performs their calls, says how they ended. Protects nodes from having to know who performs what."""

import asyncio
import logging
import re
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from msgspec import Struct

from perdure.model.call import ActionSpec
from perdure.model.duration import MICROSECONDS, span_text
from perdure.model.errors import DefinitionConflict, InvalidOption
from perdure.ports.clock import Clock, Entropy, pause
from perdure.ports.nursery import Nursery
from perdure.ports.performer import Performer
from perdure.ports.reporter import Reporter
from perdure.ports.transport import Handler, Transport, calls_address, worker_address
from perdure.wire.encoding import JSON, encode
from perdure.wire.messages import VERSION, AnyWireMessage, Leave
from perdure.workers.announcing import DEFAULT_QUEUE, Presence, announcement
from perdure.workers.beating import Beating, BeatOptions, BeatThread, Connect
from perdure.workers.handlings import Handlings
from perdure.workers.holdings import Beat, BeatMaker, Holdings
from perdure.workers.intake import Duties, Intake
from perdure.workers.reporting import Reporting, Said
from perdure.workers.settling import Settling
from perdure.workers.watchdog import Watchdog

logger = logging.getLogger("perdure.worker")

ANNOUNCE_US: Final = 60 * MICROSECONDS
ROUND_US: Final = MICROSECONDS
WIDTH_PAUSE_US: Final = 100_000
GOODBYE_US: Final = 5 * MICROSECONDS
WORDS_SLOTS: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


class Surroundings(Struct, frozen=True):
    """What a worker works with. ``connect``: opens a reporter for the thread of the beats; without it beats leave from the event loop."""

    transport: Transport
    reporter: Reporter
    performer: Performer
    clock: Clock
    entropy: Entropy
    connect: Connect | None = None


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """``name``: the id begins with it. ``slots``: attempts at once. ``interval_us``: of beats. ``drain_us``: how long attempts under way
    may take to end when it closes. An event loop that is blocked for ``blocked_warn_us`` is logged; for more than ``blocked_max_us``,
    others get the work. ``content_type``: the encoding of what it says.
    """

    name: str
    slots: int = 32
    interval_us: int = 3 * MICROSECONDS
    drain_us: int = 30 * MICROSECONDS
    blocked_warn_us: int = MICROSECONDS
    blocked_max_us: int = 60 * MICROSECONDS
    content_type: str = JSON

    def check(self) -> None:
        """Raise `InvalidOption` for what cannot be."""
        if not _NAME.fullmatch(self.name):
            raise InvalidOption(option="name", found=repr(self.name), expected="up to 100 letters, digits and '.', '_', '-'")
        if self.slots < 1:
            raise InvalidOption(option="slots", found=repr(self.slots), expected="1 or more")
        if self.interval_us < 1_000:
            raise InvalidOption(option="interval", found=span_text(self.interval_us), expected="1ms or more")


class WorkerService:
    """Performs ``specs``, each for the calls of its queue and version. Opened once, closed once."""

    def __init__(self, around: Surroundings, specs: Sequence[ActionSpec], options: WorkerOptions) -> None:
        options.check()
        self._around = around
        self._specs = _checked(specs)
        self._options = options
        self.id: str = f"{options.name}.{around.entropy.token()}"
        self._watchdog = Watchdog(options.blocked_warn_us / MICROSECONDS)
        self._beats = BeatMaker(self.id, options.content_type)
        self._holdings = Holdings()
        self._reporting = Reporting(around.reporter, around.clock)
        self._settling = Settling()
        duties = Duties(around.clock, around.performer, self._reporting, self._settling, self._holdings, self._beats, options.content_type)
        self._intake = Intake(self.id, options.slots, duties)
        self._calls = Handlings(around.transport, self._handlers())
        self._words = Handlings(around.transport, {worker_address(self.id): self._intake.take_words})
        self._width_changed = asyncio.Event()
        self._intake.on_width = self._width_changed.set
        self._beating = Beating(
            self._whole_beat, self._watchdog, BeatOptions(interval_us=options.interval_us, blocked_max_us=options.blocked_max_us)
        )
        self._beat_thread = None if around.connect is None else BeatThread(self._beating, around.connect)
        self._nursery = Nursery()
        self._tasks: list[asyncio.Task[None]] = []
        self._beat_task: asyncio.Task[None] | None = None
        self._started_ms = 0
        self._announced_us = 0

    def _handlers(self) -> dict[str, Handler]:
        return {calls_address(spec.queue or DEFAULT_QUEUE, spec.name, spec.version): self._intake.handler(spec) for spec in self._specs}

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return self._holdings.under_way

    @property
    def is_away(self) -> bool:
        """Tell whether the nodes cannot be told anything now."""
        return self._reporting.is_away

    @property
    def blocks(self) -> int:
        """How often the event loop was found blocked."""
        return self._watchdog.blocks

    async def open(self) -> None:
        """The worker is announced and takes calls. Raises `TransportUnavailable`, `InvalidOption`."""
        try:
            await self._open()
        except BaseException:
            await self._end_beats()
            await self._let_go()
            raise

    async def _open(self) -> None:
        await self._around.transport.open()
        self._nursery.open()
        self._started_ms = self._around.clock.now_us() // 1_000
        self._watchdog.start()
        self._begin(self._reporting.run())
        self._announce()
        if self._beat_thread is None:
            self._beat_task = asyncio.create_task(self._beating.run(self._around.reporter, self._around.clock))
        else:
            self._beat_thread.start()
        await self._words.widen(WORDS_SLOTS)
        await self._calls.widen(self._intake.width)
        self._begin(self._follow_width())
        self._begin(self._go_round())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_complain)
        self._tasks.append(task)

    async def close(self) -> int:
        """Nothing new was begun, attempts under way have ended or their time has, what they said has arrived, and the nodes know that this
        worker has left. Gives how many attempts were given up.
        """
        await self.stop_taking()
        await self._within(self._intake.idle(), self._options.drain_us)
        left = self._holdings.under_way
        await self._around.performer.close()
        await self._within(self._said_and_settled(), GOODBYE_US)
        await self._end_beats()
        self._reporting.put(self._said(f"leave/{self.id}", Leave(v=VERSION, worker=self.id)))
        await self._within(self._reporting.quiet(), GOODBYE_US)
        await self._let_go()
        return left

    async def stop_taking(self) -> None:
        """Nothing new is begun; calls that wait here go to others."""
        self._intake.is_stopped = True
        await self._calls.widen(0)
        await self._intake.stop()

    async def _said_and_settled(self) -> None:
        await self._reporting.quiet()
        await self._settling.quiet()

    async def _within(self, work: Coroutine[Any, Any, None], span_us: int) -> None:
        """It is done, or that time has passed."""
        working, over = asyncio.ensure_future(work), asyncio.ensure_future(pause(self._around.clock, span_us))
        try:
            await asyncio.wait({working, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            over.cancel()
            await asyncio.gather(working, over, return_exceptions=True)

    async def _end_beats(self) -> None:
        if self._beat_thread is not None:
            await self._beat_thread.stop()
        if self._beat_task is not None:
            self._beat_task.cancel()
            await asyncio.gather(self._beat_task, return_exceptions=True)

    async def _let_go(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._intake.close()
        self._watchdog.stop()
        self._nursery.close()
        await self._calls.close()
        await self._words.close()
        await self._around.transport.close()

    def _whole_beat(self) -> Beat:
        return self._beats.beat(self._holdings.all_under_way(), sent_us=self._around.clock.now_us(), is_whole=True)

    def _announce(self) -> None:
        now_us = self._announced_us = self._around.clock.now_us()
        presence = Presence(
            worker=self.id, started_ms=self._started_ms, interval_ms=self._options.interval_us // 1_000, slots=self._options.slots
        )
        self._reporting.put(self._said(f"announce/{self.id}/{now_us}", announcement(presence, self._specs)))

    def _said(self, id: str, message: AnyWireMessage) -> Said:
        content_type = self._options.content_type
        return Said(id, encode(message, content_type), content_type=content_type)

    async def _follow_width(self) -> None:
        """The handlings are as wide as there are slots, soon after that changed."""
        while True:
            await self._width_changed.wait()
            self._width_changed.clear()
            await self._calls.widen(self._intake.width)
            await pause(self._around.clock, WIDTH_PAUSE_US)

    async def _go_round(self) -> None:
        """Now and then: calls that wait too long go back, addresses that could not be handled are tried again, all is announced anew."""
        while True:
            await pause(self._around.clock, ROUND_US)
            await self._intake.give_back_stale()
            await self._words.widen(WORDS_SLOTS)
            self._width_changed.set()
            if self._around.clock.now_us() - self._announced_us >= ANNOUNCE_US and not self._reporting.is_away:
                self._announce()


def _complain(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("a part of this worker has ended; restart it", exc_info=error)


def _checked(specs: Sequence[ActionSpec]) -> list[ActionSpec]:
    """Raise `InvalidOption` for what a worker cannot perform, `DefinitionConflict` for two of one address."""
    if not specs:
        raise InvalidOption(option="actions", found="none", expected="at least one action")
    known: dict[tuple[str, str, int], ActionSpec] = {}
    for spec in specs:
        if spec.is_transactional:
            raise InvalidOption(option="actions", found=f"the transactional {spec.name!r}", expected="actions that need no engine's store")
        other = known.setdefault((spec.queue or DEFAULT_QUEUE, spec.name, spec.version), spec)
        if other.function is not spec.function:
            first, second = (getattr(entry.function, "__module__", "?") for entry in (other, spec))
            raise DefinitionConflict(what="actions", name=spec.name, version=spec.version, first=first, second=second)
    return list(known.values())
