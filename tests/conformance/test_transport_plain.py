"""The suite of the transport port can be kept, by the smallest transport that does."""

import pytest

from perdure.ports.transport import Transport
from perdure.testing.conformance.transport import TransportConformance
from tests.conformance.plain_transport import Broker, PlainTransport


@pytest.mark.covers("F8", "I5")
class TestPlainTransport(TransportConformance):
    breaks = False
    patience_s = 5

    def make_transport(self) -> Transport:
        return PlainTransport(Broker())

    def other_transport(self, transport: Transport) -> Transport:
        assert isinstance(transport, PlainTransport)
        return PlainTransport(transport.broker)

    async def crash(self, transport: Transport) -> None:
        await transport.close()
