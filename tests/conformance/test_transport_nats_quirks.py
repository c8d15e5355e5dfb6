"""What is JetStream's own: its headers, its limits, its refusals, acks in progress, and what survives a crash of the server."""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig, StreamInfo
from nats.js.errors import ServerError

from perdure.model.errors import InvalidOption, NoHandlers, PacketTooLarge, TransportUnavailable
from perdure.ports.transport import DEAD, DELIVERIES_MAX, REASON_HEADER, Packet, worker_address
from perdure.testing.conformance.transport_harness import A, B, Hand, TransportHarness, keep, numbered, packet
from perdure.transports.nats import NatsTransport
from perdure.transports.nats import handling as handling_module
from perdure.transports.nats.streams import lane_of, place_of, stream_config
from tests.brokers import own_nats, self_signed
from tests.conformance.proxy import proxied

PATIENCE = TransportHarness()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[NatsTransport]:
    transport = NatsTransport(url)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def raw(server: str) -> AsyncIterator[Client]:
    client = await nats.connect(server)
    try:
        yield client
    finally:
        await client.close()


async def known(transport: NatsTransport, address: str) -> None:
    await (await transport.handle(address, Hand(), slots=1)).close()


async def test_a_stranger_sees_a_packet_in_the_headers_of_nats(nats_url: str, nats_server: str) -> None:
    lane = lane_of(place_of(nats_url), A)
    sent = Packet("run#0#1~1.1", b"{}", "application/avro", {"perdure-run": "order 1", "traceparent": "00-1-2-01"}, 7)
    async with opened(nats_url) as transport, raw(nats_server) as client:
        await known(transport, A)
        await transport.send(A, [sent])
        found = await client.jetstream().get_last_msg(lane.stream, lane.subject)
    assert found.headers == {
        "Nats-Msg-Id": "run#0#1~1.1",
        "Content-Type": "application/avro",
        "perdure-run": "order 1",
        "traceparent": "00-1-2-01",
        "perdure-priority": "7",
    }
    assert found.data == b"{}"


async def test_what_a_stranger_publishes_is_delivered_whatever_its_headers(nats_url: str, nats_server: str) -> None:
    subject = lane_of(place_of(nats_url), A).subject
    async with opened(nats_url) as transport, raw(nats_server) as client:
        hand = Hand()
        await transport.handle(A, hand, slots=5)
        await client.publish(subject, b"\x80pickle?")
        await client.publish(subject, b"", headers={"perdure-priority": "high", "Status": "503", "perdure-quoted": "gone", "X": "1"})
        await PATIENCE.gets(hand, 2)
    plain, other = sorted(hand.packets, key=lambda one: len(one.headers))
    assert (plain.body, plain.headers, plain.content_type) == (b"\x80pickle?", {}, "application/json")
    assert plain.id
    assert plain.id != other.id
    assert (other.body, other.priority, other.headers) == (b"", 0, {"Status": "503", "X": "1"})


async def test_a_delivery_that_takes_long_is_kept_by_acks_in_progress(nats_url: str) -> None:
    async with proxied(f"{nats_url}&ack_wait=0.3") as (proxy, url), opened(url) as transport, opened(nats_url) as other:
        hand, second = Hand(keep), Hand(keep)
        proxy.watched = b"+WPI"
        handling = await transport.handle(A, hand, slots=1)
        await other.handle(A, second, slots=1)
        await transport.send(A, numbered(2))
        (held,) = await PATIENCE.gets(hand, 1)
        await PATIENCE.until(lambda: proxy.seen >= 7, "acks in progress for longer than two ack_waits")
        await handling.stop()
        await PATIENCE.until(lambda: proxy.seen >= 14, "acks in progress after the handling was stopped")
        await held.ack()
        assert len(hand.got) == 1
        assert held.packet.id not in second.ids


