"""The connection that comes back by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from perdure.model.errors import Internal, InvalidOption, TransportUnavailable
from perdure.testing.conformance.transport_harness import TransportHarness
from perdure.transports.link import Link, Lost


class Wire:
    """A connection to nowhere."""

    def __init__(self, lost: Lost) -> None:
        self.lost = lost
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


class Broker:
    """Makes connections, but for the failures that were planned."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.failures: list[Exception] = []
        self.tries = 0

    async def connect(self, lost: Lost) -> Wire:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        self.wires.append(Wire(lost))
        return self.wires[-1]


def away() -> TransportUnavailable:
    return TransportUnavailable(transport="t:", problem="nobody there")


@asynccontextmanager
async def opened(broker: Broker) -> AsyncIterator[Link[Wire]]:
    link = Link("t:", broker.connect, timeout_s=1)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


async def until(broker: Broker, wires: int) -> None:
    await TransportHarness().until(lambda: len(broker.wires) >= wires, f"{wires} connections")


async def test_a_link_that_is_not_open_is_unavailable() -> None:
    link = Link("t:", Broker().connect, timeout_s=1)
    with pytest.raises(TransportUnavailable, match=r"not open"):
        link.current()
    await link.close()


async def test_a_link_that_cannot_be_opened_says_why_and_may_be_opened_later() -> None:
    broker = Broker()
    broker.failures = [away(), InvalidOption(option="o", found="f", expected="e")]
    link = Link("t:", broker.connect, timeout_s=1)
    for expected in (TransportUnavailable, InvalidOption):
        with pytest.raises(expected):
            await link.open()
        assert not link.is_open
    await link.open()
    await link.open()
    assert link.current() is broker.wires[0]
    await link.close()
    await link.close()
    assert broker.wires[0].is_closed


async def test_a_connection_that_takes_too_long_is_none() -> None:
    async def never(lost: Lost) -> Wire:
        await asyncio.Event().wait()
        return Wire(lost)

    with pytest.raises(TransportUnavailable, match=r"no connection within 0.01 s"):
        await Link("t:", never, timeout_s=0.01).open()


async def test_a_lost_connection_is_made_again_after_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def quick(span_s: float) -> None:
        if span_s >= 0.05:
            pauses.append(span_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", quick)
    broker = Broker()
    async with opened(broker) as link:
        broker.failures = [away() for _ in range(9)]
        broker.wires[0].lost("cut")
        with pytest.raises(TransportUnavailable, match=r"cut"):
            link.current()
        await until(broker, 2)
        assert link.current() is broker.wires[1]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_a_failure_that_nobody_foresaw_is_told_and_does_not_end_the_tries(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    async with opened(broker) as link:
        broker.failures = [ZeroDivisionError("a client's own")]
        broker.wires[0].lost("cut")
        await until(broker, 2)
        assert link.current() is broker.wires[1]
    assert "a client's own" in caplog.text


async def test_who_follows_is_told_of_each_new_connection() -> None:
    broker, told = Broker(), asyncio.Queue[Wire]()
    async with opened(broker) as link:
        link.follow("one", told.put)
        broker.wires[0].lost("cut")
        assert await told.get() is (await _now(link))
        link.forget("one")
        link.forget("one")
        broker.wires[1].lost("cut")
        await until(broker, 3)
        assert told.empty()


async def _now(link: Link[Wire]) -> Wire:
    return link.current()


async def test_what_one_follower_cannot_restore_keeps_no_other_waiting(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(_: Wire) -> None:
        raise Internal(what="a forbidden queue")

    broker, told = Broker(), asyncio.Queue[Wire]()
    async with opened(broker) as link:
        link.follow("one", fails)
        link.follow("two", told.put)
        broker.wires[0].lost("cut")
        assert await told.get() is broker.wires[1]
    assert "a forbidden queue" in caplog.text


async def test_a_connection_on_which_nothing_can_be_restored_is_given_up_for_another() -> None:
    async def fails_once(wire: Wire) -> None:
        if wire is broker.wires[1]:
            raise away()

    broker = Broker()
    async with opened(broker) as link:
        link.follow("one", fails_once)
        broker.wires[0].lost("cut")
        await until(broker, 3)
        assert broker.wires[1].is_closed
        assert not broker.wires[2].is_closed


async def test_word_of_an_old_connection_does_no_harm_to_the_new_one() -> None:
    broker = Broker()
    async with opened(broker) as link:
        first = broker.wires[0]
        first.lost("cut")
        await until(broker, 2)
        first.lost("cut, I say")
        assert link.current() is broker.wires[1]


async def test_a_connection_that_is_lost_while_it_is_made_is_none() -> None:
    broker = Broker()

    async def connect(lost: Lost) -> Wire:
        wire = await broker.connect(lost)
        if len(broker.wires) == 1:
            lost("cut at once")
        return wire

    link = Link("t:", connect, timeout_s=1)
    with pytest.raises(TransportUnavailable, match=r"cut at once"):
        await link.open()
    assert broker.wires[0].is_closed
    await link.open()
    await link.close()


async def test_a_link_can_be_closed_while_it_connects() -> None:
    broker = Broker()
    async with opened(broker) as link:
        broker.failures = [away() for _ in range(1_000)]
        broker.wires[0].lost("cut")
        await TransportHarness().until(lambda: broker.tries >= 3, "three tries")
        await asyncio.wait_for(link.close(), 5)
        assert not link.is_open
