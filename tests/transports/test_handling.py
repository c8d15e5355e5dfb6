"""What handlings on brokers share."""

import asyncio
from collections.abc import Sequence

import pytest

from perdure.model.errors import PacketTooLarge, TransportUnavailable
from perdure.ports.transport import DELIVERIES_MAX, ORIGIN_HEADER, REASON_HEADER, Delivery, Handler, Packet
from perdure.transports import handling as handling_module
from perdure.transports.handling import BrokerHandling, Held


class Handling(BrokerHandling[int]):
    """Notes what the product would be told."""

    def __init__(self, handler: Handler, failure: Exception | None = None) -> None:
        super().__init__("a", handler, self.bury)
        self.failure = failure
        self.letters: list[Packet] = []
        self.told: list[tuple[str, int]] = []

    async def bury(self, letter: Packet, address: str) -> None:
        assert address == "a"
        if self.failure is not None:
            raise self.failure
        self.letters.append(letter)

    async def _ack(self, held: Held[int]) -> None:
        self.told.append(("ack", held.token))

    async def _return(self, held: Held[int]) -> None:
        self.told.append(("return", held.token))

    async def _halt(self) -> None:
        self.told.append(("halt", 0))

    async def _end(self) -> None:
        self.told.append(("end", 0))


class Keeping:
    def __init__(self) -> None:
        self.calls: list[list[Delivery]] = []
        self.arrived = asyncio.Event()

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        self.calls.append(list(deliveries))
        self.arrived.set()


async def held(handling: Handling, keeping: Keeping, *counts: int) -> list[Delivery]:
    for number, count in enumerate(counts):
        assert handling.arrive(Packet(f"p{number}", b""), number, count)
    await asyncio.wait_for(keeping.arrived.wait(), 5)
    return keeping.calls[0]


async def test_what_comes_in_one_turn_of_the_loop_is_handled_in_one_call() -> None:
    keeping = Keeping()
    got = await held(Handling(keeping), keeping, 0, 0, 3)
    assert [delivery.packet.id for delivery in got] == ["p0", "p1", "p2"]
    assert [delivery.is_again for delivery in got] == [False, False, True]


async def test_what_is_refused_is_acked_when_its_letter_is_sent() -> None:
    keeping = Keeping()
    handling = Handling(keeping)
    (one,) = await held(handling, keeping, 0)
    await one.refuse("why")
    assert handling.told == [("ack", 0)]
    (letter,) = handling.letters
    assert (letter.headers[REASON_HEADER], letter.headers[ORIGIN_HEADER]) == ("why", "a")
    assert handling.busy == 0


async def test_what_is_refused_comes_again_after_a_pause_if_its_letter_cannot_be_sent_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handling_module, "_BURY_AGAIN_S", 0.01)
    keeping = Keeping()
    handling = Handling(keeping, TransportUnavailable(transport="t:", problem="away"))
    (one,) = await held(handling, keeping, 0)
    await one.refuse("why")
    assert (handling.told, handling.letters, handling.busy) == ([("return", 0)], [], 0)


async def test_what_is_refused_comes_again_if_its_letter_can_never_be_sent() -> None:
    keeping = Keeping()
    handling = Handling(keeping, PacketTooLarge(address="a", size=2, transport="t:", limit=1))
    (one,) = await held(handling, keeping, 0)
    with pytest.raises(PacketTooLarge):
        await one.refuse("why")
    assert (handling.told, handling.busy) == ([("return", 0)], 0)


async def test_what_came_too_often_is_buried_without_a_handler() -> None:
    keeping = Keeping()
    handling = Handling(keeping)
    await held(handling, keeping, DELIVERIES_MAX, DELIVERIES_MAX - 1)
    assert [[delivery.packet.id for delivery in call] for call in keeping.calls] == [["p1"]]
    await asyncio.sleep(0)
    assert [letter.id for letter in handling.letters] == ["p0"]


async def test_what_no_call_was_made_for_is_given_back_when_the_handling_stops() -> None:
    keeping = Keeping()
    handling = Handling(keeping)
    handling.arrive(Packet("p", b""), 7, 0)
    await handling.stop()
    await handling.stop()
    assert (handling.told, keeping.calls) == ([("return", 7), ("halt", 0)], [])
    assert not handling.arrive(Packet("q", b""), 8, 0)


async def test_a_call_of_the_handler_that_goes_on_ends_with_the_handling() -> None:
    started, over = asyncio.Event(), asyncio.Event()

    async def endless(_: Sequence[Delivery]) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            over.set()

    handling = Handling(endless)
    handling.arrive(Packet("p", b""), 1, 0)
    await started.wait()
    await handling.close()
    assert over.is_set()
    assert handling.is_closed
    assert handling.told == [("halt", 0), ("end", 0)]
