"""``json_query``: values out of values, by JMESPath and JSONPath."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal

import jmespath
import jmespath.exceptions
import jmespath.functions
import jsonpath
from msgspec import UNSET, Struct

from perdure.actions.configured import Items, Options, configurable, pass_on_items
from perdure.deciders.code.authoring import action
from perdure.model.errors import InvalidOption, InvalidValue

_ABSENT: Final = UNSET


class Operation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of two: ``query`` makes a value of a value; ``filter`` keeps the entries of a list, or the one value, for which it is true."""

    query: str | None = None
    filter: str | None = None
    language: Literal["jmespath", "jsonpath"] = "jmespath"


class JsonQuery(Options, frozen=True, kw_only=True):
    """``operations``: done in order. ``source``: the name of the value, empty for the whole item. ``output``: the name of what is found.
    ``each``: a list that is found gives an item for each of its entries.
    """

    operations: list[Operation]
    source: str = "json"
    output: str = "value"
    each: bool = False

    def check(self) -> None:
        """As `Options.check`."""
        if not self.operations:
            raise InvalidOption(option="json_query.operations", found="none", expected="at least one")
        for at, operation in enumerate(self.operations):
            compiled(f"json_query.operations[{at}]", operation)


@action(name="json_query")
def perform_json_query(items: Items, *, config: JsonQuery) -> Items:
    """Look up a value in each item. An item in which nothing is found has the default value, or is dropped. Raises `InvalidValue`."""
    found: Items = []
    for at, item in enumerate(items):
        value = item.get(config.source) if config.source else item
        value = _ABSENT if value is None else value
        for number, operation in enumerate(config.operations):
            if value is not _ABSENT:
                value = _done(operation, value, f"operation {number} on item {at}")
        value = config.default_value if value is _ABSENT else value
        if config.each and isinstance(value, list):
            found += [{**item, config.output: entry} for entry in value]
        elif value is not UNSET:
            found.append({**item, config.output: value})
    return pass_on_items(found, config)


def _done(operation: Operation, value: Any, what: str) -> Any:
    evaluate = compiled("json_query", operation)
    try:
        if operation.filter is None:
            found = evaluate(value)
        elif isinstance(value, list):
            found = [entry for entry in value if _is_true(evaluate(entry))]
        else:
            found = value if _is_true(evaluate(value)) else None
    except (jmespath.exceptions.JMESPathError, jsonpath.JSONPathError, ArithmeticError, RecursionError) as error:
        raise InvalidValue(what=what, problem=str(error)) from None
    return _ABSENT if found is None or found == [] else found


def _is_true(value: Any) -> bool:
    """As JMESPath has it: zero is true."""
    return value is not None and value is not False and value not in ("", [], {})


def compiled(option: str, operation: Operation) -> Callable[[Any], Any]:
    """Give what evaluates an operation; raises `InvalidOption` if it does not compile."""
    if (operation.query is None) == (operation.filter is None):
        raise InvalidOption(option=option, found="neither or both of query and filter", expected="one of them")
    text = operation.query if operation.query is not None else str(operation.filter)
    try:
        return _jmespath(text) if operation.language == "jmespath" else _jsonpath(text)
    except (jmespath.exceptions.JMESPathError, jsonpath.JSONPathError, RecursionError) as error:
        raise InvalidOption(option=option, found=f"{text!r}: {error}", expected=f"a {operation.language} expression") from None


@lru_cache(maxsize=1_000)
def _jmespath(text: str) -> Callable[[Any], Any]:
    parsed, options = jmespath.compile(text), jmespath.Options(custom_functions=Arithmetic())
    return lambda value: parsed.search(value, options)


@lru_cache(maxsize=1_000)
def _jsonpath(text: str) -> Callable[[Any], Any]:
    path = _paths().compile(text)
    if isinstance(path, jsonpath.JSONPath) and path.singular_query():
        return lambda value: next(iter(path.findall(value)), None)
    return lambda value: list(path.findall(value))


@lru_cache(maxsize=1)
def _paths() -> jsonpath.JSONPathEnvironment:
    """RFC 9535, without the functions that take patterns: nothing would bound their time. The action ``regex`` does."""
    environment = jsonpath.JSONPathEnvironment(strict=True)
    for name in ("match", "search"):
        environment.function_extensions.pop(name, None)
    return environment


class Arithmetic(jmespath.functions.Functions):
    """What JMESPath leaves out: ``inc(n, by)`` and ``mod(n, by)``."""

    @jmespath.functions.signature({"types": ["number"]}, {"types": ["number"]})
    def _func_inc(self, number: float, by: float) -> float:
        return number + by

    @jmespath.functions.signature({"types": ["number"]}, {"types": ["number"]})
    def _func_mod(self, number: float, by: float) -> float:
        return number % by


json_query = configurable(perform_json_query, JsonQuery)
