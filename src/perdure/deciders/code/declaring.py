"""What an action's author may say of it, and the declaration that follows."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

import msgspec

from perdure.deciders.code.signature import BatchSignature, Signature
from perdure.model.call import ActionSpec, Batch, Limit, OnLost
from perdure.model.duration import Span, span_us
from perdure.model.errors import InvalidOption
from perdure.model.retry import NO_RETRY, Retry


class Unread:
    """Marks a type that has not been looked up yet."""


class ActionOptions(TypedDict, total=False):
    """The options of `perdure.action`."""

    name: str | None
    retry: Retry | None
    timeout: Span | None
    on_lost: Literal["retry", "fail"]
    transactional: bool
    runs_in: Literal["here", "process"]
    queue: str | None
    version: int
    description: str | None
    cost: float | None
    service: str
    limit: Limit | None


def declare(function: Callable[..., Any], options: ActionOptions, batch: Batch | None) -> ActionSpec:
    """Give the declaration. Raises `InvalidOption` for what cannot be."""
    signature = Signature(function) if batch is None else BatchSignature(function)
    timeout, queue, limit = options.get("timeout"), options.get("queue"), options.get("limit")
    spec = ActionSpec(
        name=options.get("name") or function.__name__,
        function=function,
        is_async=inspect.iscoroutinefunction(function),
        signature=signature,
        returns=Unread,
        retry=options.get("retry") or NO_RETRY,
        timeout_us=None if timeout is None else span_us(timeout),
        on_lost=OnLost(options.get("on_lost", "retry")),
        is_transactional=options.get("transactional", False),
        queue=queue,
        version=options.get("version", 1),
        is_in_process=_is_in_process(options),
        batch=batch,
        description=_description(function, options.get("description")),
        cost=options.get("cost"),
        service=options.get("service", ""),
        limit=None if limit is None else _with_path(limit, function),
    )
    _check(spec)
    return spec


def _is_in_process(options: ActionOptions) -> bool:
    where = options.get("runs_in", "here")
    if where not in ("here", "process"):
        raise InvalidOption(option="runs_in", found=repr(where), expected="'here' or 'process'")
    return where == "process"


def _description(function: Callable[..., Any], given: str | None) -> str:
    return given if given is not None else (inspect.getdoc(function) or "").partition("\n")[0]


def _check(spec: ActionSpec) -> None:
    """Raise `InvalidOption` for options that do not go together."""
    if spec.version < 1:
        raise InvalidOption(option="version", found=repr(spec.version), expected="1 or more")
    if spec.queue == "":
        raise InvalidOption(option="queue", found="an empty text", expected="the name of a queue, or None")
    if spec.is_transactional and not spec.is_async:
        raise InvalidOption(option="transactional", found=f"a plain def {spec.name!r}", expected="an async def")
    if spec.is_transactional and (spec.batch is not None or spec.queue is not None):
        raise InvalidOption(
            option="transactional", found="a batch or a queue beside it", expected="an action that the engine itself performs"
        )
    if spec.is_in_process:
        _check_process(spec)
    if spec.batch is not None:
        _check_batch(spec, spec.batch)


def _check_process(spec: ActionSpec) -> None:
    if spec.is_async or spec.batch is not None:
        found = "an async def" if spec.is_async else "a batch"
        raise InvalidOption(option="runs_in='process'", found=f"{found} {spec.name!r}", expected="a plain def, called one by one")
    if "<locals>" in getattr(spec.function, "__qualname__", "<locals>"):
        raise InvalidOption(
            option="runs_in='process'",
            found=f"{spec.name!r} inside a function",
            expected="a function of a module, which a process can import",
        )


def _check_batch(spec: ActionSpec, batch: Batch) -> None:
    if batch.calls_max < 1:
        raise InvalidOption(option="calls_max", found=repr(batch.calls_max), expected="1 or more")
    span_us(batch.wait)
    function: Any = spec.function
    if len(inspect.signature(function).parameters) != 1:
        raise InvalidOption(option="batch", found=repr(spec.name), expected="a function of one parameter, {call key: input}")


class _Path:
    """Stands for an argument, and remembers what is asked of it."""

    __slots__ = ("_parts",)

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> "_Path":
        return _Path(*self._parts, name)

    def __getitem__(self, key: str | int) -> "_Path":
        return _Path(*self._parts, str(key))


def _with_path(limit: Limit, function: Callable[..., Any]) -> Limit:
    """Give the limit with its key as a path: what enforces it need not have the code."""
    for option in ("concurrency", "rate", "burst", "key_concurrency"):
        found = getattr(limit, option)
        if found is not None and found <= 0:
            raise InvalidOption(option=option, found=repr(found), expected="more than 0")
    if limit.key is None:
        return limit
    names = inspect.signature(function).parameters
    path = limit.key if isinstance(limit.key, str) else _path_of(limit.key, names)
    if path.partition(".")[0] not in names:
        raise InvalidOption(option="limit", found=f"the key {path!r}", expected=f"a path that begins with one of {', '.join(names)}")
    return msgspec.structs.replace(limit, key=path, key_concurrency=limit.key_concurrency or 1)


def _path_of(key: Callable[..., Any], names: Mapping[str, Any]) -> str:
    """Ask the function what it takes of its arguments, which are meant by their names, or by their order if those are its own."""
    asked = list(inspect.signature(key).parameters)
    meant = asked if set(asked) <= set(names) else list(names)[: len(asked)]
    try:
        found = key(*(_Path(name) for name in meant))
    except Exception as error:
        raise InvalidOption(option="limit", found=f"a key that raises {error!r}", expected=_PATH) from error
    if not isinstance(found, _Path):
        raise InvalidOption(option="limit", found=f"a key that gives {found!r}", expected=_PATH)
    return ".".join(found._parts)


_PATH = "a path into one argument and nothing else, such as lambda order: order.user"
