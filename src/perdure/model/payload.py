"""Values as they travel and as they rest."""

import re
from hashlib import sha256
from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType, json

from perdure.model.errors import CorruptJournal

_BLOB_NAMED: Final = re.compile(rb'"blob":"([0-9a-f]{64})"')


class Content(Struct, frozen=True, gc=False):
    """A value as bytes, with the chain of codecs that made them (``json``, ``bytes``, ``json+zlib``)."""

    codec: str
    data: bytes


class Empty:
    """The one value of an action that succeeded with nothing to pass on. It is false; its copies are itself."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "perdure.EMPTY"

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Final[Any] = Empty()
"""Returned by an action to say: success, with nothing to pass on. It stands for a value of any declared type."""
EMPTY_CONTENT: Final = Content("empty", b"null")
"""How `EMPTY` travels and rests, whatever the codecs: it gives nothing away."""


def packed(content: Content) -> bytes:
    """Give a content as one JSON text: the value itself where it is plain JSON, else ``[codec, base64]``. For JSON objects only."""
    return content.data if content.codec == "json" else json.encode((content.codec, content.data))


def unpacked(text: bytes) -> Content:
    """Give back the content of a JSON object that `packed` wrote."""
    if not text.startswith(b"["):
        return Content("json", text)
    codec, data = json.decode(text, type=tuple[str, bytes])
    return Content(codec, data)


class Payload(Struct, frozen=True, omit_defaults=True, gc=False):
    """A value at rest in a fact. Exactly one of three places holds it.

    ``json``: inline in the fact. ``at``/``size``: a slice of the row's ``data``. ``blob``: the store's blob of that content hash.
    """

    json: Raw | UnsetType = UNSET
    codec: str = "json"
    blob: str = ""
    at: int = -1
    size: int = 0


class Attachments:
    """Collects, for one journal row, the bytes that do not fit into its facts."""

    __slots__ = ("blobs", "data", "inline_max")

    def __init__(self, inline_max: int) -> None:
        self.inline_max = inline_max
        self.data: bytearray | None = None
        self.blobs: dict[str, bytes] | None = None

    def place(self, content: Content) -> Payload:
        """Give the content its place: inline if JSON, else beside the row, else by content hash if larger than ``inline_max``."""
        size = len(content.data)
        if size > self.inline_max:
            return self._place_blob(content)
        if content.codec == "json":
            return Payload(json=Raw(content.data))
        if self.data is None:
            self.data = bytearray()
        at = len(self.data)
        self.data += content.data
        return Payload(codec=content.codec, at=at, size=size)

    def _place_blob(self, content: Content) -> Payload:
        digest = sha256(content.data).hexdigest()
        if self.blobs is None:
            self.blobs = {}
        self.blobs[digest] = content.data
        return Payload(codec=content.codec, blob=digest, size=len(content.data))


def content_of(payload: Payload, data: bytes | None, blobs: dict[str, bytes]) -> Content:
    """Give back the content of a payload, from its row's ``data`` or from ``blobs`` (content hash -> bytes).

    Raises `CorruptJournal` if the place it names holds nothing.
    """
    if payload.json is not UNSET:
        return Content("json", bytes(payload.json))
    if payload.blob:
        found = blobs.get(payload.blob)
        if found is None:
            raise CorruptJournal(what=f"the payload {payload.blob[:12]}… is not in the blob store")
        return Content(payload.codec, found)
    if data is None or payload.at < 0 or payload.size < 0 or payload.at + payload.size > len(data):
        raise CorruptJournal(what=f"the row's data does not hold bytes {payload.at}..{payload.at + payload.size}")
    return Content(payload.codec, data[payload.at : payload.at + payload.size])


def digest_of(payload: Payload, data: bytes | None) -> str:
    """Give a hash of the payload's bytes, wherever they lie: equal content, equal digest."""
    if payload.blob:
        return payload.blob
    return sha256(content_of(payload, data, {}).data).hexdigest()


def blobs_named(text: bytes) -> set[str]:
    """Give the content hashes that facts or a message, as JSON, refer to; perhaps more, where a user's value looks like a payload."""
    return {hash.decode() for hash in _BLOB_NAMED.findall(text)}


def payloads_in(value: Any) -> list[Payload]:
    """Give every payload inside facts or messages."""
    if isinstance(value, Payload):
        return [value]
    if isinstance(value, Struct):
        return [found for name in value.__struct_fields__ for found in payloads_in(getattr(value, name))]
    if isinstance(value, list | tuple):
        return [found for entry in value for found in payloads_in(entry)]
    if isinstance(value, dict):
        return [found for entry in value.values() for found in payloads_in(entry)]
    return []