async def test_a_consumer_that_was_made_with_another_wait_takes_the_new_one_and_loses_nothing(
    nats_url: str, nats_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling_module, "BEATS", 100)
    lane = lane_of(place_of(nats_url), A)

    async def ack_wait() -> float | None:
        async with raw(nats_server) as client:
            return (await client.jetstream().consumer_info(lane.stream, lane.consumer)).config.ack_wait

    async with proxied(f"{nats_url}&ack_wait=300") as (proxy, url):
        proxy.watched = b"+WPI"
        async with opened(url) as before, opened(f"{nats_url}&ack_wait=0.5") as after:
            old, new = Hand(keep), Hand(keep)
            await before.handle(A, old, slots=1)
            assert await ack_wait() == 300
            await before.send(A, numbered(2))
            await PATIENCE.gets(old, 1)
            await after.handle(A, new, slots=2)
            assert await ack_wait() == 0.5
            await PATIENCE.gets(new, 1)
            await PATIENCE.until(lambda: proxy.seen >= 12, "acks in progress for longer than two of the shorter waits")
            assert (len(old.got), len(new.got)) == (1, 1)
            # It hangs: what it had comes to the other within the new wait, not after the old one.
            proxy.asks.clear()
            await PATIENCE.gets(new, 2)
            proxy.asks.set()
            for hand in (old, new):
                for held in hand.got:
                    await held.ack()


async def test_a_wait_that_is_not_given_is_ten_seconds(nats_url: str, nats_server: str) -> None:
    lane = lane_of(place_of(nats_url), A)
    async with opened(nats_url) as transport, raw(nats_server) as client:
        await known(transport, A)
        assert (await client.jetstream().consumer_info(lane.stream, lane.consumer)).config.ack_wait == 10


async def test_a_handling_that_had_nothing_to_do_for_long_pulls_on(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handling_module, "_PULL_S", 0.1)
    async with proxied(nats_url) as (proxy, url), opened(url) as transport:
        hand = Hand(keep)
        proxy.watched = b".MSG.NEXT."
        await transport.handle(A, hand, slots=3)
        await PATIENCE.until(lambda: proxy.seen >= 4, "pulls that ended with nothing")
        await transport.send(A, numbered(5))
        await PATIENCE.gets(hand, 3)
        await PATIENCE.settles_down(transport)
        assert len(hand.got) == 3


async def test_pulls_that_are_never_answered_are_made_again(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handling_module, "_PULL_S", 0.1)
    monkeypatch.setattr(handling_module, "_PULL_GRACE_S", 0.0)
    # As when the server that leads the consumer dies.
    monkeypatch.setattr(handling_module.NatsHandling, "_hear", lambda self, message: None)
    async with opened(f"{nats_url}&ack_wait=0.3") as transport, proxied(f"{nats_url}&ack_wait=0.3") as (proxy, url), opened(url) as other:
        hand = Hand()
        proxy.watched = b".MSG.NEXT."
        await other.handle(A, hand, slots=3)
        await PATIENCE.until(lambda: proxy.seen >= 3, "pulls after those that had no answer")
        await transport.send(A, numbered(5))
        await PATIENCE.gets(hand, 5)


