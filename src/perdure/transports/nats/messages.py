"""Packets as messages of NATS: what there is a header for travels in it, and the rest in headers of ours.

Headers are lines of ASCII. A value that is none is percent-encoded, and ``perdure-quoted`` names its header.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from perdure.ports.transport import Packet

MESSAGE_ID: Final = "Nats-Msg-Id"
_ID: Final = "perdure-packet"
"""The packet's own id where duplicates are found by another; not ``perdure-id``, in which senders name the attempt, percent-encoded."""
_CONTENT_TYPE: Final = "Content-Type"
_PRIORITY: Final = "perdure-priority"
_QUOTED: Final = "perdure-quoted"
_OURS: Final = frozenset({_ID, _CONTENT_TYPE, _PRIORITY, _QUOTED})
_USUAL_TYPE: Final = "application/json"
_PLAIN: Final = re.compile(r"(?!=\?)[!-~](?:[ -~]*[!-~])?")
_ACK_SUBJECT: Final = "$JS.ACK."


def headers_of(packet: Packet, message_id: str) -> dict[str, str]:
    """Give the headers of the message of a packet; ``message_id`` is what the stream finds duplicates by."""
    headers = {_CONTENT_TYPE: packet.content_type, **packet.headers}
    if message_id != packet.id:
        headers[_ID] = packet.id
    if packet.priority:
        headers[_PRIORITY] = str(packet.priority)
    quoted = [name for name, value in headers.items() if not _PLAIN.fullmatch(value)]
    for name in quoted:
        # Never empty: some parsers drop a header without a value.
        headers[name] = "~" + quote(headers[name], safe="", errors="surrogatepass")
    if quoted:
        headers[_QUOTED] = ",".join(quoted)
    headers[MESSAGE_ID] = _always_quoted(message_id)
    return headers


def packet_of(message: Msg) -> Packet:
    """Give the packet of a message, whoever published it."""
    return _packet(message.headers, message.data, message.reply.removeprefix(_ACK_SUBJECT))


def packet_lying(message: RawStreamMsg) -> Packet:
    """Give the packet of a message as it lies in its stream."""
    return _packet(message.headers, message.data, f"number {message.seq}")


def _packet(headers: Mapping[str, str] | None, data: bytes | None, nameless: str) -> Packet:
    """``nameless``: the id of what was published without one."""
    found = dict(headers or {})
    for name in found.get(_QUOTED, "").split(","):
        if name in found:
            found[name] = unquote(found[name].removeprefix("~"), errors="surrogatepass")
    priority = found.get(_PRIORITY, "0")
    return Packet(
        id=found.get(_ID) or unquote(found.get(MESSAGE_ID, nameless), errors="surrogatepass"),
        body=data or b"",
        content_type=found.get(_CONTENT_TYPE, _USUAL_TYPE),
        headers={name: value for name, value in found.items() if name not in _OURS and not name.startswith("Nats-")},
        priority=int(priority) if re.fullmatch(r"-?\d{1,9}", priority) else 0,
    )


def deliveries_of(message: Msg) -> int:
    """Give how often the message was delivered before."""
    return max(message.metadata.num_delivered - 1, 0)


def is_packet(message: Msg) -> bool:
    """Tell a message of a stream from one of the server about a pull."""
    return message.reply.startswith(_ACK_SUBJECT)


def _always_quoted(text: str) -> str:
    safe = " !#$&'()*+,/:;=?@[]~" if _PLAIN.fullmatch(text) else ""
    return quote(text, safe=safe, errors="surrogatepass")
