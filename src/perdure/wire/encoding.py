"""Messages to bytes and back. Protects from whatever else arrives: each refusal is an `InvalidMessage` whose problem is the reason of a
dead letter, and nothing that is not JSON is ever loaded.
"""

from typing import Final, get_args

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from perdure.model.errors import InvalidMessage
from perdure.wire.messages import VERSION, AnyWireMessage

JSON: Final = "application/json"
"""The content type of messages."""
AVRO: Final = "application/avro"
"""The content type of messages in Avro, as a container file: any reader of any release finds the fields that it knows."""
AVRO_SINGLE: Final = "application/avro; form=single"
"""The same in the single-object form, which is smaller; for readers of the same release or a later one."""


class _Head(Struct, frozen=True):
    type: Raw | UnsetType = UNSET
    v: Raw | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[AnyWireMessage] = msgspec.json.Decoder(AnyWireMessage)
_heads = msgspec.json.Decoder(_Head)
_TYPES: Final = tuple(sorted(kind.__name__.lower() for kind in get_args(AnyWireMessage)))
_SHOWN_MAX: Final = 60


def encode(message: AnyWireMessage, content_type: str = JSON) -> bytes:
    """Give the message as JSON, or as Avro, which needs the extra ``avro``."""
    if content_type == JSON:
        return _encode(message)
    from perdure.wire import avro

    return avro.encode_single(message) if content_type == AVRO_SINGLE else avro.encode_container(message)


def decode(body: bytes, content_type: str = JSON) -> AnyWireMessage:
    """Give the message of a body. Raises `InvalidMessage`, and nothing else, for whatever is none."""
    _refuse_pickle(body, content_type)
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            return _decode_json(body)
        case "application/avro":
            return _decode_json(_json_of_avro(body))
        case _:
            raise InvalidMessage(problem=f"the content type is {_shown(content_type)}; send {JSON}")


def _decode_json(body: bytes) -> AnyWireMessage:
    try:
        body.decode()
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage(problem=_problem(body, error)) from error


def _json_of_avro(body: bytes) -> bytes:
    """Give an Avro message as JSON: what is proved of a message is proved there, for both."""
    try:
        from perdure.wire import avro
    except ImportError as error:
        raise InvalidMessage(problem=f"Avro is not read here (pip install perdure[avro]); send {JSON}") from error
    return _encode(avro.jsonable_of(body))


def _refuse_pickle(body: bytes, content_type: str) -> None:
    lowered = content_type.lower()
    if "pickle" in lowered or "python-serialize" in lowered or (body[:1] == b"\x80" and body[1:2] in b"\x02\x03\x04\x05" and len(body) > 1):
        raise InvalidMessage(problem=f"it is a Python pickle, which is never loaded; send {JSON}")


def _problem(body: bytes, error: Exception) -> str:
    """Say what is wrong, the most telling thing first: a message of another version need not look like one of ours."""
    try:
        body.decode()
        head = _heads.decode(body)
    except msgspec.ValidationError:
        return f"it is no JSON object with the members 'type' and 'v': {_shown(body)}"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as found:
        return f"it is not JSON: {str(found) or type(found).__name__}"
    if head.v is UNSET:
        return f"the field 'v' is missing: the schema version, {VERSION}"
    if bytes(head.v) != str(VERSION).encode():
        return f"the schema version is {_shown(bytes(head.v))}; known is {VERSION}"
    if head.type is UNSET:
        return f"the field 'type' is missing: one of {', '.join(_TYPES)}"
    if bytes(head.type) not in {f'"{name}"'.encode() for name in _TYPES}:
        return f"the type is {_shown(bytes(head.type))}; known are {', '.join(_TYPES)}"
    return f"{bytes(head.type).decode()} is not as it should be: {error}"


def _shown(found: str | bytes) -> str:
    text = found.decode(errors="replace") if isinstance(found, bytes) else found
    return repr(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…")
