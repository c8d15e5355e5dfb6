"""Messages from values and values from messages, by the JSON mapping of protobuf.

What has no presence is always given, so that a list that is empty is ``[]`` and a number that is 0 is 0, and no key is missing by chance.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import Error as MappingError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import DecodeError, EncodeError, Message

from perdure.model.errors import InvalidArguments, InvalidValue
from perdure.transports.grpc.descriptors import Descriptors


def to_message(value: Any, descriptor: Descriptor, descriptors: Descriptors, *, what: str) -> bytes:
    """Give the bytes of the message that a value stands for. Raises `InvalidArguments`, which names ``what`` and the field."""
    message: Message = descriptors.message_class(descriptor)()
    signature = f"a {descriptor.full_name} as JSON"
    if not isinstance(value, dict) and not descriptor.full_name.startswith("google.protobuf."):
        # The mapping itself takes an empty list or text for an empty message.
        raise InvalidArguments(what=what, problem=f"found {type(value).__name__}, expected an object", signature=signature)
    try:
        ParseDict(value, message, descriptor_pool=descriptors.pool)
        return message.SerializeToString(deterministic=True)
    except (MappingError, EncodeError, TypeError, ValueError, AttributeError) as error:
        # Beside its own errors, the mapping lets through what a value of an odd shape makes of it.
        raise InvalidArguments(what=what, problem=str(error).rstrip("."), signature=signature) from error


def to_value(data: bytes, descriptor: Descriptor, descriptors: Descriptors, *, what: str) -> Any:
    """Give the value that a message stands for. Raises `InvalidValue`: it is another message than its descriptor says."""
    message: Message = descriptors.message_class(descriptor)()
    try:
        message.ParseFromString(data)
        return MessageToDict(message, always_print_fields_with_no_presence=True, descriptor_pool=descriptors.pool)
    except (MappingError, DecodeError, TypeError, ValueError) as error:
        raise InvalidValue(what=what, problem=f"not a {descriptor.full_name} as it was registered: {error}".rstrip(".")) from error
