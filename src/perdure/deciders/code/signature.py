"""The declared types of a function's arguments and result, read once, when they are first needed."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

from perdure.model.codec import Serializer
from perdure.model.errors import InvalidArguments, InvalidOption, InvalidValue
from perdure.model.payload import Content


class Signature:
    """How a user's function is called. ``skips_self`` leaves out a method's first parameter."""

    def __init__(self, function: Callable[..., Any], *, skips_self: bool = False) -> None:
        self._function = function
        self._skips_self = skips_self
        self._is_read = False
        self._positional: list[Any] = []
        self._keywords: dict[str, Any] = {}
        self._rest: Any = Any
        self._rest_keywords: Any = Any
        self._returns: Any = Any
        self._required, self._most = 0, -1
        self._inspected = inspect.Signature()
        self._resolved: list[inspect.Parameter] = []

    @property
    def returns(self) -> Any:
        self._read()
        return self._returns

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """Give the parameters with their annotations resolved; ``Any`` where there is none."""
        self._read()
        return self._resolved

    @property
    def text(self) -> str:
        self._read()
        return f"{self._function.__name__}{self._inspected}"

    def _read(self) -> None:
        if self._is_read:
            return
        hints = _hints(self._function)
        self._returns = hints.get("return", Any)
        parameters = list(inspect.signature(self._function).parameters.values())
        if self._skips_self:
            parameters = parameters[1:]
        self._inspected = inspect.Signature(parameters)
        self._resolved = [entry.replace(annotation=hints.get(entry.name, Any)) for entry in parameters]
        for parameter in self._resolved:
            self._read_parameter(parameter, parameter.annotation)
        self._count(parameters)
        self._is_read = True

    def _count(self, parameters: list[inspect.Parameter]) -> None:
        """Know how many positional arguments surely fit, so that the common call needs no binding."""
        if any(entry.kind is inspect.Parameter.KEYWORD_ONLY and entry.default is entry.empty for entry in parameters):
            return
        self._most = len(self._positional)
        self._required = sum(
            entry.default is entry.empty
            for entry in parameters
            if entry.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        )

    def _read_parameter(self, parameter: inspect.Parameter, hint: Any) -> None:
        match parameter.kind:
            case inspect.Parameter.VAR_POSITIONAL:
                self._rest = hint
            case inspect.Parameter.VAR_KEYWORD:
                self._rest_keywords = hint
            case inspect.Parameter.KEYWORD_ONLY:
                self._keywords[parameter.name] = hint
            case _:
                self._positional.append(hint)
                self._keywords[parameter.name] = hint

    def check(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise `InvalidArguments` if the function cannot be called so."""
        if not self._is_read:
            self._read()
        if not kwargs and self._required <= len(args) <= self._most:
            return
        try:
            self._inspected.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(what=self._function.__name__, problem=str(error), signature=self.text) from None

    def encode(self, serializer: Serializer, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[tuple[Content, ...], dict[str, Content]]:
        """Give the contents of the arguments, each proved to be readable as its declared type."""
        self.check(args, kwargs)
        what = f"an argument of {self._function.__name__}"
        contents = tuple([serializer.encode(value, what) for value in args])
        keywords = {name: serializer.encode(value, what) for name, value in kwargs.items()}
        self.decode(serializer, contents, keywords)
        return contents, keywords

    def decode(self, serializer: Serializer, args: Sequence[Content], kwargs: dict[str, Content]) -> tuple[list[Any], dict[str, Any]]:
        """Give the arguments as their declared types; raises `InvalidArguments`."""
        if not self._is_read:
            self._read()
        try:
            values = [serializer.decode(content, self._positional_type(at), "argument", f"{at + 1}") for at, content in enumerate(args)]
            keywords = {
                name: serializer.decode(content, self._keywords.get(name, self._rest_keywords), f"argument {name!r}")
                for name, content in kwargs.items()
            }
        except InvalidValue as error:
            raise InvalidArguments(what=self._function.__name__, problem=str(error), signature=self.text) from error
        self.check(values, keywords)
        return values, keywords

    def _positional_type(self, at: int) -> Any:
        return self._positional[at] if at < len(self._positional) else self._rest


class BatchSignature(Signature):
    """How one call of a batched function is made: with one of its inputs, for one of its outputs."""

    def _read(self) -> None:
        if self._is_read:
            return
        super()._read()
        (parameter,) = self._inspected.parameters.values()
        one, returns = _value_type(self._positional[0]), _value_type(self._returns)
        self._positional, self._keywords = [one], {parameter.name: one}
        self._returns = returns
        self._resolved = [parameter.replace(annotation=one)]
        self._inspected = inspect.Signature(self._resolved, return_annotation=returns)


def _value_type(mapping: Any) -> Any:
    """Give the type of the values of ``dict[str, T]``."""
    arguments = get_args(mapping)
    return arguments[1] if len(arguments) == 2 else Any


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Resolve annotations, also those of local classes that the function's closure holds."""
    target = inspect.unwrap(function)
    closure = inspect.getclosurevars(target).nonlocals if inspect.isfunction(target) else {}
    try:
        return get_type_hints(target, localns=dict(closure))
    except (NameError, AttributeError, TypeError) as error:
        raise InvalidOption(
            option=f"the annotations of {target.__qualname__}",
            found=str(error),
            expected="types that can be looked up from its module; move local classes to module level",
        ) from error
