"""Children by name: runs of definitions that are declared elsewhere, or later."""

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Literal

from msgspec import Struct

from perdure.deciders.code.context import RunContext
from perdure.deciders.code.loop import current_context
from perdure.deciders.code.places import frame_above, line_of
from perdure.model import command as commands
from perdure.model.errors import DefinitionNotFound, Invalid, InvalidArguments, Unsupported
from perdure.model.ids import RunId


class Child:
    """A run below this one that begins when it is awaited; ``await`` it once, for its result. ``id``: its run."""

    def __init__(self, id: RunId, begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.id: RunId = id
        self._begin = begin

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begin().__await__()


def child(
    name: str, *args: Any, version: int | None = None, on_missing: Literal["wait", "fail"] = "wait", returns: Any = Any, **kwargs: Any
) -> Child:
    """Inside a workflow: a child run of the definition of this name, its newest version if none is given; awaited, it gives the child's
    result, or raises what the child raised.

    What is known of the definition when the code comes here is written down. If nothing is, the child waits until its code is there, or
    with ``on_missing="fail"`` nothing is started and this raises `DefinitionNotFound`. Arguments that a known definition does not take
    raise `InvalidArguments` and start nothing. ``returns``: the type of the result.
    """
    context = current_context()
    if context is None:
        raise Unsupported(what=f"perdure.child({name!r}) outside a workflow", why="use engine.start(…)")
    found = _look_up(context, name, version, args, kwargs)
    if found.is_missing and on_missing == "fail":
        raise DefinitionNotFound(found.problem, what="workflow", name=name)
    if found.problem and not found.is_missing:
        raise InvalidArguments(found.problem, what=name)
    call = context.open_call()
    contents, keywords = context.encode_arguments(name, args, kwargs)
    start = commands.StartChild(
        call=call,
        run=context.child_id(call),
        definition=name,
        version=found.version,
        args=contents,
        kwargs=keywords,
        line=line_of(frame_above(1)),
    )
    return Child(start.run, partial(context.run_child, start, returns))


class _Found(Struct, frozen=True, omit_defaults=True):
    """What a node knew of a name. ``version`` 0: the newest, when its code comes."""

    version: int = 0
    is_missing: bool = False
    problem: str = ""


def _look_up(context: RunContext, name: str, version: int | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Found:
    """Nodes may know different names, and the same node others later: what was found first is what every replay takes."""

    def look() -> dict[str, Any]:
        try:
            definition = context.tools.find(name, version)
        except DefinitionNotFound as error:
            return {"version": version or 0, "is_missing": True, "problem": str(error)}
        try:
            definition.encode_arguments(context.tools.serializer, args, kwargs)
        except Invalid as error:
            return {"version": definition.version, "problem": str(error)}
        return {"version": definition.version}

    return _Found(**context.record(look))
