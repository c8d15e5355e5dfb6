"""The transport on NATS JetStream."""

from perdure.transports.nats.transport import NatsTransport

__all__ = ["NatsTransport"]
