"""What a call of a method is given: messages and metadata, from the arguments of its action."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from perdure.model.errors import InvalidArguments
from perdure.transports.grpc.addresses import check_metadata
from perdure.transports.grpc.descriptions import Kind
from perdure.transports.grpc.schemas import METADATA, REQUEST, REQUESTS


class Arguments(Struct, frozen=True):
    """``requests``: one value for each message."""

    requests: list[Any]
    metadata: dict[str, str]


def arguments_of(method: str, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
    """Read the arguments of an action: the message (or the list of a stream), then metadata, by position or by name.

    Without any, the message is empty, or the stream has none. Raises `InvalidArguments`.
    """
    first = REQUESTS if kind.takes_many else REQUEST
    refuse = _Refusal(method, f"({first}={'[…]' if kind.takes_many else '{…}'}, {METADATA}={{…}})")
    given = dict(zip((first, METADATA), args, strict=False))
    if len(args) > 2:
        raise refuse(f"there are {len(args)} of them")
    for name, value in kwargs.items():
        if name not in (first, METADATA) or name in given:
            raise refuse(f"{name!r} is given twice" if name in given else f"{name!r} is none of them")
        given[name] = value
    value = given.get(first, [] if kind.takes_many else {})
    if kind.takes_many and not isinstance(value, list | tuple):
        raise refuse(f"{first} is no list")
    return Arguments(list(value) if kind.takes_many else [value], _metadata(given.get(METADATA, {}), refuse))


class _Refusal:
    def __init__(self, method: str, signature: str) -> None:
        self._method = method
        self._signature = signature

    def __call__(self, problem: str) -> InvalidArguments:
        return InvalidArguments(what=self._method, problem=problem, signature=self._signature)


def _metadata(given: Any, refuse: _Refusal) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise refuse(f"{METADATA} is no object of texts")
    check_metadata(given)
    for name, value in given.items():
        if not (value.isascii() and value.isprintable()):
            raise refuse(f"{METADATA}[{name!r}] has signs other than printable ASCII")
    return given
