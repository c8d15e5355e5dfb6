"""What a worker says, while everything works and while nothing does."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from perdure import Registry, action
from perdure.model import errors
from perdure.model.codec import Serializer
from perdure.ports.reporter import Report, Reporter
from perdure.ports.transport import NODES, Packet
from perdure.testing.clock import VirtualClock, VirtualEntropy
from perdure.wire.attempts import Sender, call_of
from perdure.wire.encoding import encode
from perdure.wire.headers import headers_of
from perdure.wire.messages import VERSION, Beat, Leave
from perdure.workers.beating import Beating, BeatOptions, BeatThread
from perdure.workers.executors import LocalPerformer
from perdure.workers.holdings import Beat as MadeBeat
from perdure.workers.reporting import BATCH_MAX, Reporting, Said
from perdure.workers.settling import Settling
from perdure.workers.telling import TransportReporter
from perdure.workers.watchdog import Watchdog
from perdure.workers.worker import Surroundings, WorkerOptions, WorkerService
from tests.workers.broker import Broker, Desk, Ear, attempt, packet_of, settled, until
from tests.workers.conftest import begun


@action(registry=Registry())
async def double(number: int) -> int:
    return 2 * number


def said(name: str, size: int = 0) -> Said:
    return Said(name, encode(Leave(v=VERSION, worker=name + "x" * size)))


@asynccontextmanager
async def reporting(ear: Ear, clock: VirtualClock) -> AsyncIterator[Reporting]:
    found = Reporting(ear, clock)
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_reports_that_wait_go_out_together() -> None:
    ear, clock = Ear(), VirtualClock()
    ear.gate = asyncio.Event()
    async with reporting(ear, clock) as found:
        found.put(said("first"))
        await settled()
        for at in range(BATCH_MAX + 5):
            found.put(said(f"{at}"))
        assert found.waiting == BATCH_MAX + 6
        ear.gate.set()
        await found.quiet()
        assert ear.batches == [1, BATCH_MAX, 5]
        assert found.waiting == 0


async def test_a_batch_is_bounded_by_its_bytes_too() -> None:
    ear, clock = Ear(), VirtualClock()
    async with reporting(ear, clock) as found:
        for at in range(3):
            found.put(said(f"{at}", size=600_000))
        await found.quiet()
        assert ear.batches == [1, 1, 1]


async def test_what_cannot_arrive_is_tried_again_without_end_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    ear, clock = Ear(), VirtualClock()
    arrived: list[str] = []
    ear.is_away = True
    async with reporting(ear, clock) as found:
        with caplog.at_level(logging.INFO, "perdure.worker"):
            found.put(said("first"), lambda: arrived.append("first"))
            pauses = []
            for _ in range(10):
                await settled()
                next_us = clock.next_us()
                assert next_us is not None
                pauses.append(next_us - clock.now_us())
                clock.move_to(next_us)
            assert pauses[:3] == [100_000, 200_000, 400_000]
            assert pauses[-1] == 5_000_000
            assert found.is_away
            assert arrived == []
            ear.is_away = False
            await settled()
            clock.move_to(clock.next_us() or 0)
            await found.quiet()
        assert arrived == ["first"]
        assert not found.is_away
        assert [record.getMessage() for record in caplog.records][-1] == "the nodes can be told again"
        assert len(caplog.records) == 2


async def test_a_report_that_is_too_large_is_replaced_and_its_neighbours_arrive() -> None:
    ear, clock = Ear(), VirtualClock()
    ear.bytes_max = 1_000
    arrived: list[str] = []
    instead: list[errors.TooLarge] = []

    def replace(error: errors.TooLarge) -> Said:
        instead.append(error)
        return said("small")

    async with reporting(ear, clock) as found:
        found.put(said("a"), lambda: arrived.append("a"))
        found.put(said("large", size=2_000), lambda: arrived.append("large"), replace)
        found.put(said("dropped", size=2_000), lambda: arrived.append("dropped"))
        found.put(said("b"), lambda: arrived.append("b"))
        await found.quiet()
    assert sorted(ear.ids) == ["a", "b", "small"]
    assert sorted(arrived) == ["a", "b", "dropped", "large"]
    assert len(instead) == 1


class Pace:
    """Beats of nothing, counted."""

    def __init__(self) -> None:
        self.made = 0
        self.arrived = 0

    def make(self) -> MadeBeat:
        self.made += 1
        message = Beat(v=VERSION, worker="w", is_whole=True, sent_ms=1)
        return MadeBeat(Said(f"beat/{self.made}", encode(message)), [])


def beating(pace: Pace, watchdog: Watchdog, blocked_max_us: int = 60_000_000) -> Beating:
    return Beating(pace.make, watchdog, BeatOptions(interval_us=5_000, blocked_max_us=blocked_max_us))


async def test_beats_go_on_while_an_action_blocks_the_event_loop() -> None:
    ear, pace, watchdog = Ear(), Pace(), Watchdog(0.05)
    heard_in: set[int] = set()

    @asynccontextmanager
    async def connect() -> AsyncIterator[Reporter]:
        heard_in.add(threading.get_ident())
        yield ear

    thread = BeatThread(beating(pace, watchdog), connect)
    watchdog.start()
    thread.start()
    before = len(ear.heard)
    end_s = time.monotonic() + 20
    while len(ear.heard) < before + 5 and time.monotonic() < end_s:
        pass  # The event loop is blocked, as by an action that computes.
    assert len(ear.heard) >= before + 5
    await thread.stop()
    watchdog.stop()
    count = len(ear.heard)
    await settled()
    assert len(ear.heard) == count
    assert heard_in.isdisjoint({threading.get_ident()})


async def test_a_loop_that_is_blocked_for_too_long_beats_no_more(caplog: pytest.LogCaptureFixture) -> None:
    ear, pace, watchdog = Ear(), Pace(), Watchdog(0.02)
    silent = beating(pace, watchdog, blocked_max_us=100_000)
    watchdog.start()
    end_s = time.monotonic() + 20
    while watchdog.blocked_s < 0.2 and time.monotonic() < end_s:
        pass
    assert not await silent.beat(ear)
    assert not await silent.beat(ear)
    assert ear.heard == []
    await until(lambda: watchdog.blocked_s == 0)
    assert await silent.beat(ear)
    watchdog.stop()
    assert sum("no more beats" in record.getMessage() for record in caplog.records) == 1


async def test_a_beat_that_does_not_arrive_is_not_counted_and_the_next_is_made() -> None:
    ear, pace = Ear(), Pace()
    found = beating(pace, Watchdog())
    ear.is_away = True
    assert not await found.beat(ear)
    ear.is_away = False
    assert await found.beat(ear)
    assert pace.made == 2


async def test_beats_survive_a_connection_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    ear, pace = Ear(), Pace()
    tries: list[int] = []

    @asynccontextmanager
    async def connect() -> AsyncIterator[Reporter]:
        tries.append(1)
        if len(tries) == 1:
            raise errors.TransportUnavailable(transport="ear", problem="it is away")
        if len(tries) == 2:
            raise RuntimeError("a driver's own")
        yield ear

    thread = BeatThread(beating(pace, Watchdog()), connect)
    thread.start()
    await until(lambda: ear.heard)
    await thread.stop()
    assert "beats failed" in caplog.text


async def test_a_thread_of_beats_that_is_stopped_before_it_began_says_nothing() -> None:
    thread = BeatThread(beating(Pace(), Watchdog()), lambda: pytest.fail("connected"))
    await thread.stop()
    thread.start()
    assert thread._thread is not None
    await asyncio.to_thread(thread._thread.join, 20)
    assert not thread._thread.is_alive()


async def test_a_blocked_loop_is_logged_once_with_the_place_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(0.05)
    watchdog.start()
    _compute(watchdog)
    await until(lambda: "goes on" in caplog.text)
    watchdog.stop()
    blocked = [record.getMessage() for record in caplog.records if "has been blocked" in record.getMessage()]
    assert len(blocked) == 1
    assert "_compute" in blocked[0]
    assert watchdog.blocks == 1


def _compute(watchdog: Watchdog) -> None:
    end_s = time.monotonic() + 20
    while watchdog.blocks == 0 and time.monotonic() < end_s:
        pass
    seen_s = time.monotonic()
    while time.monotonic() < seen_s + 0.1:
        pass  # A second look must not log it once more.


async def test_a_loop_that_answers_is_not_blocked(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(0.2)
    watchdog.start()
    end_s = time.monotonic() + 0.5
    while time.monotonic() < end_s:  # noqa: ASYNC110 - the loop must be busy, and answer all the same.
        await asyncio.sleep(0)
    watchdog.stop()
    assert watchdog.blocks == 0


async def test_a_mistake_of_a_driver_loses_no_report(caplog: pytest.LogCaptureFixture) -> None:
    ear, clock = Ear(), VirtualClock()
    report, tries = ear.report, [0]

    async def fail_first(reports: Sequence[Report]) -> None:
        tries[0] += 1
        if tries[0] == 1:
            raise RuntimeError("a driver's own")
        await report(reports)

    ear.report = fail_first  # type: ignore[method-assign]
    async with reporting(ear, clock) as found:
        found.put(said("first"))
        await settled()
        clock.move_to(clock.next_us() or 0)
        await found.quiet()
    assert ear.ids == ["first"]
    assert "a driver's own" in caplog.text


async def test_beats_from_the_loop_go_on_after_a_mistake_of_a_driver(caplog: pytest.LogCaptureFixture) -> None:
    ear, clock, pace = Ear(), VirtualClock(), Pace()
    report, tries = ear.report, [0]

    async def fail_first(reports: Sequence[Report]) -> None:
        tries[0] += 1
        if tries[0] == 1:
            raise RuntimeError("a driver's own")
        await report(reports)

    ear.report = fail_first  # type: ignore[method-assign]
    task = asyncio.create_task(beating(pace, Watchdog()).run(ear, clock))
    await settled()
    clock.move_to(clock.next_us() or 0)
    await until(lambda: ear.heard)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "a beat failed" in caplog.text


class BadDelivery:
    """Cannot be acked."""

    packet = Packet("bad", b"")
    is_again = False

    async def ack(self) -> None:
        raise RuntimeError("a driver's own")

    def ack_soon(self, then: Callable[[], None]) -> None:
        raise RuntimeError("a driver's own")

    async def give_back(self) -> None: ...

    async def refuse(self, reason: str) -> None: ...


async def test_a_delivery_that_cannot_be_acked_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    settling = Settling()
    settling.ack([BadDelivery(), BadDelivery()])
    await settling.quiet()
    assert caplog.text.count("bad was not acked") == 2


@pytest.mark.covers("F6")
async def test_an_outcome_travels_with_the_headers_of_its_call_and_a_beat_with_none() -> None:
    broker, clock = Broker(), VirtualClock()
    around = Surroundings(broker, TransportReporter(broker), LocalPerformer(clock, Serializer(), 8), clock, VirtualEntropy())
    worker = WorkerService(around, [double.spec], WorkerOptions(name="w", slots=1))
    await worker.open()
    sender = Sender(namespace="shop", lease_ms=10_000)
    calls = [call_of(attempt(double.spec, 2, run="order 1%ü", number=number), sender, sent_us=0) for number in (1, 2)]
    # A trace that somebody else has begun goes on in what is said of its call.
    calls[1] = structs.replace(calls[1], trace=f"00-{'a' * 32}-{'b' * 16}-01")
    for call in calls:
        await Desk(broker).put(double.spec, packet_of(call))
    await until(lambda: sum("outcome/" in packet.id for packet in broker.queue(NODES)) == 2)
    said = {packet.id: packet for packet in broker.queue(NODES)}
    for call in calls:
        headers = said.pop(f"outcome/{call.id}/{worker.id}").headers
        assert headers == headers_of(call)
        assert (headers["traceparent"], headers["perdure-run"]) == (call.trace, "order%201%25%C3%BC")
    assert said
    assert all(not packet.headers for packet in said.values())
    closing = asyncio.create_task(worker.close())
    while not closing.done():
        await settled()
        clock.move_to(clock.now_us() + 500_000)
    await closing


async def test_an_outcome_that_is_too_large_is_replaced_by_one_without_headers() -> None:
    """They may be what was too large."""
    async with begun(double) as stage:
        stage.ear.headers_max = 10
        await stage.desk.ask(double.spec, 2, run="r" * 100)
        await until(lambda: stage.ear.outcomes)
        assert stage.ear.outcomes[0].status == "error"
