"""JSON Schema of messages, by the JSON mapping of protobuf (https://protobuf.dev/programming-guides/json/).

A message is a definition that others refer to, so that messages may hold themselves. Fields have their JSON names; the mapping takes their
names in the ``.proto`` file too. A field that may be left out is not required: protobuf gives it a default.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Schema = dict[str, Any]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
REQUEST, REQUESTS, METADATA = "request", "requests", "metadata"
"""Names of an action's arguments: the message, or the messages of a stream; the caller's own metadata."""

_INT64: Final = ("integer", "string")
_NUMBER: Final = ("number", "string")
# Keyed by FieldDescriptor.CPPTYPE_*, which are plain numbers.
_SCALARS: Mapping[int, Mapping[str, Any]] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.CPPTYPE_INT64: {"type": [*_INT64], "format": "int64", "pattern": "^-?[0-9]+$"},
    FieldDescriptor.CPPTYPE_UINT64: {"type": [*_INT64], "format": "uint64", "pattern": "^[0-9]+$", "minimum": 0},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": [*_NUMBER], "format": "double"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": [*_NUMBER], "format": "float"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
}
_ANYTHING: Final = ("google.protobuf.Value",)
_WELL_KNOWN: Mapping[str, Mapping[str, Any]] = {
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Empty": {"type": "object", "maxProperties": 0},
    "google.protobuf.BoolValue": {"type": ["boolean", "null"]},
    "google.protobuf.StringValue": {"type": ["string", "null"]},
    "google.protobuf.BytesValue": {"type": ["string", "null"], "contentEncoding": "base64"},
    "google.protobuf.Int32Value": {"type": ["integer", "null"]},
    "google.protobuf.UInt32Value": {"type": ["integer", "null"], "minimum": 0},
    "google.protobuf.Int64Value": {"type": ["integer", "string", "null"], "format": "int64"},
    "google.protobuf.UInt64Value": {"type": ["integer", "string", "null"], "format": "uint64"},
    "google.protobuf.FloatValue": {"type": ["number", "string", "null"], "format": "float"},
    "google.protobuf.DoubleValue": {"type": ["number", "string", "null"], "format": "double"},
}


def input_schema(message: Descriptor, *, is_list: bool) -> Schema:
    """Describe the arguments of a method's action: one message, or a list of them, and metadata. It takes all that the mapping takes."""
    schemas = _Schemas(is_input=True)
    taken = schemas.of(message, is_list=is_list)
    properties = {REQUESTS if is_list else REQUEST: taken, METADATA: {"type": "object", "additionalProperties": {"type": "string"}}}
    return {"$schema": DRAFT, "type": "object", "properties": properties, "additionalProperties": False, **schemas.definitions}


def output_schema(message: Descriptor, *, is_list: bool) -> Schema:
    """Describe the value of a method's action: one message, or a list of them. It says what the mapping gives."""
    schemas = _Schemas(is_input=False)
    given = schemas.of(message, is_list=is_list)
    return {"$schema": DRAFT, **given, **schemas.definitions}


class _Schemas:
    """Collects the definitions that one schema needs. For input, a field may be null, and a number may be text."""

    def __init__(self, *, is_input: bool) -> None:
        self._is_input = is_input
        self._found: dict[str, Schema] = {}

    @property
    def definitions(self) -> Schema:
        return {"$defs": self._found} if self._found else {}

    def of(self, message: Descriptor, *, is_list: bool) -> Schema:
        found = self._message(message)
        return {"type": "array", "items": found} if is_list else found

    def _message(self, message: Descriptor) -> Schema:
        name = message.full_name
        if name in _ANYTHING:
            return {}
        if name in _WELL_KNOWN:
            return self._lenient(_WELL_KNOWN[name])
        if name not in self._found:
            # It stands there before its fields are looked at: one of them may be of its own type.
            self._found[name] = {}
            self._found[name].update(self._object(message))
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, message: Descriptor) -> Schema:
        found: Schema = {"type": "object", "properties": {field.json_name: self._field(field) for field in message.fields}}
        # What goes in may have the names of the file instead.
        if not self._is_input and (required := [field.json_name for field in message.fields if field.is_required]):
            found["required"] = required
        if choices := list(self._choices(message)):
            found["allOf"] = choices
        return found

    def _choices(self, message: Descriptor) -> Iterator[Schema]:
        """At most one field of a oneof is there. A lone field in one is how ``optional`` is written down."""
        for oneof in message.oneofs:
            if len(oneof.fields) > 1:
                given = [self._given(field.json_name) for field in oneof.fields]
                yield {"oneOf": [*given, {"not": {"anyOf": given}}]}

    def _given(self, name: str) -> Schema:
        there: Schema = {"required": [name]}
        return {**there, "properties": {name: {"not": {"type": "null"}}}} if self._is_input else there

    def _field(self, field: FieldDescriptor) -> Schema:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            found = self._map(entry)
        elif field.is_repeated:
            found = {"type": "array", "items": self._single(field)}
        else:
            found = self._single(field)
        return _nullable(found) if self._is_input else found

    def _map(self, entry: Descriptor) -> Schema:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        names = {} if key.cpp_type == FieldDescriptor.CPPTYPE_STRING else {"propertyNames": _key(key)}
        return {"type": "object", **names, "additionalProperties": self._single(value)}

    def _single(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            return self._message(field.message_type)
        if field.enum_type is not None:
            return _enum(field.enum_type)
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return {"type": "string", "contentEncoding": "base64"} if field.type == FieldDescriptor.TYPE_BYTES else {"type": "string"}
        return self._lenient(_SCALARS[field.cpp_type])

    def _lenient(self, schema: Mapping[str, Any]) -> Schema:
        kinds = _kinds(schema)
        is_number = self._is_input and {"integer", "number"} & {*kinds} and "string" not in kinds
        return {**schema, "type": [*kinds, "string"]} if is_number else {**schema}


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else [*found]


def _nullable(schema: Schema) -> Schema:
    """Null stands for a field that is not set."""
    kinds = _kinds(schema)
    if not schema or "null" in kinds:
        return schema
    return {**schema, "type": [*kinds, "null"]} if kinds else {"anyOf": [schema, {"type": "null"}]}


def _key(key: FieldDescriptor) -> Schema:
    return {"enum": ["true", "false"]} if key.cpp_type == FieldDescriptor.CPPTYPE_BOOL else {"pattern": "^-?[0-9]+$"}


def _enum(enum: EnumDescriptor) -> Schema:
    """A number is taken for a name, and given where the service is newer than its descriptors."""
    if enum.full_name == "google.protobuf.NullValue":
        return {"type": "null"}
    return {"anyOf": [{"enum": [value.name for value in enum.values]}, {"type": "integer"}]}
