"""The transport on NATS JetStream keeps the promises of the port."""

import pytest

from perdure.ports.transport import Transport
from perdure.transports.nats import NatsTransport
from tests.brokers import BrokerHarness


@pytest.mark.covers("F8", "F9", "I5")
class TestNatsTransport(BrokerHarness):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _place(self, nats_url: str) -> None:
        self.url = f"{nats_url}&ack_wait=1"

    def new_transport(self, url: str) -> Transport:
        return NatsTransport(url)

    async def clean_up(self) -> None:
        """The fixture deletes the streams."""
