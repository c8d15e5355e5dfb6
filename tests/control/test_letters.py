"""Dead letters are put back before they leave, never without end, and say why they stay."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from perdure.app.connecting import Terms, connection_of
from perdure.control import DeadLetters
from perdure.model.errors import LetterNotFound, NoHandlers, OriginUnknown, TransportUnavailable, Unsupported
from perdure.model.limits import Limits
from perdure.ports.system import SystemClock
from perdure.ports.transport import DEAD, Delivery, Packet, Transport, TransportTraits, dead_letter
from perdure.testing.conformance.transport_harness import A, B, Hand, TransportHarness, packet
from perdure.transports.memory import MemoryTransport

PATIENCE = TransportHarness()


async def refuse(delivery: Delivery) -> None:
    await delivery.refuse(f"no {delivery.packet.id}")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Transport]:
    connection = connection_of(url, SystemClock(), Terms(limits=Limits()))
    if connection.store is not None:
        await connection.store.open()
    try:
        await connection.transport.open()
        yield connection.transport
    finally:
        await connection.transport.close()
        if connection.store is not None:
            await connection.store.close()


async def bury(transport: Transport, *packets: Packet, address: str = A) -> None:
    """The packets are dead letters of the address."""
    hand = Hand(refuse)
    handling = await transport.handle(address, hand, slots=5)
    await transport.send(address, packets)
    await PATIENCE.until(lambda: hand.settled >= len(packets), "the deaths")
    await handling.close()


async def ids(letters: DeadLetters) -> list[str]:
    return sorted(letter.id for letter in await letters.first(1_000))


@pytest.fixture(params=["sqlite", "postgres", "rabbitmq", "nats"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a transport that nobody has used."""
    fixtures = {"postgres": "renewed_postgres_url", "rabbitmq": "amqp_url", "nats": "nats_url"}
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a.db'}"
    found: str = request.getfixturevalue(fixtures[request.param])
    return found


class Broken(MemoryTransport):
    """Takes nothing at the addresses in ``refused``; notes what it is asked."""

    def __init__(self, **refused: Exception) -> None:
        super().__init__()
        self.refused = refused
        self.asked: list[tuple[str, Any]] = []

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        self.asked.append((f"send {address}", [packet.id for packet in packets]))
        for part, error in self.refused.items():
            if part in address:
                raise error
        await super().send(address, packets)

    async def drop(self, address: str, ids: Sequence[str] | None = None) -> None:
        self.asked.append((f"drop {address}", ids))
        await super().drop(address, ids)


@asynccontextmanager
async def broken(**refused: Exception) -> AsyncIterator[tuple[Broken, DeadLetters]]:
    transport = Broken(**refused)
    await transport.open()
    for number, address in enumerate(("perdure.calls.q.good.v1", "perdure.calls.q.bad.v1", "perdure.calls.q.good.v1")):
        await MemoryTransport.send(transport, DEAD, [dead_letter(packet(f"p{number}"), address, "no", 0)])
    yield transport, DeadLetters(transport)
    await transport.close()


@pytest.mark.covers("S13")
async def test_letters_go_round_as_often_as_one_likes_on_every_transport(url: str) -> None:
    began = datetime.now(UTC)
    sent = packet("p", b"\x80\x04.", headers={"traceparent": "00"}, content_type="application/x-pickle")
    async with opened(url) as transport:
        letters = DeadLetters(transport)
        await bury(transport, sent, packet("q"))
        (letter,) = await letters.find(["p"])
        assert (letter.reason, letter.origin, letter.packet.body) == ("no p", A, sent.body)
        assert letter.died is not None
        assert began <= letter.died <= datetime.now(UTC)
        for round in (1, 2):
            # Soon after: a transport that drops duplicates must not take it for one, and neither must the dead letters.
            before = "p" if round == 1 else "p#again1"
            ((moved, address),) = await letters.retry([before])
            assert (moved.id, address, await ids(letters), await transport.backlog(A)) == (before, A, ["q"], 1)
            hand = Hand(refuse)
            handling = await transport.handle(A, hand, slots=1)
            await PATIENCE.until(lambda hand=hand: hand.settled == 1, "the retried packet")
            await handling.close()
            assert hand.packets == [packet(f"p#again{round}", sent.body, headers={"traceparent": "00"}, content_type=sent.content_type)]
            assert await ids(letters) == [f"p#again{round}", "q"]
        assert await letters.count() == 2
        put = await letters.retry_all()
        assert (put.count, list(put.left), await ids(letters), await letters.count(), await transport.backlog(A)) == (2, [], [], 0, 2)
        await bury(transport, packet("r"), packet("s"), packet("t"), address=B)
        assert await letters.drop(["r"]) == 1
        assert await letters.drop_all() == 2
        assert await ids(letters) == []


