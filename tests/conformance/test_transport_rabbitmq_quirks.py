"""What is RabbitMQ's own: its properties, its limits, its refusals, and what its client does when things break."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiormq
import pytest
from aiormq.connection import FrameReceiver

from perdure.model.errors import InvalidOption, NoHandlers, PacketTooLarge, TransportUnavailable
from perdure.ports.transport import DEAD, DELIVERIES_MAX, DIED_HEADER, ORIGIN_HEADER, REASON_HEADER, Delivery, Packet, worker_address
from perdure.testing.conformance.transport_harness import A, B, Hand, TransportHarness, keep, numbered, packet
from perdure.transports.rabbitmq import RabbitMQTransport
from perdure.transports.rabbitmq.connection import RabbitMQConnection, client_errors
from perdure.transports.rabbitmq.queues import Queue, address_of, place_of, queue_name, queue_of
from tests.brokers import free_port, listens, own_rabbitmq, self_signed
from tests.conformance.proxy import proxied

PATIENCE = TransportHarness()
Properties = aiormq.spec.Basic.Properties


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RabbitMQTransport]:
    transport = RabbitMQTransport(url)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def raw(server: str) -> AsyncIterator[Any]:
    connection = await aiormq.connect(server)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


def queue(url: str, address: str) -> str:
    return queue_of(place_of(url), address).name


async def known(transport: RabbitMQTransport, address: str) -> None:
    await (await transport.handle(address, Hand(), slots=1)).close()


async def test_a_stranger_sees_a_packet_in_the_properties_of_amqp(amqp_url: str, amqp_server: str) -> None:
    headers = {"perdure-run": "order 1", "traceparent": "00-1-2-01"}
    sent = Packet("run#0#1~1.1", b"{}", "application/avro", headers, 7)
    async with opened(amqp_url) as transport, raw(amqp_server) as channel:
        await known(transport, A)
        await transport.send(A, [sent])
        message = await channel.basic_get(queue(amqp_url, A), no_ack=True)
    found = message.header.properties
    assert (found.message_id, found.correlation_id, found.content_type, found.priority) == (
        "run#0#1~1.1", "order 1", "application/avro", 7,
    )  # fmt: skip
    assert (found.delivery_mode, found.headers | headers, message.body) == (2, found.headers, b"{}")


async def test_what_a_stranger_publishes_is_delivered_whatever_its_properties(amqp_url: str, amqp_server: str) -> None:
    odd = {"number": 5, "table": {"a": 1}, "nothing": None, "bytes": bytearray(b"\xff"), "perdure-priority": "high"}
    async with opened(amqp_url) as transport, raw(amqp_server) as channel:
        hand = Hand()
        await transport.handle(A, hand, slots=5)
        for properties in (Properties(), Properties(headers=odd, message_id="x")):
            await channel.basic_publish(b"\x80pickle?", routing_key=queue(amqp_url, A), properties=properties)
        await PATIENCE.gets(hand, 2)
    plain, other = sorted(hand.packets, key=lambda one: len(one.headers))
    assert plain.id
    assert (plain.body, plain.content_type) == (b"\x80pickle?", "application/octet-stream")
    assert (other.id, other.headers["number"], other.headers["bytes"], other.priority) == ("x", "5", "\ufffd", 0)


async def test_headers_that_fit_into_no_frame_are_refused_and_cost_no_connection(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        hand = Hand()
        await transport.handle(A, hand, slots=5)
        await transport.send(A, [Packet("large", b"{}", headers={"perdure-run": "r" * 65_000})])
        with pytest.raises(PacketTooLarge, match="65536"):
            await transport.send(A, [Packet("p", b"{}", headers={"perdure-run": "r" * 140_000})])
        await transport.send(A, [Packet("next", b"{}")])
        await PATIENCE.gets(hand, 2)
        assert sorted(hand.ids) == ["large", "next"]


async def test_a_queue_that_is_full_is_told_with_its_limit(amqp_url: str) -> None:
    async with opened(f"{amqp_url}&packets_max=3") as transport:
        await known(transport, A)
        # Quorum queues let a few more pass while they tell their publishers.
        results = await asyncio.gather(*(transport.send(A, numbered(1, number)) for number in range(200)), return_exceptions=True)
        assert {type(result) for result in results} == {type(None), TransportUnavailable}
        assert "packets_max is 3" in str(next(result for result in results if result is not None))
        assert await transport.backlog(A) >= 3


async def test_a_queue_that_was_declared_otherwise_is_told(amqp_url: str) -> None:
    async with opened(f"{amqp_url}&packets_max=3") as transport:
        await known(transport, A)
        await known(transport, worker_address("1"))
    async with opened(f"{amqp_url}&packets_max=4") as transport:
        with pytest.raises(InvalidOption, match=r"packets_max and prefix"):
            await transport.handle(A, Hand(), slots=1)


async def test_a_refused_handling_disturbs_no_other(amqp_url: str, amqp_server: str) -> None:
    async with opened(amqp_url) as transport, raw(amqp_server) as channel:
        await channel.queue_declare(queue(amqp_url, B), arguments={"x-expires": 60_000})
        hand = Hand(keep)
        await transport.handle(A, hand, slots=5)
        await transport.send(A, numbered(1))
        (held,) = await PATIENCE.gets(hand, 1)
        with pytest.raises(InvalidOption):
            await transport.handle(B, Hand(), slots=1)
        await PATIENCE.until(lambda: _is_back(transport), "the connection after the refusal")
        await transport.send(A, [packet("later")])
        await PATIENCE.until(lambda: "later" in hand.ids, "a packet after the refusal")
        await held.ack()


async def _is_back(transport: RabbitMQTransport) -> bool:
    try:
        await transport.backlog(A)
    except TransportUnavailable:
        return False
    return True


async def test_a_queue_that_was_deleted_is_made_again_and_handled(amqp_url: str, amqp_server: str) -> None:
    async with opened(amqp_url) as transport, raw(amqp_server) as channel:
        hand = Hand()
        await transport.handle(A, hand, slots=5)
        await channel.queue_delete(queue(amqp_url, A))
        sent = packet("after")

        async def is_sent() -> bool:
            try:
                await transport.send(A, [sent])
            except (NoHandlers, TransportUnavailable):
                return False
            return True

        await PATIENCE.until(is_sent, "the queue")
        await PATIENCE.gets(hand, 1)


async def test_each_of_two_packets_of_one_id_gets_its_own_answer(amqp_url: str) -> None:
    """The client tells returned messages apart by their ids alone."""
    async with opened(amqp_url) as transport:
        await known(transport, A)
        for _ in range(50):
            sends = (transport.send(address, [packet("one id")]) for address in (A, B, A))
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert [type(result) for result in results] == [type(None), NoHandlers, type(None)]


async def test_packets_are_published_without_waiting_for_the_confirm_of_the_one_before(amqp_url: str) -> None:
    async with proxied(amqp_url) as (proxy, url), opened(url) as transport:
        await known(transport, A)
        proxy.watched = b"number 20 of"
        proxy.answers.clear()
        sending = asyncio.create_task(transport.send(A, [packet(f"p{number}", b"number %d of 20" % number) for number in range(1, 21)]))
        await PATIENCE.until(lambda: proxy.seen == 1, "the last packet at the broker")
        assert not sending.done()
        proxy.answers.set()
        await sending


async def test_a_broker_that_does_not_confirm_in_time_is_unavailable(amqp_url: str) -> None:
    # Room enough for a busy broker to answer what it hears.
    async with proxied(f"{amqp_url}&answer_timeout=1") as (proxy, url), opened(amqp_url) as patient, opened(url) as transport:
        await known(patient, A)
        proxy.answers.clear()
        with pytest.raises(TransportUnavailable, match=r"no confirm within 1 s"):
            await transport.send(A, numbered(3))
        proxy.answers.set()
        await PATIENCE.sends(transport, A, numbered(3))


async def test_what_is_with_every_process_that_dies_becomes_a_dead_letter(amqp_url: str) -> None:
    async with proxied(amqp_url) as (proxy, url), opened(url) as transport, opened(amqp_url) as other:
        hand, dead = Hand(keep), Hand()
        await transport.handle(A, hand, slots=1)
        await other.handle(DEAD, dead, slots=1)
        await other.send(A, [packet("deadly")])
        for number in range(1, DELIVERIES_MAX + 1):
            await PATIENCE.gets(hand, number)
            proxy.cut()
        await PATIENCE.gets(dead, 1)
        assert len(hand.got) == DELIVERIES_MAX
        assert "never settled" in dead.packets[0].headers[REASON_HEADER]


async def test_what_came_by_a_connection_that_is_gone_is_refused_in_vain(amqp_url: str) -> None:
    async with proxied(amqp_url) as (proxy, url), opened(url) as transport:
        hand, dead = Hand(keep), Hand()
        await transport.handle(A, hand, slots=1)
        await transport.handle(DEAD, dead, slots=1)
        await transport.send(A, [packet("p")])
        old = (await PATIENCE.gets(hand, 1))[0]
        proxy.cut()
        new = (await PATIENCE.gets(hand, 2))[1]
        await old.refuse("too late")
        await new.ack()
        await PATIENCE.settles_down(transport)
        assert (hand.ids, dead.got) == (["p", "p"], [])


async def test_a_cancellation_by_the_client_is_a_lost_connection_and_one_by_us_is_none() -> None:
    place = place_of("amqp://h/")

    async def waits_for(future: "asyncio.Future[None]") -> None:
        with client_errors(place):
            await future

    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    with pytest.raises(TransportUnavailable):
        await waits_for(given_up)
    task = asyncio.create_task(waits_for(asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_the_broker_itself_buries_says_why(amqp_url: str, amqp_server: str) -> None:
    async with opened(amqp_url) as transport, raw(amqp_server) as channel:
        dead = Hand()
        await known(transport, A)
        await transport.handle(DEAD, dead, slots=1)
        await transport.send(A, [packet("p", b"body")])
        await channel.basic_qos(prefetch_count=1)

        async def nack(message: Any) -> None:
            await channel.basic_nack(message.delivery.delivery_tag, requeue=True)

        await channel.basic_consume(queue(amqp_url, A), nack)
        await PATIENCE.gets(dead, 1)
    assert dead.packets[0].body == b"body"
    assert "delivery_limit" in dead.packets[0].headers[REASON_HEADER]
    assert dead.packets[0].headers[ORIGIN_HEADER] == A
    assert abs(datetime.now(UTC) - datetime.fromisoformat(dead.packets[0].headers[DIED_HEADER])) < timedelta(minutes=5)


async def test_the_queue_of_a_worker_goes_by_itself_and_the_others_last(amqp_url: str) -> None:
    def kind(address: str) -> Callable[[Queue], tuple[object, object, bool]]:
        found = queue_of(place_of("amqp://h/"), address)
        return found.arguments.get("x-queue-type"), found.arguments.get("x-expires"), found.is_lasting  # type: ignore[return-value]

    assert kind(worker_address("w")) == (None, 300_000, False)
    assert kind(A) == kind(DEAD) == ("quorum", None, True)


async def test_a_lost_connection_is_told_in_one_line_and_not_by_the_client(amqp_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with proxied(amqp_url) as (proxy, url), opened(url) as transport:
        hand = Hand()
        await transport.handle(A, hand, slots=1)
        proxy.cut()
        await PATIENCE.sends(transport, A, [packet("p")])
        await PATIENCE.gets(hand, 1)
        await proxy.stop()
        await PATIENCE.until(lambda: not transport._publisher._link._connection, "the loss")
        await proxy.resume()
        await PATIENCE.sends(transport, A, [packet("q")])
    assert {record.name for record in caplog.records} == {"perdure.transports"}
    assert {record.levelno for record in caplog.records} == {logging.INFO}


async def test_credentials_that_cannot_be_right_are_told_without_secrets(amqp_server: str) -> None:
    with pytest.raises(InvalidOption, match=r"credentials") as refused:
        await RabbitMQTransport(amqp_server.replace("guest:guest", "guest:wrong-secret")).open()
    assert "secret" not in str(refused.value)


async def test_a_vhost_that_is_not_there_is_told(amqp_server: str) -> None:
    with pytest.raises(TransportUnavailable, match=r"refused the vhost"):
        await RabbitMQTransport(f"{amqp_server}no-such-vhost").open()


async def test_a_broker_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(TransportUnavailable, match=r"amqp://me@127.0.0.1:1/"):
        await RabbitMQTransport("amqp://me:secret@127.0.0.1:1/").open()


async def test_a_broker_that_hangs_up_before_it_has_greeted_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that dies does, and one that is on its way up. The client says it otherwise if it looks after the hang-up."""
    get_frame = FrameReceiver.get_frame

    async def get_late(receiver: FrameReceiver) -> Any:
        await PATIENCE.until(receiver.reader.at_eof, "the hang-up")
        return await get_frame(receiver)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.close()

    monkeypatch.setattr(FrameReceiver, "get_frame", get_late)
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        with pytest.raises(TransportUnavailable, match=r"hung up before it had greeted"):
            await RabbitMQTransport(f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/").open()


def test_a_url_is_read_with_care_and_named_without_secrets() -> None:
    name = RabbitMQTransport("amqps://me:secret@host:5671/v?prefix=x&cafile=/ca.pem&cadata=hidden").name
    assert (name.startswith("amqps://me@host:5671/v"), "secret" in name, "hidden" in name) == (True, False, False)
    bad = ("http://h/", "amqp:///", "amqp://h/?prefix=a.b", "amqp://h/?prefix=", "amqp://h/?packets_max=0", "amqp://h/?packets_max=many")
    for url in (*bad, "amqp://h/?connect_timeout=0", "amqp://h/?answer_timeout=soon", "amqp://h/?colour=red", "amqp://h:port/"):
        with pytest.raises(InvalidOption):
            RabbitMQTransport(url)


async def test_slots_are_at_least_one(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        with pytest.raises(InvalidOption, match=r"slots"):
            await transport.handle(A, Hand(), slots=0)


def test_two_addresses_never_have_one_queue() -> None:
    names = [queue_name("p", address) for address in ("a b", "a@20b", "a=20b", "A b", "x" * 300, "x" * 301, "ü", "u")]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 255 and name.isascii() for name in names)


@pytest.mark.covers("F9")
@pytest.mark.timeout(240)
async def test_packets_and_handlings_survive_the_death_of_the_broker_with_tls_and_without(tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    tls_port = free_port()
    settings = f"listeners.ssl.1 = 127.0.0.1:{tls_port}\nssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n"
    patience = TransportHarness()
    patience.patience_s = 100.0  # type: ignore[misc]
    async with own_rabbitmq(tmp_path, settings=settings) as broker:
        await patience.until(lambda: listens("127.0.0.1", tls_port), "the port for TLS")
        tls_url = f"amqps://guest:guest@127.0.0.1:{tls_port}/"
        with pytest.raises(TransportUnavailable, match=r"(?i)certificate"):
            await RabbitMQTransport(tls_url).open()
        async with opened(f"{tls_url}?cafile={certificate}") as transport, opened(f"amqp://127.0.0.1:{broker.port}/") as other:
            hand, later = Hand(keep), Hand()
            await known(transport, B)
            await transport.handle(A, hand, slots=2)
            await other.send(A, numbered(5))
            await transport.send(B, numbered(200))
            held = list(await patience.gets(hand, 2))
            made = time.time()
            # RabbitMQ 3.10 writes down which quorum queues there are half a second after the last was made.
            await patience.until(
                lambda: all(path.stat().st_mtime > made for path in tmp_path.rglob("quorum/*/names.dets")), "queues on disk"
            )
            broker.kill()
            await patience.until(lambda: is_away(other), "the loss of the broker")
            await broker.start()
            await patience.sends(other, A, numbered(1, 5))
            for delivery in held:
                await delivery.ack()

            async def is_done() -> bool:
                for delivery in hand.got:
                    await delivery.ack()
                return {f"p{number}" for number in range(6)} <= set(hand.ids)

            await patience.until(is_done, "all packets after the restart")
            await transport.handle(B, later, slots=50)
            await patience.until(lambda: len(set(later.ids)) == 200, "what was sent before the death")


async def is_away(transport: RabbitMQTransport) -> bool:
    try:
        await transport.send(A, numbered(1, 5))
    except TransportUnavailable:
        return True
    return False


async def test_dead_letters_are_bounded_and_the_oldest_make_room(amqp_url: str) -> None:
    async with opened(f"{amqp_url}&letters_max=3&packets_max=2") as transport:
        for number in range(6):
            await transport.send(DEAD, [packet(f"p{number}")])
        await PATIENCE.until(lambda: _lie_there(transport, ["p3", "p4", "p5"]), "the last three")
    arguments = queue_of(place_of(f"{amqp_url}&letters_keep=60"), DEAD).arguments
    assert (arguments["x-message-ttl"], arguments["x-overflow"]) == (60_000, "drop-head")


async def _lie_there(transport: RabbitMQTransport, ids: list[str]) -> bool:
    async with aclosing(transport.look(DEAD)) as found:
        return [one.id async for one in found] == ids


async def test_a_queue_of_dead_letters_from_before_keeps_nobody_out(amqp_url: str, amqp_server: str) -> None:
    before = {"x-queue-type": "quorum", "x-max-length": 1_000_000, "x-overflow": "reject-publish", "x-delivery-limit": 1_000_000_000}
    async with raw(amqp_server) as channel:
        await channel.queue_declare(queue(amqp_url, DEAD), durable=True, arguments={**before, "x-expires": 60_000})
    async with opened(amqp_url) as transport, opened(f"{amqp_url}&letters_max=7") as other:
        hand, dead = Hand(refuse), Hand()
        await transport.handle(A, hand, slots=1)
        await other.handle(DEAD, dead, slots=1)
        await other.send(A, [packet("p")])
        await PATIENCE.gets(dead, 1)
        assert (dead.ids, dead.packets[0].headers[ORIGIN_HEADER]) == (["p"], A)


async def test_two_who_make_the_queue_of_dead_letters_at_once_both_have_it(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_not_there(self: RabbitMQConnection, queue: str) -> None:
        return None

    async with opened(amqp_url):
        with monkeypatch.context() as patch:
            patch.setattr(RabbitMQConnection, "count", is_not_there)
            async with opened(f"{amqp_url}&letters_max=7"):
                pass


async def refuse(delivery: Delivery) -> None:
    await delivery.refuse("no")


async def test_what_a_stranger_sent_without_an_id_has_the_same_one_in_every_look(amqp_url: str, amqp_server: str) -> None:
    async with opened(amqp_url) as transport, raw(amqp_server) as channel:
        for body in (b"a", b"b"):
            await channel.basic_publish(body, routing_key=queue(amqp_url, DEAD))

        async def seen() -> list[Packet]:
            async with aclosing(transport.look(DEAD)) as found:
                return [one async for one in found]

        first = await seen()
        assert (first, len({one.id for one in first})) == (await seen(), 2)
        await transport.drop(DEAD, [first[0].id])
        assert await seen() == first[1:]


def test_the_name_of_a_queue_tells_its_address_unless_it_was_too_long() -> None:
    for address in (A, DEAD, "ü @ b", worker_address("1:2")):
        assert address_of(queue_name("some-prefix", address)) == address
    assert address_of(queue_name("p", "x" * 300)) == address_of("amq.gen-1") == ""
