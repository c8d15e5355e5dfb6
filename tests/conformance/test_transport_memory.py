"""The transport in memory keeps the promises of the port."""

import pytest

from perdure.ports.transport import Transport
from perdure.testing.conformance.transport import TransportConformance
from perdure.transports.memory import MemoryTransport


@pytest.mark.covers("F8", "I5")
class TestMemoryTransport(TransportConformance):
    breaks = False
    patience_s = 5

    def make_transport(self) -> Transport:
        return MemoryTransport()

    def other_transport(self, transport: Transport) -> Transport:
        assert isinstance(transport, MemoryTransport)
        return MemoryTransport(transport.queues)

    async def crash(self, transport: Transport) -> None:
        await transport.close()
