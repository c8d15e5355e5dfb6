"""Several messages in one packet, each on a line of its own. Protects a broker, and both ends, from a packet for each of many reports."""

from collections.abc import Iterable, Sequence
from typing import Final

from perdure.wire.encoding import JSON

LINES: Final = "application/x-ndjson"
"""The content type of a bundle: messages in JSON, one a line (https://github.com/ndjson/ndjson-spec)."""


def fits_bundle(body: bytes, content_type: str) -> bool:
    """Tell whether a message may be a line of a bundle."""
    return content_type == JSON and b"\n" not in body


def bundle(bodies: Iterable[bytes]) -> bytes:
    """Give the body of a packet that holds these messages."""
    return b"\n".join(bodies)


def unbundled(body: bytes, content_type: str) -> Sequence[tuple[bytes, str]]:
    """Give the messages of a packet, at least one, each with its content type; nothing is proved of them yet."""
    if content_type.partition(";")[0].strip().lower() != LINES:
        return [(body, content_type)]
    return [(line, JSON) for line in body.split(b"\n") if line.strip()] or [(body, JSON)]
