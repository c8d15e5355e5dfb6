"""JSON Schema (draft 2020-12): of what an action takes and gives, from the types that its author declared, and of the messages."""

from collections.abc import Sequence
from inspect import Parameter, cleandoc
from typing import Any, Final, get_args

import msgspec

from perdure.wire.messages import AnyWireMessage

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
POSITIONS: Final = "x-perdure-positions"
"""Keyword: the arguments' names in the order of their positions. Without it the order of ``properties`` counts."""
REST: Final = "x-perdure-rest"
"""Keyword: the member, a list, that takes the positions beyond those."""
POSITIONAL_ONLY: Final = "x-perdure-positional-only"
"""Keyword: the arguments that have no name in a call, only a position."""


def input_schema(parameters: Sequence[Parameter]) -> bytes:
    """Give the schema of an object with one member for each argument; the annotations of ``parameters`` are types, not text.

    Required is what has no default; more members than these are allowed if the function takes ``**kwargs``. A type that JSON Schema
    cannot tell is left open.
    """
    schemas, definitions = _schemas_of([entry.annotation for entry in parameters])
    schema: dict[str, Any] = {"$schema": DIALECT, "type": "object", "properties": {}, "required": [], "additionalProperties": False}
    positions: list[str] = []
    for parameter, of_type in zip(parameters, schemas, strict=True):
        match parameter.kind:
            case Parameter.VAR_KEYWORD:
                schema["additionalProperties"] = of_type
                continue
            case Parameter.VAR_POSITIONAL:
                schema[REST] = parameter.name
                of_type = {"type": "array", "items": of_type}
            case Parameter.POSITIONAL_ONLY:
                schema.setdefault(POSITIONAL_ONLY, []).append(parameter.name)
                positions.append(parameter.name)
            case Parameter.POSITIONAL_OR_KEYWORD:
                positions.append(parameter.name)
        schema["properties"][parameter.name] = of_type | _default(parameter)
        if parameter.default is Parameter.empty and parameter.kind is not Parameter.VAR_POSITIONAL:
            schema["required"].append(parameter.name)
    return _text(schema | {POSITIONS: positions}, definitions)


def output_schema(returns: Any) -> bytes:
    """Give the schema of a result of this type."""
    schemas, definitions = _schemas_of([returns])
    return _text({"$schema": DIALECT} | schemas[0], definitions)


def message_schemas() -> dict[str, dict[str, Any]]:
    """Give the schema of every message by its type. Members beside those named are allowed: they are ignored."""
    return {kind.__name__.lower(): _message_schema(kind) for kind in get_args(AnyWireMessage)}


def _message_schema(kind: Any) -> dict[str, Any]:
    _, definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    own = definitions.pop(kind.__name__)
    for entry in (own, *definitions.values()):
        entry["description"] = cleandoc(entry["description"]).replace("``", "`").replace("perdure.ports.transport.", "")
    return {"$schema": DIALECT, **own} | ({"$defs": definitions} if definitions else {})


def _schemas_of(types: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    known = [Any if entry is Parameter.empty or not _is_known(entry) else entry for entry in types]
    schemas, definitions = msgspec.json.schema_components(known, ref_template="#/$defs/{name}")
    return list(schemas), definitions


def _is_known(of_type: Any) -> bool:
    try:
        msgspec.json.schema(of_type)
    except (TypeError, NameError):
        return False
    return True


def _default(parameter: Parameter) -> dict[str, Any]:
    if parameter.default is Parameter.empty:
        return {}
    try:
        return {"default": msgspec.json.decode(msgspec.json.encode(parameter.default))}
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        # It is optional all the same; its value is the worker's own affair.
        return {}


def _text(schema: dict[str, Any], definitions: dict[str, Any]) -> bytes:
    return msgspec.json.encode(schema | {"$defs": definitions} if definitions else schema)
