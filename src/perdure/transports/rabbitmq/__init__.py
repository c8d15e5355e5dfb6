"""The transport on RabbitMQ."""

from perdure.transports.rabbitmq.transport import RabbitMQTransport

__all__ = ["RabbitMQTransport"]
