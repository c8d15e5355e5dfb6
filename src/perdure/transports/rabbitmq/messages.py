"""Packets as messages of AMQP 0-9-1: what the protocol has a property for travels in it, and the rest in headers.

A property is at most 255 bytes long (short string) or a byte: what does not fit goes whole into a header of ours besides.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import aiormq
from aiormq.abc import DeliveredMessage

from perdure.ports.transport import DIED_HEADER, ORIGIN_HEADER, REASON_HEADER, Packet
from perdure.transports.rabbitmq.queues import address_of

HEADERS_BYTES_MAX: Final = 65_536
"""Properties travel in one frame, and a larger one than the broker takes (usually 131,072 bytes) costs the connection."""
_SHORT_BYTES_MAX: Final = 255
_ENTRY_BYTES: Final = 6
_PRIORITY_MAX: Final = 255
_TRANSIENT, _PERSISTENT = 1, 2
_ID: Final = "perdure-packet"
"""The packet's own id where no property holds it; not ``perdure-id``, in which senders name the attempt, percent-encoded."""
_CONTENT_TYPE: Final = "perdure-content-type"
_PRIORITY: Final = "perdure-priority"
_RUN: Final = "perdure-run"
"""The header that senders name the run in; it is the correlation id as well."""
_OURS: Final = frozenset({_ID, _CONTENT_TYPE, _PRIORITY})
_COUNT: Final = "x-delivery-count"
_DEATHS: Final = "x-death"
# What RabbitMQ adds on its own account.
_BROKERS: Final = frozenset({_COUNT, _DEATHS, "x-acquired-count"})
_BROKERS_PREFIXES: Final = ("x-first-death-", "x-last-death-")


def properties_of(packet: Packet, *, is_lasting: bool) -> "aiormq.spec.Basic.Properties":
    """Give the properties of the message of a packet."""
    headers: dict[str, Any] = dict(packet.headers)
    id, type = packet.id, packet.content_type
    if not _fits(id):
        # The client needs one to know which message was returned.
        headers[_ID], id = id, hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
    if not _fits(type):
        headers[_CONTENT_TYPE], type = type, "application/octet-stream"
    if not 0 <= packet.priority <= _PRIORITY_MAX:
        headers[_PRIORITY] = str(packet.priority)
    run = packet.headers.get(_RUN)
    return aiormq.spec.Basic.Properties(
        message_id=id,
        content_type=type,
        correlation_id=run if run and _fits(run) else None,
        headers=headers or None,
        priority=max(0, min(packet.priority, _PRIORITY_MAX)) or None,
        delivery_mode=_PERSISTENT if is_lasting else _TRANSIENT,
    )


def header_bytes(packet: Packet) -> int:
    """Give about how many bytes the properties of the message of a packet take."""
    texts = (packet.id, packet.content_type, *packet.headers, *packet.headers.values())
    return sum(_size(text) for text in texts) + _ENTRY_BYTES * len(packet.headers)


def packet_of(message: DeliveredMessage) -> Packet:
    """Give the packet of a message, whoever published it."""
    properties = message.header.properties
    found: Mapping[str, Any] = properties.headers or {}
    headers = {name: _text(value) for name, value in found.items() if not _is_brokers(name) and name not in _OURS}
    if REASON_HEADER not in headers:
        headers |= _death(found.get(_DEATHS))
    priority = _text(found.get(_PRIORITY, "")).lstrip("-")
    return Packet(
        id=_text(found.get(_ID, properties.message_id or _name(message))),
        body=message.body,
        content_type=_text(found.get(_CONTENT_TYPE, properties.content_type or "application/octet-stream")),
        headers=headers,
        priority=int(_text(found[_PRIORITY])) if priority.isdecimal() else properties.priority or 0,
    )


def deliveries_of(message: DeliveredMessage) -> int:
    """Give how often the message was delivered before, as far as the broker tells."""
    count = (message.header.properties.headers or {}).get(_COUNT, 0)
    return max(count if isinstance(count, int) else 0, int(bool(message.redelivered)))


def _fits(text: str) -> bool:
    return bool(text) and _size(text) <= _SHORT_BYTES_MAX


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _is_brokers(name: str) -> bool:
    return name in _BROKERS or name.startswith(_BROKERS_PREFIXES)


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    return value if isinstance(value, str) else str(value)


def _name(message: DeliveredMessage) -> str:
    """Make up an id for what was published without one."""
    if message.consumer_tag:
        return f"{message.consumer_tag}.{message.delivery_tag}"
    # Of what is looked at, the same each time.
    return f"nameless {hashlib.sha256(message.body).hexdigest()[:16]}"


def _death(deaths: object) -> dict[str, str]:
    """Say why the broker itself made a dead letter of a message: https://www.rabbitmq.com/docs/dlx#effects."""
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return {}
    last = deaths[0]
    queue, died = _text(last.get("queue", "a queue")), last.get("time")
    told = {REASON_HEADER: f"RabbitMQ: {_text(last.get('reason', 'unknown'))} in {queue}"}
    if address := address_of(queue):
        told[ORIGIN_HEADER] = address
    if isinstance(died, datetime):
        told[DIED_HEADER] = (died if died.tzinfo is not None else died.replace(tzinfo=UTC)).isoformat()
    return told
