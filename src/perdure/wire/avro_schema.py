"""The Avro schemas of the messages, derived from their structs, and what is taken of a stranger's schema.

A record for each message, ``perdure.v1.Call`` and so on: the namespace tells the schema version, the name the type. A value that is JSON in
a message is its text in Avro (a string with the attribute ``json``); what may be missing is a union with null, or has a default.
"""

from functools import cache
from typing import Any, Final, get_args

import msgspec
from msgspec import UNSET, inspect

from perdure.model.errors import InvalidMessage
from perdure.wire.messages import VERSION, AnyWireMessage

NAMESPACE: Final = f"perdure.v{VERSION}"
_JSON_TEXT: Final = (("type", "string"), ("json", True))
_PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_DEPTH_MAX: Final = 20


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Give the schema of each message by the name of its struct."""
    return {kind.__name__: _record(inspect.type_info(kind), NAMESPACE) for kind in get_args(AnyWireMessage)}


def _record(info: inspect.Type, namespace: str = "") -> dict[str, Any]:
    assert isinstance(info, inspect.StructType)
    fields = [_field(entry) for entry in info.fields]
    record = {"type": "record", "name": info.cls.__name__, "fields": fields}
    return record | {"namespace": namespace} if namespace else record


def _field(field: inspect.Field) -> dict[str, Any]:
    of_type = _type(field.type)
    if field.required:
        return {"name": field.name, "type": of_type}
    if isinstance(field.type, inspect.RawType):
        return {"name": field.name, "type": ["null", of_type], "default": None}
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return {"name": field.name, "type": of_type, "default": default}


def _type(info: inspect.Type) -> Any:
    match info:
        case inspect.StrType():
            return "string"
        case inspect.BoolType():
            return "boolean"
        case inspect.IntType():
            return "long"
        case inspect.FloatType():
            return "double"
        case inspect.RawType():
            return dict(_JSON_TEXT)
        case inspect.LiteralType():
            # Not an enum: a symbol of a later release must be refused by us, with a reason, and not by its encoding.
            return "string" if isinstance(info.values[0], str) else "long"
        case inspect.ListType():
            return {"type": "array", "items": _type(info.item_type)}
        case inspect.DictType():
            return {"type": "map", "values": _type(info.value_type)}
        case inspect.UnionType():
            return ["null", *(_type(entry) for entry in info.types if not isinstance(entry, inspect.NoneType))]
        case inspect.StructType():
            return _record(info)
        case _:
            raise AssertionError(f"no Avro type is known for {info}")


def plain(value: Any) -> Any:
    """Give a message, or what is in one, as its Avro record."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    return None if value is UNSET else value


def jsonable(schema: Any, value: Any) -> Any:
    """Give what was read by this schema as a value whose JSON is that of the message. Raises `msgspec.DecodeError` where that is none."""
    match schema:
        case [*branches] if branches:
            return None if value is None else jsonable(branches[-1], value)
        case {"json": True}:
            # Proved to be one text: it could otherwise close the object that it is put into.
            return msgspec.json.decode(value, type=msgspec.Raw)
        case {"type": "record", "fields": fields}:
            # What is null was left out: only a field that may be missing can be that.
            members = {field["name"]: jsonable(field["type"], value[field["name"]]) for field in fields}
            return {name: entry for name, entry in members.items() if entry is not None}
        case {"type": "array", "items": items}:
            return [jsonable(items, entry) for entry in value]
        case {"type": "map", "values": values}:
            return {name: jsonable(values, entry) for name, entry in value.items()}
        case _:
            return value


def taken(schema: Any, depth: int = 0) -> Any:
    """Give a stranger's schema, made of nothing but what messages need: no names that refer to others, so that it cannot be endless; no
    logical types; nothing that takes no bytes in an array, so that a few bytes cannot hold a million of them. Raises `InvalidMessage`.
    """
    if depth > _DEPTH_MAX:
        raise InvalidMessage(problem=f"its Avro schema is nested more than {_DEPTH_MAX} deep")
    match schema:
        case str() if schema in _PRIMITIVES:
            return schema
        case [*branches] if branches:
            return [taken(branch, depth + 1) for branch in branches]
        case {"type": "array", "items": items}:
            return {"type": "array", "items": _filling(taken(items, depth + 1))}
        case {"type": "map", "values": values}:
            return {"type": "map", "values": taken(values, depth + 1)}
        case {"type": "record", "name": str(name), "fields": [*fields]}:
            return {"type": "record", "name": name, "fields": [_taken_field(field, depth + 1) for field in fields]}
        case {"type": str() as name} if name in _PRIMITIVES:
            return name
        case _:
            raise InvalidMessage(problem=f"its Avro schema has {str(schema)[:60]!r}, which no message needs")


def _taken_field(field: Any, depth: int) -> dict[str, Any]:
    match field:
        case {"name": str(name), "type": of_type}:
            return {"name": name, "type": taken(of_type, depth)}
        case _:
            raise InvalidMessage(problem=f"its Avro schema has the field {str(field)[:60]!r}, which lacks a name or a type")


def _filling(items: Any) -> Any:
    if not _takes_bytes(items):
        raise InvalidMessage(problem="its Avro schema has an array of what takes no bytes")
    return items


def _takes_bytes(schema: Any) -> bool:
    if isinstance(schema, dict) and schema["type"] == "record":
        return any(_takes_bytes(field["type"]) for field in schema["fields"])
    return bool(schema != "null")
