"""What a worker over a broker says: packets to the address that all nodes handle."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from perdure.ports.reporter import Report
from perdure.ports.transport import NODES, Packet, Transport
from perdure.wire.bundles import LINES, bundle, fits_bundle

BUNDLE_BYTES_MAX: Final = 64 * 1024


class TransportReporter:
    """Reports travel by the transport by which the calls came; short ones that go out together share a packet."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def reports_at_once(self) -> int:
        """One: what comes while a bundle is confirmed goes with the next."""
        return 1

    async def report(self, reports: Sequence[Report]) -> None:
        """As the port says."""
        bytes_max = min(BUNDLE_BYTES_MAX, self._transport.traits.packet_bytes_max)
        await self._transport.send(NODES, [_packet(part) for part in _parts(reports, bytes_max)])


def _parts(reports: Sequence[Report], bytes_max: int) -> Iterator[list[Report]]:
    """Cut what is said into packets: the same whenever it is said again."""
    part: list[Report] = []
    size = 0
    for report in reports:
        if not fits_bundle(report.body, report.content_type):
            yield [report]
            continue
        size += len(report.body) + 1
        if part and size > bytes_max:
            yield part
            part, size = [], len(report.body) + 1
        part.append(report)
    if part:
        yield part


def _packet(part: Sequence[Report]) -> Packet:
    if len(part) == 1:
        return Packet(part[0].id, part[0].body, part[0].content_type, part[0].headers)
    # A transport drops what comes again under its id: that must be the same for the same reports, and for no others.
    names = hashlib.sha256("\n".join(report.id for report in part).encode("utf-8", "surrogatepass")).hexdigest()
    return Packet(f"reports/{names}", bundle(report.body for report in part), LINES)
