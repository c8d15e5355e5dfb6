"""The format of an export: JSON lines, each with the version of the format. The page docs/reference/export.md describes it."""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from perdure.model.durability import Durability
from perdure.model.errors import Unsupported
from perdure.model.ids import CallName, RunId
from perdure.model.run import RunRow, Status, Transition
from perdure.ports.store import Heartbeat, InboxItem

VERSION: Final = 1


class Written(Struct, frozen=True, omit_defaults=True):
    """Bytes in a line: ``json`` where they are one JSON text without line breaks, so that tools can read them, else ``base64``."""

    json: Raw | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET

    def bytes(self) -> bytes:
        """Give back the very bytes that were written."""
        if not isinstance(self.json, UnsetType):
            return bytes(self.json)
        return b"" if isinstance(self.base64, UnsetType) else self.base64


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """``perdure``: the version of the format."""

    perdure: int


class BeginLine(Line, frozen=True, kw_only=True, tag="export"):
    """The first line: where the runs come from, and when they were read."""

    store: str
    at_us: int


class RunLine(Line, frozen=True, kw_only=True, tag="run"):
    """A run begins; what follows up to its `EndLine` belongs to it."""

    id: RunId
    definition: str
    version: int
    status: Status
    input_hash: str = ""
    parent: RunId | None = None
    parent_call: CallName | None = None
    tags: tuple[str, ...] = ()
    created_us: int
    updated_us: int
    wake_us: int | None = None
    base: int = 1
    reason: str | None = None
    state: Written | None = None
    durability: Durability | None = None


class RowLine(Line, frozen=True, kw_only=True, tag="journal"):
    run: RunId
    number: int
    at_us: int
    facts: Written
    data: Written | None = None


class InboxLine(Line, frozen=True, kw_only=True, tag="inbox"):
    run: RunId
    id: str
    at_us: int
    body: Written
    data: Written | None = None


class HeartbeatLine(Line, frozen=True, kw_only=True, tag="heartbeat"):
    run: RunId
    call: CallName
    attempt: int
    body: Written
    data: Written | None = None


class BlobLine(Line, frozen=True, kw_only=True, tag="blob"):
    """A large payload, once, before the first run that refers to it."""

    hash: str
    data: Written


class EndLine(Line, frozen=True, kw_only=True, tag="end"):
    """The run is complete; a run without this line was cut off."""

    run: RunId
    rows: int


class TotalLine(Line, frozen=True, kw_only=True, tag="total"):
    """The last line: the export is complete."""

    runs: int
    blobs: int


AnyLine = BeginLine | RunLine | RowLine | InboxLine | HeartbeatLine | BlobLine | EndLine | TotalLine


class _Version(Struct, frozen=True):
    perdure: int


_decoder = msgspec.json.Decoder(AnyLine)
_versions = msgspec.json.Decoder(_Version)
_texts = msgspec.json.Decoder(Raw)
encode_line = msgspec.json.Encoder().encode


def decode_line(text: bytes) -> AnyLine:
    """Read a line. Raises `msgspec.DecodeError`, and `Unsupported` for a version that is not known here."""
    version = _versions.decode(text).perdure
    if version != VERSION:
        raise Unsupported(
            what=f"An export of version {version}", why=f"this version of Perdure reads version {VERSION}; install the one that wrote it"
        )
    line: AnyLine = _decoder.decode(text)
    return line


def written(data: bytes) -> Written:
    """Write bytes, as JSON where they are that."""
    return Written(json=Raw(data)) if _is_one_text(data) else Written(base64=data)


def written_or_none(data: bytes | None) -> Written | None:
    return None if data is None else written(data)


def _is_one_text(data: bytes) -> bool:
    if not data or b"\n" in data or b"\r" in data or data != data.strip():
        return False
    try:
        _texts.decode(data)
        data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def run_line(row: RunRow) -> RunLine:
    return RunLine(
        perdure=VERSION,
        id=row.id,
        definition=row.definition,
        version=row.version,
        status=row.status,
        input_hash=row.input_hash,
        parent=row.parent,
        parent_call=row.parent_call,
        tags=row.tags,
        created_us=row.created_us,
        updated_us=row.updated_us,
        wake_us=row.wake_us,
        base=row.base,
        reason=row.reason,
        state=written_or_none(row.state),
        durability=row.durability,
    )


def row_line(row: Transition) -> RowLine:
    return RowLine(
        perdure=VERSION, run=row.run, number=row.number, at_us=row.at_us, facts=written(row.facts), data=written_or_none(row.data)
    )


def inbox_line(item: InboxItem) -> InboxLine:
    return InboxLine(perdure=VERSION, run=item.run, id=item.id, at_us=item.at_us, body=written(item.body), data=written_or_none(item.data))


def heartbeat_line(beat: Heartbeat) -> HeartbeatLine:
    return HeartbeatLine(
        perdure=VERSION, run=beat.run, call=beat.call, attempt=beat.attempt, body=written(beat.body), data=written_or_none(beat.data)
    )
