"""What a worker over a broker says: packets to the address that all nodes handle."""

from collections.abc import Sequence

from perdure.ports.reporter import Report
from perdure.ports.transport import NODES, Packet, Transport


class TransportReporter:
    """Reports travel by the transport by which the calls came."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def reports_at_once(self) -> int:
        """As the port says."""
        return self._transport.traits.sends_at_once

    async def report(self, reports: Sequence[Report]) -> None:
        """As the port says."""
        await self._transport.send(NODES, [Packet(report.id, report.body, report.content_type, report.headers) for report in reports])
