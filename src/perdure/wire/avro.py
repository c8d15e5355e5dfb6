"""Messages as Avro (extra ``avro``), in the two forms of its specification, told apart by their first bytes.

An object container file (``Obj\\x01``) has its writer's schema with it: any reader finds the fields that it knows and ignores others. The
single-object form (``\\xc3\\x01``) has the schema's fingerprint only, and is read where that schema is known: each release knows its own
and those of the releases before. Source: https://avro.apache.org/docs/1.12.0/specification/
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any, Final

import fastavro
import msgspec
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from perdure.model.errors import InvalidMessage
from perdure.wire.avro_schema import NAMESPACE, jsonable, plain, schemas, taken
from perdure.wire.messages import AnyWireMessage

CONTAINER: Final = b"Obj\x01"
SINGLE: Final = b"\xc3\x01"
_FINGERPRINT_BYTES: Final = 8
_SYNC_BYTES: Final = 16
_SCHEMA_BYTES_MAX: Final = 64 * 1024
_META: Final[dict[str, Any]] = {"type": "map", "values": "bytes"}


def encode_container(message: AnyWireMessage) -> bytes:
    """Give the message as an object container file of one record, uncompressed."""
    out = BytesIO()
    schema = _parsed()[type(message).__name__]
    # A fixed marker: equal messages have equal bytes. Nobody looks for it in a file of one block.
    fastavro.writer(out, schema, [plain(message)], codec="null", sync_marker=b"perdure.sync.v1\0")
    return out.getvalue()


def encode_single(message: AnyWireMessage) -> bytes:
    """Give the message in the single-object form: smaller, for readers of the same release or a later one."""
    name = type(message).__name__
    out = BytesIO()
    out.write(SINGLE + bytes.fromhex(_fingerprints()[name]))
    fastavro.schemaless_writer(out, _parsed()[name], plain(message))
    return out.getvalue()


def jsonable_of(body: bytes) -> dict[str, Any]:
    """Give what an Avro message says as an object whose JSON is that of the message. Raises `InvalidMessage`, and nothing else."""
    try:
        if body.startswith(CONTAINER):
            return _read(*_opened(body))
        if body.startswith(SINGLE):
            return _read(_known(body), BytesIO(body[len(SINGLE) + _FINGERPRINT_BYTES :]))
    except InvalidMessage:
        raise
    except Exception as error:
        # The library promises nothing of what it raises for bytes that are not Avro, and these are a stranger's.
        raise InvalidMessage(problem=f"it is not the Avro that it says it is: {type(error).__name__}: {error}") from error
    raise InvalidMessage(problem="it is neither an Avro container file nor a single Avro object")


def _read(writer: dict[str, Any], data: BytesIO) -> dict[str, Any]:
    namespace, _, name = _full_name(writer).rpartition(".")
    if namespace != NAMESPACE:
        raise InvalidMessage(problem=f"its Avro record is of {namespace[:60]!r}; the schema version known is {NAMESPACE!r}")
    reader = _parsed().get(name)
    if reader is None:
        raise InvalidMessage(problem=f"the type is {name[:60]!r}; known are {', '.join(sorted(schemas()))}")
    record = fastavro.schemaless_reader(data, {**taken(writer), "name": name, "namespace": namespace}, reader)
    if data.read(1):
        raise InvalidMessage(problem="there are bytes after its Avro record")
    return {"type": name.lower(), **jsonable(reader, record)}


def _full_name(writer: Mapping[str, Any]) -> str:
    name, namespace = str(writer.get("name", "")), str(writer.get("namespace", ""))
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _opened(body: bytes) -> tuple[dict[str, Any], BytesIO]:
    """Give the writer's schema, and the one record, of a container file."""
    data = BytesIO(body[len(CONTAINER) :])
    meta: Any = fastavro.schemaless_reader(data, _META, None)
    text, codec = meta.get("avro.schema", b""), meta.get("avro.codec", b"null")
    if codec != b"null":
        raise InvalidMessage(problem=f"its Avro codec is {codec[:20]!r}; send 'null', that is uncompressed")
    if len(text) > _SCHEMA_BYTES_MAX:
        raise InvalidMessage(problem=f"its Avro schema takes {len(text)} bytes; {_SCHEMA_BYTES_MAX} are read")
    sync = data.read(_SYNC_BYTES)
    count, size = fastavro.schemaless_reader(data, "long", None), fastavro.schemaless_reader(data, "long", None)
    block = data.read(size) if isinstance(size, int) and size >= 0 else b""
    if count != 1 or len(block) != size or data.read() != sync or len(sync) != _SYNC_BYTES:
        raise InvalidMessage(problem="it is no Avro container file of exactly one record")
    return msgspec.json.decode(text, type=dict[str, Any]), BytesIO(block)


def _known(body: bytes) -> dict[str, Any]:
    found = body[len(SINGLE) : len(SINGLE) + _FINGERPRINT_BYTES].hex()
    schema = _released(found)
    if schema is None:
        raise InvalidMessage(problem=f"its Avro schema (fingerprint {found}) is not known here; send a container file, which has it")
    return schema


def _released(found: str) -> dict[str, Any] | None:
    """Give the schema of that fingerprint: one of ours, or of a release before, which are files beside this module."""
    for name, own in _fingerprints().items():
        if own == found:
            return schemas()[name]
    file = files("perdure.wire") / "released" / f"{found}.avsc"
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Any]) if file.is_file() else None


@cache
def _parsed() -> dict[str, Any]:
    """Give the schemas as the library has them ready, by the name of the struct."""
    return {name: parse_schema(schema) for name, schema in schemas().items()}


@cache
def _fingerprints() -> dict[str, str]:
    return {name: fingerprint_of(schema) for name, schema in schemas().items()}


def fingerprint_of(schema: dict[str, Any]) -> str:
    """Give the CRC-64-AVRO fingerprint of the schema's canonical form, as the hexadecimal digits of its bytes in a message."""
    return fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
