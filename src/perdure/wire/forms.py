"""Checks values against a JSON Schema that somebody gave: forms that people fill in, answers of outside services. As in
`perdure.wire.checking`, a schema fetches nothing, its patterns are bounded, and no value is shown in an error.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NoReturn, Protocol

import msgspec

from perdure.model.errors import FormRefused, InvalidOption, Unsupported

BACKTRACK_LIMIT: Final = 10_000
ERRORS_SHOWN_MAX: Final = 3
_MASK: Final = "the value"


class Problem(Protocol):
    """What a validator says of a value."""

    @property
    def message(self) -> str: ...
    @property
    def instance_path(self) -> Sequence[str | int]: ...


def check_form(option: str, schema: Mapping[str, Any]) -> None:
    """Raise `InvalidOption` for what is no JSON Schema; without the extra ``schema`` it is looked at when a value comes."""
    try:
        _validator(_written(schema))
    except ImportError:
        return
    except (ValueError, RecursionError) as error:
        problem = str(error).partition("\n")[0]
        raise InvalidOption(option=option, found=problem, expected="a JSON Schema, or a type such as a msgspec.Struct") from None


def check_value(what: str, schema: Mapping[str, Any], value: Any) -> None:
    """Raise `FormRefused`, which names the places, for a value that does not fit; `Unsupported` without the extra ``schema``."""
    try:
        validator = _validator(_written(schema))
    except ImportError as error:
        why = "the package jsonschema-rs is missing; install it with pip install 'perdure[schema]'"
        raise Unsupported(what=f"the check of {what}", why=why) from error
    problems: list[Problem] = list(islice(validator.iter_errors(value), ERRORS_SHOWN_MAX))
    if problems:
        raise FormRefused(what=what, problem="; ".join(map(_said, problems)))


def _written(schema: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(schema, order="deterministic")


@lru_cache(maxsize=100)
def _validator(schema: bytes) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(
            msgspec.json.decode(schema),
            retriever=_fetch_nothing,
            mask=_MASK,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACK_LIMIT),
        )
    except jsonschema_rs.ReferencingError as error:
        raise ValueError(str(error)) from error


def _said(problem: Problem) -> str:
    place = ".".join(str(part) for part in problem.instance_path)
    return f"{place}: {problem.message}" if place else problem.message


def _fetch_nothing(uri: str) -> NoReturn:
    raise ValueError(f"{uri} lies elsewhere; put what it names under $defs")
