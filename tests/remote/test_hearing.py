"""What workers say by way of a broker is acknowledged when it is durable, and goes back when it cannot become so here."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from perdure.model.call import Outcome
from perdure.model.errors import CallClosed, RunElsewhere, StoreUnavailable
from perdure.model.payload import Content
from perdure.ports.transport import Packet
from perdure.remote.hearing import Hearing
from perdure.remote.reporting import StoreReporter
from perdure.stores.memory import MemoryStore
from perdure.wire.attempts import wire_outcome
from perdure.wire.bundles import LINES, bundle
from perdure.wire.encoding import JSON, encode
from tests.remote.fakes import Scene

A = "r#1#1~1.1"


class FakeDelivery:
    is_again = False

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.said: list[str] = []

    async def ack(self) -> None:
        self.said.append("ack")

    def ack_soon(self, told: Callable[[], None]) -> None:
        self.said.append("ack")
        told()

    async def give_back(self) -> None:
        self.said.append("give back")

    async def refuse(self, reason: str) -> None:
        self.said.append(f"refuse: {reason}")


class FakeTransport:
    """Hands to whoever handles an address what a test gives it."""

    def __init__(self) -> None:
        self.handler: Any = None

    async def handle(self, address: str, handler: Any, *, slots: int) -> "FakeTransport":
        self.handler = handler
        return self

    async def close(self) -> None:
        pass

    async def give(self, bodies: Sequence[bytes], content_type: str = JSON) -> list[FakeDelivery]:
        deliveries = [FakeDelivery(Packet(f"{number}", body, content_type)) for number, body in enumerate(bodies)]
        await self.handler(deliveries)
        return deliveries


class Room:
    """One node that hears; what comes of an outcome is decided by the test: ``done`` is what the engine would resolve."""

    def __init__(self) -> None:
        self.scene, self.transport, self.store = Scene(), FakeTransport(), MemoryStore()
        reporter = StoreReporter(self.store, self.scene.clock, inline_max=1_000)
        self.hearing = Hearing(self.transport, self.scene.performer, reporter)  # type: ignore[arg-type]
        self.done: asyncio.Future[None] | None = None

    async def hear(self) -> FakeDelivery:
        await self.scene.worker()
        await self.scene.directory.refresh()
        performance = self.scene.perform()
        performance.deliver = lambda attempt, outcome: setattr(self, "done", outcome.done)
        await self.hearing.open()
        (delivery,) = await self.transport.give([encode(wire_outcome(A, Outcome(Content("json", b"1")), worker="w"))])
        await self.scene.settle()
        assert delivery.said == []
        return delivery


async def test_an_outcome_is_acknowledged_once_it_is_durable_and_not_before() -> None:
    room = Room()
    delivery = await room.hear()
    assert room.done is not None
    room.done.set_result(None)
    await room.scene.settle()
    assert delivery.said == ["ack"]


async def test_an_outcome_that_the_call_does_not_need_any_more_is_settled() -> None:
    room = Room()
    delivery = await room.hear()
    assert room.done is not None
    room.done.set_exception(CallClosed(key="r#1#1", found="it has an outcome"))
    await room.scene.settle()
    assert delivery.said == ["ack"]


@pytest.mark.covers("G2")
async def test_an_outcome_whose_run_has_gone_to_another_node_goes_back_for_that_one() -> None:
    room = Room()
    delivery = await room.hear()
    assert room.done is not None
    room.done.set_exception(RunElsewhere(run="r"))
    await room.scene.settle()
    assert delivery.said == ["give back"]


@pytest.mark.covers("G2")
async def test_an_outcome_that_a_node_has_heard_and_not_written_goes_back_when_the_node_ends() -> None:
    room = Room()
    delivery = await room.hear()
    await room.scene.performer.close()
    await room.scene.settle()
    assert delivery.said == ["give back"]


class Bundle(Room):
    """A packet that holds the outcome of a call that is here, and whatever else the test puts beside it."""

    async def hear_beside(self, *others: bytes) -> FakeDelivery:
        await self.scene.worker()
        await self.scene.directory.refresh()
        self.scene.perform().deliver = lambda attempt, outcome: setattr(self, "done", outcome.done)
        await self.hearing.open()
        here = encode(wire_outcome(A, Outcome(Content("json", b"1")), worker="w"))
        (delivery,) = await self.transport.give([bundle([here, *others])], LINES)
        await self.scene.settle()
        return delivery


@pytest.mark.covers("G2")
async def test_a_bundle_is_acknowledged_once_all_its_messages_are_durable_and_not_before() -> None:
    room = Bundle()
    delivery = await room.hear_beside(encode(wire_outcome("other#1#1~1.1", Outcome(Content("json", b"2")), worker="w")))
    assert delivery.said == []
    assert room.done is not None
    room.done.set_result(None)
    await room.scene.settle()
    assert delivery.said == ["ack"]


@pytest.mark.covers("G2")
async def test_a_bundle_goes_back_whole_if_one_of_its_messages_is_not_durable() -> None:
    room = Bundle()
    delivery = await room.hear_beside(encode(wire_outcome("other#1#1~1.1", Outcome(Content("json", b"2")), worker="w")))
    assert room.done is not None
    room.done.set_exception(RunElsewhere(run="r"))
    await room.scene.settle()
    assert delivery.said == ["give back"]


@pytest.mark.covers("G2")
async def test_a_bundle_goes_back_whole_if_the_store_is_away_for_one_of_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    async def commit(_: object) -> None:
        raise StoreUnavailable(store="memory", problem="away")

    room = Bundle()
    monkeypatch.setattr(room.store, "commit", commit)
    delivery = await room.hear_beside(encode(wire_outcome("other#1#1~1.1", Outcome(Content("json", b"2")), worker="w")))
    assert delivery.said == []
    assert room.done is not None
    room.done.set_result(None)
    await room.scene.settle()
    assert delivery.said == ["give back"]


@pytest.mark.covers("G6")
async def test_a_poison_line_of_a_bundle_makes_a_dead_letter_once_its_neighbours_are_durable() -> None:
    room = Bundle()
    delivery = await room.hear_beside(b'{"type":"outcome","v":1')
    assert delivery.said == []
    assert room.done is not None
    room.done.set_result(None)
    await room.scene.settle()
    (said,) = delivery.said
    assert said.startswith("refuse: ")
    assert "not JSON" in said


async def test_a_bundle_of_nothing_is_refused() -> None:
    room = Room()
    await room.hearing.open()
    (delivery,) = await room.transport.give([b"\n\n"], LINES)
    await room.scene.settle()
    assert [said.partition(":")[0] for said in delivery.said] == ["refuse"]
