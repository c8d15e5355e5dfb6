"""The transport on RabbitMQ keeps the promises of the port."""

import pytest

from perdure.ports.transport import DEAD, Handler, Transport
from perdure.transports.rabbitmq import RabbitMQTransport
from perdure.transports.rabbitmq.handling import RabbitMQHandling
from perdure.transports.rabbitmq.queues import queue_name
from tests.brokers import BrokerHarness, delete_queues


class Noting(RabbitMQTransport):
    """Remembers which addresses it has made queues for."""

    def __init__(self, url: str, addresses: set[str]) -> None:
        super().__init__(url)
        self._addresses = addresses

    async def handle(self, address: str, handler: Handler, *, slots: int) -> RabbitMQHandling:
        self._addresses.add(address)
        return await super().handle(address, handler, slots=slots)


@pytest.mark.covers("F8", "F9", "I5", "S5")
class TestRabbitMQTransport(BrokerHarness):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _place(self, amqp_server: str, amqp_url: str) -> None:
        self.server = amqp_server
        self.url = amqp_url
        self.addresses = {DEAD}

    def new_transport(self, url: str) -> Transport:
        return Noting(url, self.addresses)

    async def clean_up(self) -> None:
        prefix = self.url.partition("prefix=")[2].partition("&")[0]
        await delete_queues(self.server, [queue_name(prefix, address) for address in self.addresses])
