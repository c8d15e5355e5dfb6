"""Configured actions: an action, and the configuration that its calls are made with."""

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar

import msgspec
from msgspec import UNSET, Struct

from perdure.deciders.code.authoring import Action
from perdure.deciders.code.loop import current_context
from perdure.model.duration import Span, span_us
from perdure.model.errors import InvalidOption, Unsupported
from perdure.model.payload import EMPTY
from perdure.model.retry import Retry

P = ParamSpec("P")
R = TypeVar("R")

Item = dict[str, Any]
Items = list[Item]
"""The data that flows from action to action."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every configuration has. ``default_value``: what is passed on in place of nothing; leaving it out is not the same as ``None``.
    ``return_empty_result``: nothing to pass on is an empty list, and not ``perdure.EMPTY``.
    """

    default_value: Any = UNSET
    return_empty_result: bool = False

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise `InvalidOption`, which names the field, for what no call could be made with."""

    def default_item(self, action: str) -> None:
        """Raise `InvalidOption` unless the default value can stand for an item."""
        if self.default_value is not UNSET and not isinstance(self.default_value, dict):
            raise InvalidOption(option=f"{action}.default_value", found=repr(self.default_value), expected="an item: an object with names")


def pass_on(found: Items, options: Options) -> Items:
    """Give the outcome: what was found, or what stands for nothing."""
    if found:
        return found
    if options.default_value is not UNSET:
        return [options.default_value]
    return found if options.return_empty_result else EMPTY


def pass_on_items(found: Items, options: Options) -> Items:
    """Give the outcome of an action whose default value stands in each item: where there is no item, there is nothing."""
    return found or pass_on([], msgspec.structs.replace(options, default_value=UNSET))


class Step(Generic[R]):
    """What works like an action but is done by the workflow that calls it: it takes no slot, and no worker has it."""

    def __init__(self, name: str, function: Callable[..., Coroutine[Any, Any, R]]) -> None:
        self.name = name
        self.function: Callable[..., Coroutine[Any, Any, R]] = function
        self.__doc__ = function.__doc__

    def __call__(self, items: Sequence[Mapping[str, Any]], *, config: Any) -> Coroutine[Any, Any, R]:
        if current_context() is None:
            raise Unsupported(what=f"{self.name!r} outside a workflow", why="it is done by the workflow itself, and by no worker")
        return self.function(items, config=config)


class Configured(Generic[R]):
    """``await fetch(items)``: a durable call with this configuration. Given ``perdure.EMPTY`` it gives that back, and makes no call."""

    def __init__(self, perform: Action[..., R] | Step[R], config: Struct) -> None:
        self.perform: Action[..., R] | Step[R] = perform
        self.config: Struct = config

    def __call__(self, items: Sequence[Mapping[str, Any]] = ({},)) -> Coroutine[Any, Any, R]:
        if items is EMPTY:
            return _nothing()
        return self.perform(items, config=self.config)

    def options(self, *, retry: Retry | None = None, timeout: Span | None = None, on_lost: Literal["retry", "fail"] | None = None) -> Self:
        """Give the same with other options for the calls made through it, as `Action.options` does."""
        if isinstance(self.perform, Step):
            raise Unsupported(what=f"options of {self.perform.name!r}", why="it makes no call of its own")
        return type(self)(self.perform.options(retry=retry, timeout=timeout, on_lost=on_lost), self.config)

    def __repr__(self) -> str:
        return f"<{name_of(self.perform)} with {self.config!r}>"


class Configurable(Generic[P, R]):
    """Makes configured actions: ``http(url=…)``. Raises `InvalidOption`, which names the field, before anything runs."""

    def __init__(self, perform: Action[..., R] | Step[R], config: Callable[P, Struct]) -> None:
        self.perform: Action[..., R] | Step[R] = perform
        self.config: Callable[P, Struct] = config
        self.__doc__ = perform.__doc__

    @property
    def name(self) -> str:
        """What `perdure.call`, chains and workers call it."""
        return name_of(self.perform)

    @property
    def is_step(self) -> bool:
        """Tell whether the workflow does it itself, so that no worker has it."""
        return isinstance(self.perform, Step)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Configured[R]:
        return Configured(self.perform, checked(self.name, kwargs, self.config))

    def __repr__(self) -> str:
        return f"<configurable {self.name}>"


def configurable(perform: Action[..., R] | Step[R], config: Callable[P, Struct]) -> Configurable[P, R]:
    """Give what makes configured actions of an action that takes ``items`` and ``config=``: the library's, and those of your packs."""
    return Configurable(perform, config)


def checked(name: str, fields: Mapping[str, Any], config: Callable[..., Struct]) -> Any:
    """Give the configuration with these fields; raises `InvalidOption` for what it does not take, or cannot be written down."""
    try:
        made = msgspec.convert(dict(fields), config)
        msgspec.json.encode(made)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        field = re.search(r"`\$\.([^`]*)`|(?:unknown|required) field `([^`]*)`", str(error))
        named = f"{name}.{field[1] or field[2]}" if field else name
        raise InvalidOption(option=named, found=str(error), expected=_fields_of(config)) from None
    return made


def name_of(perform: Action[..., Any] | Step[Any]) -> str:
    """Name an action or a step."""
    return perform.name if isinstance(perform, Step) else perform.spec.name


def check_span(option: str, span: str) -> None:
    """Raise `InvalidOption` for what is no span of time, or none at all."""
    try:
        is_some = span_us(span) > 0
    except InvalidOption:
        is_some = False
    if not is_some:
        raise InvalidOption(option=option, found=repr(span), expected='a span of time such as "200ms", "20s", "1h 30m"')


def seconds(span: str) -> float:
    """Give a span of a configuration in seconds."""
    return span_us(span) / 1_000_000


def _fields_of(config: Any) -> str:
    return f"one of its fields ({', '.join(getattr(config, '__struct_fields__', ()))}), each of its type"


async def _nothing() -> Any:
    return EMPTY
