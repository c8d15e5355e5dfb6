"""Checks arguments and results against the JSON Schemas that a worker announced. Protects from a call that travels only to be refused, and
from a result that nobody has checked; where the extra ``schema`` is not installed, the worker checks alone.

A schema is a stranger's: it fetches nothing, its patterns are bounded, and no value is shown in an error.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import msgspec

from perdure.model.errors import InvalidArguments, InvalidMessage, InvalidValue
from perdure.model.payload import Content
from perdure.wire.schema import POSITIONAL_ONLY, POSITIONS, REST

_BACKTRACK_LIMIT: Final = 10_000
_ERRORS_SHOWN_MAX: Final = 3
_VALUE: Final = "the value"


class _Problem(Protocol):
    @property
    def message(self) -> str: ...
    @property
    def instance_path(self) -> Sequence[str | int]: ...


class InputCheck:
    """Says whether calls fit an announced schema. Raises `InvalidMessage` for what is no JSON Schema, ``ImportError`` without the extra."""

    def __init__(self, action: str, schema: bytes) -> None:
        self._action = action
        self._validator, keywords = _compiled(f"the input_schema of {action!r}", schema)
        self._positions = _texts(keywords.get(POSITIONS), list(_dict(keywords.get("properties"))))
        self._positional_only = _texts(keywords.get(POSITIONAL_ONLY), [])
        self._rest = keywords.get(REST)

    def check(self, args: Sequence[Content], kwargs: Mapping[str, Content]) -> None:
        """Raise `InvalidArguments`, naming the argument and the place in it, if the call does not fit.

        What only the worker can read (a compressed or encrypted argument) is left to it.
        """
        if not all(content.codec in ("json", "bytes") for content in (*args, *kwargs.values())):
            return
        if any(name in kwargs for name in self._positional_only):
            # Such a name may go into the function's own **kwargs: one object cannot hold both.
            return
        if problems := _problems(self._validator, self._members(args, kwargs)):
            self._refuse(problems)

    def _members(self, args: Sequence[Content], kwargs: Mapping[str, Content]) -> dict[str, Any]:
        named = dict(zip(self._positions, args, strict=False))
        if twice := sorted(named.keys() & kwargs.keys()):
            self._refuse(f"argument {twice[0]!r} is given by position and by name")
        members = {name: _plain(content) for name, content in {**named, **kwargs}.items()}
        rest = args[len(self._positions) :]
        if rest and not isinstance(self._rest, str):
            self._refuse(f"{len(args)} positions are given, and it has {len(self._positions)}")
        return {**members, str(self._rest): [_plain(content) for content in rest]} if rest else members

    def _refuse(self, problem: str) -> None:
        raise InvalidArguments(what=self._action, problem=problem, signature="what its worker announced")


class OutputCheck:
    """Says whether results fit an announced schema. Raises as `InputCheck`."""

    def __init__(self, action: str, schema: bytes) -> None:
        self._validator, _ = _compiled(f"the output_schema of {action!r}", schema)

    def check(self, content: Content, what: str) -> None:
        """Raise `InvalidValue`, naming ``what`` and the place in it, if the result does not fit. What is compressed or encrypted, and
        `perdure.EMPTY`, passes.
        """
        if content.codec in ("json", "bytes") and (problems := _problems(self._validator, _plain(content))):
            raise InvalidValue(what=what, problem=problems)


def output_check(action: str, schema: bytes) -> OutputCheck | None:
    """Give the check of an action's announced result; ``None`` where the extra ``schema`` is missing. Raises `InvalidMessage`."""
    try:
        return OutputCheck(action, schema)
    except ImportError:
        return None


def input_check(action: str, schema: bytes) -> InputCheck | None:
    """Give the check of an action's announced schema; ``None`` where the extra ``schema`` is missing. Raises `InvalidMessage`."""
    try:
        return InputCheck(action, schema)
    except ImportError:
        return None


def _compiled(what: str, schema: bytes) -> tuple[Any, dict[str, Any]]:
    """Give the validator of a schema, and its keywords."""
    import jsonschema_rs

    try:
        decoded = msgspec.json.decode(schema, type=dict[str, Any] | bool)
        validator = jsonschema_rs.validator_for(
            decoded,
            retriever=_fetch_nothing,
            mask=_VALUE,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, jsonschema_rs.ReferencingError) as error:
        raise InvalidMessage(problem=f"{what} is no JSON Schema: {str(error).partition(chr(10))[0]}") from error
    return validator, decoded if isinstance(decoded, dict) else {}


def _problems(validator: Any, value: Any) -> str:
    return "; ".join(map(_problem, islice(validator.iter_errors(value), _ERRORS_SHOWN_MAX)))


def _plain(content: Content) -> Any:
    return b64encode(content.data).decode() if content.codec == "bytes" else msgspec.json.decode(content.data)


def _problem(found: _Problem) -> str:
    place = ".".join(str(part) for part in found.instance_path)
    return f"{place}: {found.message}" if place else found.message


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(f"{uri} lies elsewhere; put what it names under $defs")


def _texts(found: Any, otherwise: list[str]) -> list[str]:
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else otherwise


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