async def test_slots_hold_even_if_the_server_answers_more_pulls_than_are_known(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each pull is taken for one that the server has forgotten, and made again.
    monkeypatch.setattr(handling_module, "_PULL_GRACE_S", -1_000.0)
    async with opened(nats_url) as transport:
        hand = Hand(keep)
        handling = await transport.handle(A, hand, slots=3)
        for _ in range(3):
            handling._settled()
            await PATIENCE.settles_down(transport)
        await transport.send(A, numbered(12))
        await PATIENCE.gets(hand, 3)
        await PATIENCE.settles_down(transport)
        assert len(hand.got) == 3


async def test_a_stream_that_is_full_is_told_with_its_limit(nats_url: str) -> None:
    async with opened(f"{nats_url}&packets_max=3") as transport:
        await known(transport, A)
        await transport.send(A, numbered(3))
        with pytest.raises(TransportUnavailable, match=r"maximum messages.*packets_max is 3"):
            await transport.send(A, numbered(1, 3))
        assert await transport.backlog(A) == 3


async def test_a_stream_is_left_as_it_was_made(nats_url: str, nats_server: str) -> None:
    for packets_max in (3, 4):
        async with opened(f"{nats_url}&packets_max={packets_max}") as transport:
            hand = Hand()
            await transport.handle(A, hand, slots=1)
            await transport.send(A, [packet(f"p{packets_max}")])
            await PATIENCE.gets(hand, 1)
    assert (await stream_of(nats_url, nats_server, A)).config.max_msgs == 3


async def stream_of(url: str, server: str, address: str) -> StreamInfo:
    async with raw(server) as client:
        return await client.jetstream().stream_info(lane_of(place_of(url), address).stream)


async def test_what_is_said_to_workers_is_in_memory_and_goes_with_them(nats_url: str, nats_server: str) -> None:
    async with opened(nats_url) as transport:
        hand = Hand(keep)
        handling = await transport.handle(worker_address("w.1"), hand, slots=1)
        await transport.send(worker_address("w.1"), numbered(3))
        await PATIENCE.gets(hand, 1)
        with pytest.raises(NoHandlers):
            await transport.send(worker_address("w.2"), numbered(1))
        await handling.close()
        assert await transport.backlog(worker_address("w.1")) == 2
    config = (await stream_of(nats_url, nats_server, worker_address("w.1"))).config
    assert (config.storage, config.retention) == ("memory", "interest")


@pytest.mark.parametrize("what", ["stream", "consumer"])
async def test_what_was_deleted_is_made_again_and_handled(what: str, nats_url: str, nats_server: str) -> None:
    lane = lane_of(place_of(nats_url), A)
    async with opened(nats_url) as transport, raw(nats_server) as client:
        hand = Hand()
        await transport.handle(A, hand, slots=5)
        await transport.send(A, [packet("before")])
        await PATIENCE.gets(hand, 1)
        stream = client.jetstream()
        await (stream.delete_stream(lane.stream) if what == "stream" else stream.delete_consumer(lane.stream, lane.consumer))

        async def is_sent() -> bool:
            try:
                await transport.send(A, [packet("after")])
            except (NoHandlers, TransportUnavailable):
                return False
            return True

        await PATIENCE.until(is_sent, "the stream")
        await PATIENCE.gets(hand, 2)


async def test_packets_are_published_without_waiting_for_the_answer_to_the_one_before(nats_url: str) -> None:
    async with proxied(nats_url) as (proxy, url), opened(url) as transport:
        await known(transport, A)
        proxy.watched = b"number 20 of"
        proxy.answers.clear()
        sending = asyncio.create_task(transport.send(A, [packet(f"p{number}", b"number %d of 20" % number) for number in range(1, 21)]))
        await PATIENCE.until(lambda: proxy.seen == 1, "the last packet at the server")
        assert not sending.done()
        proxy.answers.set()
        await sending


async def test_a_server_that_does_not_answer_in_time_is_unavailable(nats_url: str) -> None:
    # Room enough for a busy server to answer what it hears.
    async with proxied(f"{nats_url}&answer_timeout=1") as (proxy, url), opened(nats_url) as patient, opened(url) as transport:
        await known(patient, A)
        proxy.answers.clear()
        requests = (transport.send(A, numbered(3)), transport.backlog(A), transport.handle(A, Hand(), slots=1))
        told = await asyncio.gather(*requests, return_exceptions=True)
        assert [type(error) for error in told] == 3 * [TransportUnavailable]
        proxy.answers.set()
        await PATIENCE.sends(transport, A, numbered(3))


async def test_what_is_with_every_process_that_dies_becomes_a_dead_letter(nats_url: str) -> None:
    async with opened(f"{nats_url}&ack_wait=0.1") as other:
        dead, count = Hand(), 0
        await known(other, A)
        await other.handle(DEAD, dead, slots=1)
        await other.send(A, [packet("deadly")])
        while not dead.got:
            async with proxied(f"{nats_url}&ack_wait=0.1") as (_, url):
                hand = Hand(keep)
                transport = NatsTransport(url)
                await transport.open()
                await transport.handle(A, hand, slots=1)
                await PATIENCE.until(lambda hand=hand: bool(hand.got or dead.got), "the packet, or its death")  # type: ignore[misc]
                count += len(hand.got)
            await transport.close()
        assert count == DELIVERIES_MAX
        assert "never settled" in dead.packets[0].headers[REASON_HEADER]


async def test_one_id_that_dies_at_two_addresses_leaves_two_letters(nats_url: str) -> None:
    async with opened(nats_url) as transport:
        hands, dead = [Hand(keep), Hand(keep)], Hand()
        for address, hand in zip((A, B), hands, strict=True):
            await transport.handle(address, hand, slots=1)
            await transport.send(address, [packet("p", address.encode())])
            await (await PATIENCE.gets(hand, 1))[0].refuse("no")
        await transport.handle(DEAD, dead, slots=1)
        await PATIENCE.gets(dead, 2)
    assert sorted((letter.id, letter.body) for letter in dead.packets) == [("p", A.encode()), ("p", B.encode())]


async def test_headers_that_leave_no_room_are_refused_before_they_are_sent(nats_url: str) -> None:
    async with opened(nats_url) as transport:
        await known(transport, A)
        largest = b"x" * transport.traits.packet_bytes_max
        with pytest.raises(PacketTooLarge):
            await transport.send(A, [packet("p", largest, headers={"a": "b" * 16_000})])
        await transport.send(A, [packet("p", largest, headers={"a": "b" * 8_000})])
        # However much was sent, there is room for the reason why it is a dead letter.
        hand, dead = Hand(keep), Hand()
        await transport.handle(A, hand, slots=1)
        await (await PATIENCE.gets(hand, 1))[0].refuse("ü" * 10_000)
        await transport.handle(DEAD, dead, slots=1)
        await PATIENCE.gets(dead, 1)
    assert (dead.packets[0].body, set(dead.packets[0].headers[REASON_HEADER])) == (largest, {"ü"})


async def test_a_lost_connection_is_told_in_one_line_and_not_by_the_client(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with proxied(nats_url) as (proxy, url), opened(url) as transport:
        hand = Hand()
        await transport.handle(A, hand, slots=1)
        await proxy.stop()
        await PATIENCE.until(lambda: transport._link._connection is None, "the loss")
        await proxy.resume()
        await PATIENCE.sends(transport, A, [packet("p")])
        await PATIENCE.gets(hand, 1)
    assert [(record.name, record.levelno) for record in caplog.records] == 2 * [("perdure.transports", logging.INFO)]


async def test_a_loss_that_the_client_does_not_tell_of_is_noticed(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises before its callbacks where something was left to write."""
    async with proxied(nats_url) as (proxy, url), opened(url) as transport:
        hand = Hand()
        await transport.handle(A, hand, slots=1)

        before = transport._link._connection
        assert before is not None
        dead, close = before._client, Client._close

        async def fail_first(client: Client, status: int, do_cbs: bool = True) -> None:
            if client is dead and not client.is_closed:
                client._status = Client.CLOSED
                monkeypatch.setattr(Client, "_close", close)
                raise ConnectionResetError
            await close(client, status, do_cbs)

        monkeypatch.setattr(Client, "_close", fail_first)
        proxy.cut()
        # None, or a new one already.
        await PATIENCE.until(lambda: transport._link._connection is not before, "the loss")
        assert dead._subs == {}
        assert dead._transport._io_writer.is_closing()
        await PATIENCE.sends(transport, A, [packet("p")])
        await PATIENCE.gets(hand, 1)


@pytest.mark.parametrize("failures", [2, 3])
async def test_a_stream_whose_folder_went_while_it_was_made_is_made_once_more(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    make, left = JetStreamContext.add_stream, failures

    async def fail_first(stream: JetStreamContext, config: StreamConfig) -> StreamInfo:
        nonlocal left
        if left:
            left -= 1
            raise ServerError(code=500, err_code=10_049, description="error creating store for stream")
        return await make(stream, config)

    async with opened(nats_url) as transport:
        monkeypatch.setattr(JetStreamContext, "add_stream", fail_first)
        if failures == 2:
            await known(transport, A)
        else:
            with pytest.raises(TransportUnavailable, match="error creating store"):
                await known(transport, A)
    assert left == 0


async def is_away(transport: NatsTransport) -> bool:
    try:
        await transport.send(A, numbered(1, 5))
    except TransportUnavailable:
        return True
    return False


@pytest.mark.covers("F9")
async def test_packets_and_handlings_survive_the_death_of_the_server(tmp_path: Path) -> None:
    async with own_nats(tmp_path, "-js") as server, opened(f"nats://127.0.0.1:{server.port}?ack_wait=1") as transport:
        assert transport.traits.is_durable
        hand, later = Hand(keep), Hand()
        await known(transport, B)
        await transport.handle(A, hand, slots=2)
        await transport.send(A, numbered(5))
        await transport.send(B, numbered(200))
        held = list(await PATIENCE.gets(hand, 2))
        server.kill()
        await PATIENCE.until(lambda: is_away(transport), "the loss of the server")
        await server.start()
        await PATIENCE.sends(transport, A, numbered(1, 5))
        for delivery in held:
            await delivery.ack()

        async def is_done() -> bool:
            for delivery in hand.got:
                await delivery.ack()
            return {f"p{number}" for number in range(6)} <= set(hand.ids)

        await PATIENCE.until(is_done, "all packets after the restart")
        await transport.handle(B, later, slots=50)
        await PATIENCE.gets(later, 200)


async def test_credentials_that_cannot_be_right_are_told_without_secrets(tmp_path: Path) -> None:
    async with own_nats(tmp_path, "-js", "--user", "me", "--pass", "se cret") as server:
        async with opened(f"nats://me:se%20cret@127.0.0.1:{server.port}") as transport:
            await known(transport, A)
            assert "cret" not in transport.name
        for wrong in ("me:secret-but-wrong@", "", "secret-token@"):
            with pytest.raises(InvalidOption, match=r"credentials") as refused:
                await NatsTransport(f"nats://{wrong}127.0.0.1:{server.port}").open()
            assert "secret" not in str(refused.value)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Hang up so that what was written and not read yet is lost."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


@pytest.mark.parametrize(("hang_ups", "error", "problem"), [(3, InvalidOption, "credentials"), (4, TransportUnavailable, "hangs up")])
async def test_a_refusal_is_heard_although_a_hang_up_overtook_it(hang_ups: int, error: type[Exception], problem: str) -> None:
    left = hang_ups

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        writer.write(b'INFO {"auth_required": true, "max_payload": 1000000}\r\n')
        await reader.readline()
        if left:
            left -= 1
            _reset(writer)
            return
        writer.write(b"-ERR 'Authorization Violation'\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(error, match=problem):
            await NatsTransport(f"nats://me:wrong@127.0.0.1:{port}").open()
    assert left == 0


async def test_a_token_opens_the_server_it_is_for(tmp_path: Path) -> None:
    async with own_nats(tmp_path, "-js", "--auth", "secret") as server, opened(f"nats://secret@127.0.0.1:{server.port}") as transport:
        await known(transport, A)
        assert "secret" not in transport.name


async def test_a_server_with_tls_is_used_with_the_certificate_that_the_url_names(tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    async with own_nats(tmp_path / "data", "-js", "--tls", "--tlscert", certificate, "--tlskey", key) as server:
        async with opened(f"tls://127.0.0.1:{server.port}?cafile={certificate}") as transport:
            await known(transport, A)
        with pytest.raises(TransportUnavailable, match=r"(?i)certificate"):
            await NatsTransport(f"tls://127.0.0.1:{server.port}").open()
    with pytest.raises(InvalidOption, match=r"TLS"):
        await NatsTransport(f"tls://127.0.0.1:1?cafile={tmp_path}/no-such-file").open()


async def test_a_server_without_jetstream_is_told(tmp_path: Path) -> None:
    async with own_nats(tmp_path) as server:
        with pytest.raises(TransportUnavailable, match=r"JetStream"):
            await NatsTransport(f"nats://127.0.0.1:{server.port}").open()


async def test_one_of_several_servers_is_enough(nats_url: str) -> None:
    async with opened(nats_url.replace("nats://", "nats://127.0.0.1:1,")) as transport:
        await known(transport, A)
        await transport.send(A, numbered(1))


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(TransportUnavailable, match=r"nats://me@127.0.0.1:1"):
        await NatsTransport("nats://me:secret@127.0.0.1:1").open()


def test_a_url_is_read_with_care_and_named_without_secrets() -> None:
    name = NatsTransport("nats://me:secret@one:1,two:2?prefix=x&nkey=/seed").name
    assert (name.startswith("nats://me@one:1,two:2"), "secret" in name) == (True, False)
    assert "secret" not in NatsTransport("nats://secret@one").name
    bad = ("http://h/", "nats://", "nats://h?prefix=a.b", "nats://h?storage=tape", "nats://h?replicas=0", "nats://h?ack_wait=-1")
    for url in (*bad, "nats://h?dedupe=long", "nats://h?colour=red", "nats://h:port"):
        with pytest.raises(InvalidOption):
            NatsTransport(url)


def test_memory_is_not_durable() -> None:
    assert not NatsTransport("nats://h?storage=memory").traits.is_durable


def test_two_addresses_never_have_one_lane() -> None:
    place = place_of("nats://h")
    addresses = ["a b", "a=20b", "a.b", "a-b", "A.b", "x" * 300, "x" * 301, "ü", "u", worker_address("a.b"), worker_address("a-b")]
    lanes = [lane_of(place, address) for address in addresses]
    assert len({lane.subject for lane in lanes}) == len({(lane.stream, lane.consumer) for lane in lanes}) == len(addresses)


async def test_dead_letters_are_bounded_and_the_oldest_make_room(nats_url: str, nats_server: str) -> None:
    async with opened(f"{nats_url}&letters_max=3&letters_keep=60&packets_max=2") as transport, raw(nats_server) as client:
        for number in range(6):
            await transport.send(DEAD, [packet(f"p{number}")])
        assert await _lying(transport) == ["p3", "p4", "p5"]
        found = await client.jetstream().stream_info(lane_of(place_of(nats_url), DEAD).stream)
    assert found.config.max_age == 60


async def _lying(transport: NatsTransport) -> list[str]:
    async with aclosing(transport.look(DEAD)) as found:
        return [one.id async for one in found]


async def test_a_stream_of_dead_letters_from_before_is_used_as_it_is(nats_url: str, nats_server: str) -> None:
    place = place_of(nats_url)
    lane = lane_of(place, DEAD)
    async with raw(nats_server) as client:
        before = stream_config(place, lane).evolve(max_age=0, max_msgs=9, discard=DiscardPolicy.NEW)
        await client.jetstream().add_stream(before)
        async with opened(nats_url) as transport:
            await transport.send(DEAD, [packet("p")])
            assert await _lying(transport) == ["p"]
        assert (await client.jetstream().stream_info(lane.stream)).config.max_msgs == 9


async def test_the_largest_packet_is_shown_whole_and_to_nobody_instead_of_a_handler(nats_url: str) -> None:
    async with opened(nats_url) as transport:
        await known(transport, A)
        sent = packet("p", bytes(range(256)) * (transport.traits.packet_bytes_max // 256), headers={"x": "é"})
        await transport.send(A, [sent])
        async with aclosing(transport.look(A)) as found:
            assert [one async for one in found] == [sent]
        hand = Hand()
        await transport.handle(A, hand, slots=1)
        (delivery,) = await PATIENCE.gets(hand, 1)
        assert not delivery.is_again