async def test_a_packet_is_sent_before_its_letter_goes_and_stays_where_it_cannot_be_sent() -> None:
    async with broken(bad=NoHandlers(address="x", transport="y")) as (transport, letters):
        await letters.retry(["p0"])
        assert transport.asked == [("send perdure.calls.q.good.v1", ["p0#again1"]), (f"drop {DEAD}", ["p0"])]
        with pytest.raises(NoHandlers):
            await letters.retry(["p1"])
        assert await ids(letters) == ["p1", "p2"]
        put = await letters.retry_all()
        assert (put.count, [(letter.id, type(error)) for letter, error in put.left]) == (1, [("p1", NoHandlers)])
        assert await ids(letters) == ["p1"]
        put = await letters.retry_all(to="perdure.calls.q.good.v1")
        assert (put.count, await ids(letters), await transport.backlog("perdure.calls.q.good.v1")) == (1, [], 3)


async def test_a_transport_that_is_away_ends_it_and_loses_nothing() -> None:
    async with broken(bad=TransportUnavailable(transport="x", problem="away")) as (_, letters):
        with pytest.raises(TransportUnavailable):
            await letters.retry_all()
        assert "p1" in await ids(letters)


async def test_what_dies_again_meanwhile_is_not_put_back_without_end() -> None:
    transport = MemoryTransport()
    await transport.open()
    await bury(transport, *(packet(f"p{number}") for number in range(250)))
    await transport.handle(A, Hand(refuse), slots=5)
    letters = DeadLetters(transport)
    async with asyncio.timeout(20):
        assert (await letters.retry_all()).count == 250
    await PATIENCE.until(lambda: _are_dead_again(letters), "all dead again")
    await transport.close()


async def _are_dead_again(letters: DeadLetters) -> bool:
    return await ids(letters) == sorted(f"p{number}#again1" for number in range(250))


async def test_a_letter_of_a_stranger_needs_an_address_and_keeps_its_own_words() -> None:
    transport = MemoryTransport()
    await transport.open()
    await transport.send(DEAD, [packet("strange", headers={"perdure-died": "yesterday", "x": "y"})])
    letters = DeadLetters(transport)
    (letter,) = await letters.first(9)
    assert (letter.reason, letter.origin, letter.died) == ("", None, None)
    with pytest.raises(OriginUnknown):
        await letters.retry(["strange"])
    put = await letters.retry_all()
    assert (put.count, [type(error) for _, error in put.left]) == (0, [OriginUnknown])
    assert [address for _, address in await letters.retry(["strange"], to=B)] == [B]
    assert (await ids(letters), await transport.backlog(B)) == ([], 1)
    await transport.close()


async def test_an_id_that_is_not_there_stops_all_before_anything_is_done() -> None:
    async with broken() as (transport, letters):
        for work in (letters.retry(["p0", "nobody"]), letters.drop(["p0", "nobody"]), letters.find(["nobody"])):
            with pytest.raises(LetterNotFound, match="nobody"):
                await work
        assert (transport.asked, await ids(letters), [letter.id for letter in await letters.first(2)]) == (
            [],
            ["p0", "p1", "p2"],
            ["p0", "p1"],
        )


async def test_a_transport_that_shows_no_packets_is_refused_by_what_it_declares() -> None:
    class Blind(MemoryTransport):
        @property
        def traits(self) -> TransportTraits:
            return TransportTraits(packet_bytes_max=1, shows_packets=False)

    with pytest.raises(Unsupported, match="store of its nodes"):
        DeadLetters(Blind())
