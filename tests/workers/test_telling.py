"""What a worker over a broker says shares packets, and each packet is known again by its id."""

from collections.abc import Sequence

from perdure.ports.transport import NODES, Packet, TransportTraits
from perdure.wire.bundles import LINES, unbundled
from perdure.wire.encoding import AVRO, JSON
from perdure.workers.reporting import Said
from perdure.workers.telling import BUNDLE_BYTES_MAX, TransportReporter


class Sink:
    def __init__(self, bytes_max: int = 1_000_000) -> None:
        self.traits = TransportTraits(packet_bytes_max=bytes_max)
        self.packets: list[Packet] = []

    async def send(self, address: str, packets: Sequence[Packet]) -> None:
        assert address == NODES
        self.packets += packets


async def told(*reports: Said, bytes_max: int = 1_000_000) -> list[Packet]:
    sink = Sink(bytes_max)
    await TransportReporter(sink).report(reports)  # type: ignore[arg-type]
    return sink.packets


async def test_reports_share_a_packet_in_their_order() -> None:
    (packet,) = await told(Said("a", b'{"n":1}'), Said("b", b'{"n":2}'))
    assert packet.content_type == LINES
    assert unbundled(packet.body, packet.content_type) == [(b'{"n":1}', JSON), (b'{"n":2}', JSON)]


async def test_a_lone_report_travels_as_it_is() -> None:
    (packet,) = await told(Said("a", b"{}"))
    assert (packet.id, packet.body, packet.content_type) == ("a", b"{}", JSON)


async def test_the_id_of_a_bundle_is_the_same_for_the_same_reports_and_for_no_others() -> None:
    a, b, c = Said("a", b"{}"), Said("b", b"{}"), Said("c", b"{}")
    first, again, other = [(await told(*reports))[0].id for reports in ((a, b), (a, b), (a, c))]
    assert first == again != other


async def test_a_bundle_is_bounded() -> None:
    half = b"x" * (BUNDLE_BYTES_MAX // 2)
    packets = await told(*(Said(name, half) for name in "abc"))
    assert [len(packet.body) for packet in packets] == [len(half)] * 3
    packets = await told(*(Said(name, b"12345678") for name in "abcd"), bytes_max=20)
    assert [len(packet.body) for packet in packets] == [17, 17]


async def test_what_is_no_line_travels_alone() -> None:
    packets = await told(Said("a", b"{}"), Said("b", b"Obj\x01", content_type=AVRO), Said("c", b"{\n}"), Said("d", b"{}"))
    assert [packet.content_type for packet in packets] == [AVRO, JSON, LINES]
