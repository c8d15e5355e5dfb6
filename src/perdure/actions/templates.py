"""Templates: ``{{ a.b }}`` and the rest of Jinja, in a sandbox. They are compiled from configurations, never from the data that flows."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import quote

from jinja2 import ChainableUndefined, StrictUndefined, Template, TemplateError, Undefined
from jinja2.sandbox import SandboxedEnvironment
from msgspec import Struct

from perdure.model.errors import InvalidOption, TemplateFailed

OnMissing = Literal["fail", "leave_as_is", "replace_with_empty"]
"""What stands for a value that is not there."""
LENGTH_MAX: Final = 16 * 1024 * 1024


class _Sandbox(SandboxedEnvironment):
    """Python's own attributes are out of reach, and ``a.items`` is the value of that name, not a method."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)


class Unquoted(str):
    """A text that is put into a URL as it is."""

    __slots__ = ()


def _unquoted(value: Any) -> Unquoted:
    return Unquoted(value)


@lru_cache(maxsize=2)
def _sandbox(*, is_lenient: bool) -> _Sandbox:
    undefined: type[Undefined] = ChainableUndefined if is_lenient else StrictUndefined
    sandbox = _Sandbox(undefined=undefined, keep_trailing_newline=True, autoescape=False)
    sandbox.filters["unquoted"] = _unquoted
    return sandbox


class Part(Struct, frozen=True):
    """A piece of a template: text as it is, or an expression with its source as it was written."""

    text: str
    expression: Callable[..., Any] | None = None


class Filler:
    """A compiled template. Without tags (``{% … %}``) each expression stands for itself, so that one can be left as it is."""

    def __init__(self, source: str, on_missing: OnMissing) -> None:
        self._source = source
        self._on_missing = on_missing
        self._parts = _parts_of(source)
        self._whole: Template | None = None
        if self._parts is None:
            self._whole = _sandbox(is_lenient=on_missing == "replace_with_empty").from_string(source)

    @property
    def has_tags(self) -> bool:
        """Tell whether there is more to it than expressions."""
        return self._whole is not None

    def fill(self, values: Mapping[str, Any], write: Callable[[int, Any], str] = lambda at, value: str(value)) -> str:
        """Give the text. ``write`` gives the text of a value, told at which part it stands. Raises `TemplateFailed`."""
        if self._whole is not None:
            return self._bounded(self._from_whole(self._whole, values))
        return self._bounded("".join(self._written(at, part, values, write) for at, part in enumerate(self._parts or ())))

    def value(self, values: Mapping[str, Any]) -> Any:
        """Give the value itself where the template is one expression, else the text. Raises `TemplateFailed`."""
        if self._parts is not None and len(self._parts) == 1 and self._parts[0].expression is not None:
            found = self._evaluated(self._parts[0], values)
            return self._stand_in(self._parts[0]) if isinstance(found, Undefined) else found
        return self.fill(values)

    def _written(self, at: int, part: Part, values: Mapping[str, Any], write: Callable[[int, Any], str]) -> str:
        if part.expression is None:
            return part.text
        found = self._evaluated(part, values)
        return self._stand_in(part) if isinstance(found, Undefined) else write(at, found)

    def _stand_in(self, part: Part) -> str:
        return part.text if self._on_missing == "leave_as_is" else ""

    def _evaluated(self, part: Part, values: Mapping[str, Any]) -> Any:
        assert part.expression is not None
        try:
            found = part.expression(**values)
        except Exception as error:
            if _is_missing(error) and self._on_missing != "fail":
                return Undefined(name=part.text)
            raise self._failed(error) from None
        if isinstance(found, Undefined) and self._on_missing == "fail":
            raise self._failed(f"{part.text} is not there")
        return found

    def _from_whole(self, whole: Template, values: Mapping[str, Any]) -> str:
        pieces, length = [], 0
        try:
            for piece in whole.generate(**values):
                pieces.append(piece)
                length += len(piece)
                if length > LENGTH_MAX:
                    break
        except Exception as error:
            raise self._failed(error) from None
        return "".join(pieces)

    def _bounded(self, text: str) -> str:
        if len(text) > LENGTH_MAX:
            raise self._failed(f"the text has more than {LENGTH_MAX} characters")
        return text

    def _failed(self, problem: object) -> TemplateFailed:
        shown = self._source if len(self._source) <= 200 else f"{self._source[:200]}…"
        named = f"{type(problem).__name__}: {problem}" if isinstance(problem, Exception) else str(problem)
        return TemplateFailed(template=shown, problem=named)


def _is_missing(error: Exception) -> bool:
    return type(error).__name__ == "UndefinedError"


@lru_cache(maxsize=1_000)
def filler(source: str, on_missing: OnMissing = "fail") -> Filler:
    """Give the compiled template. Raises `jinja2.TemplateError`."""
    return Filler(source, on_missing)


def check_template(option: str, source: str, on_missing: OnMissing = "fail") -> None:
    """Raise `InvalidOption` if the template does not compile."""
    try:
        found = filler(source, on_missing)
    except (TemplateError, RecursionError, ValueError) as error:
        raise InvalidOption(option=option, found=f"{source!r}: {error}", expected="a template such as 'Hello {{ name }}'") from None
    if found.has_tags and on_missing == "leave_as_is":
        raise InvalidOption(option=option, found="a template with tags ({% … %})", expected="expressions only (on_missing='leave_as_is')")


def scope(item: Mapping[str, Any], globals: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give the names that a template sees: the item's own, then globals, and the whole item as ``item``."""
    return {"item": item, **(globals or {}), **item}


def fill_url(source: str, values: Mapping[str, Any]) -> str:
    """Give a URL. Values are quoted, so that none changes where the URL leads, unless one begins it or is ``| unquoted``."""

    def write(at: int, value: Any) -> str:
        if at == 0 or isinstance(value, Unquoted):
            return str(value)
        if str(value) in (".", ".."):
            raise TemplateFailed(template=source, problem=f"{value!r} would lead elsewhere")
        return quote(str(value), safe="")

    return filler(source).fill(values, write).strip()


def fill_all(value: Any, values: Mapping[str, Any]) -> Any:
    """Give a JSON value with all texts in it filled in; a text that is one expression becomes the value itself."""
    match value:
        case str():
            return filler(value).value(values)
        case dict():
            return {fill_all(name, values): fill_all(entry, values) for name, entry in value.items()}
        case list():
            return [fill_all(entry, values) for entry in value]
        case _:
            return value


def check_all(option: str, value: Any) -> None:
    """Raise `InvalidOption` if a text in a JSON value is no template."""
    match value:
        case str():
            check_template(option, value)
        case dict():
            for name, entry in value.items():
                check_all(f"{option}.{name}", entry)
        case list():
            for at, entry in enumerate(value):
                check_all(f"{option}.{at}", entry)
        case _:
            pass


def _parts_of(source: str) -> list[Part] | None:
    """Take a template without tags apart; ``None`` for one that has tags. Raises `jinja2.TemplateError`."""
    sandbox = _sandbox(is_lenient=False)
    sandbox.parse(source)
    parts: list[Part] = []
    written: list[str] | None = None
    for _, kind, text in sandbox.lex(source):
        if kind.endswith("block_begin") or kind == "raw_begin":
            return None
        if kind == "variable_begin":
            written = [text]
        elif written is not None:
            written.append(text)
            if kind == "variable_end":
                inside = "".join(written[1:-1])
                expression = sandbox.compile_expression(inside, undefined_to_none=False)
                parts.append(Part("".join(written), expression))
                written = None
        elif kind == "data":
            parts.append(Part(text))
    return parts
