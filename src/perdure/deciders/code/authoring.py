"""What workflow authors write: ``@action``, ``@workflow``, ``signal``, ``@update``, ``@query``."""

import asyncio
import functools
import inspect
from asyncio import events
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

import msgspec

from perdure.deciders.code.context import RunContext
from perdure.deciders.code.declaring import ActionOptions, Unread, declare
from perdure.deciders.code.definition import CodeDefinition, Registry, default_registry
from perdure.deciders.code.elsewhere import waiting_options
from perdure.deciders.code.instance import Method
from perdure.deciders.code.loop import WorkflowLoop, current_context
from perdure.deciders.code.places import frame_above, line_of
from perdure.deciders.code.signature import Signature
from perdure.model import command as commands
from perdure.model.call import ActionSpec, Batch, OnLost
from perdure.model.durability import Durability
from perdure.model.duration import Span, span_us
from perdure.model.errors import InvalidOption, Unsupported
from perdure.model.ids import RunId
from perdure.model.retry import Retry

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Action(Generic[P, R]):
    """A named unit of work. Called in a workflow it is a durable step; called elsewhere it runs ``function``."""

    def __init__(self, function: Callable[P, Any], spec: ActionSpec, signature: Signature) -> None:
        self.function: Callable[P, Any] = function
        self.spec: ActionSpec = spec
        self.signature: Signature = signature
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        loop = events._get_running_loop()
        if type(loop) is not WorkflowLoop:
            return self._call_outside(loop, args, kwargs)
        self.signature.check(args, kwargs)
        return loop.run_context.run_action(self._typed_spec(), args, kwargs, line_of(frame_above(1)))

    def _typed_spec(self) -> ActionSpec:
        """The types are read when the action is first used, so that annotations may name classes declared below it."""
        if self.spec.returns is Unread:
            self.spec = msgspec.structs.replace(self.spec, returns=self.signature.returns)
        return self.spec

    def _call_outside(self, loop: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, R]:
        """A plain function is awaitable where a loop runs, as in workflow code under test; without a loop it gives its value at once."""
        if self.spec.batch is not None:
            self.signature.check(args, kwargs)
            return cast(Coroutine[Any, Any, R], self._call_batch(loop, next(iter((*args, *kwargs.values())))))
        if self.spec.is_async or loop is None:
            return cast(Coroutine[Any, Any, R], self.function(*args, **kwargs))
        return asyncio.to_thread(self.function, *args, **kwargs)

    def _call_batch(self, loop: Any, value: Any) -> Any:
        """One call is a batch of one."""
        function: Callable[..., Any] = self.function

        async def one() -> Any:
            given = {_ALONE: value}
            found = await function(given) if self.spec.is_async else await asyncio.to_thread(function, given)
            return found[_ALONE]

        return one() if self.spec.is_async or loop is not None else function({_ALONE: value})[_ALONE]

    def options(
        self,
        *,
        retry: Retry | None = None,
        timeout: Span | None = None,
        name: str | None = None,
        on_lost: Literal["retry", "fail"] | None = None,
        start_timeout: Span | None = None,
        unserved: Literal["wait", "fail"] | None = None,
        priority: int | None = None,
    ) -> "Action[P, R]":
        """Give the same action with other options for the calls made through it; options left out stay as declared.

        ``start_timeout``, ``unserved``: of an action with a ``queue``: how long a call waits for a worker to begin it, and whether it
        waits at all where there is none (as `perdure.elsewhere`). ``priority``: higher goes first where calls wait.
        """
        changes = waiting_options(start_timeout, unserved, priority)
        if retry is not None:
            changes["retry"] = retry
        if timeout is not None:
            changes["timeout_us"] = span_us(timeout)
        if name is not None:
            changes["name"] = name
        if on_lost is not None:
            changes["on_lost"] = OnLost(on_lost)
        return Action(self.function, msgspec.structs.replace(self.spec, **changes), self.signature)

    def __repr__(self) -> str:
        return f"<action {self.spec.name}>"


_ALONE = "alone#1#1"


class ActionDecorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Action[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Action[P, R]: ...


class BatchDecorator(Protocol):
    @overload
    def __call__(self, function: Callable[[dict[str, T]], Coroutine[Any, Any, Mapping[str, R]]], /) -> Action[[T], R]: ...
    @overload
    def __call__(self, function: Callable[[dict[str, T]], Mapping[str, R]], /) -> Action[[T], R]: ...


@overload
def action(function: Callable[P, Coroutine[Any, Any, R]], /) -> Action[P, R]: ...
@overload
def action(function: Callable[P, R], /) -> Action[P, R]: ...
@overload
def action(*, registry: Registry | None = None, **options: Unpack[ActionOptions]) -> ActionDecorator: ...
@overload
def action(*, batch: Batch, registry: Registry | None = None, **options: Unpack[ActionOptions]) -> BatchDecorator: ...
def action(
    function: Callable[..., Any] | None = None,
    /,
    *,
    batch: Batch | None = None,
    registry: Registry | None = None,
    **options: Unpack[ActionOptions],
) -> Any:
    """Declare an action. An ``async def`` runs in the event loop, a plain ``def`` in a thread, or with ``runs_in="process"`` in a process.

    ``retry``: default is one attempt. ``timeout``: for one attempt. ``on_lost``: what follows when the node died during an attempt:
    ``retry`` it (an attempt may then happen twice), or ``fail`` the call with `AttemptsLost`. ``transactional``: on a store in PostgreSQL,
    what the action does on `perdure.attempt().connection` and its outcome are one commit, so its effect happens exactly once.

    ``queue``: performed by the workers of that queue; without one, where the engine is. ``version``: calls of another version are not given
    to it. ``batch``: calls are put together; the function takes ``{call key: input}`` and gives ``{call key: output}``. A key that it
    leaves out fails that call alone; what it raises fails all of them, and each is tried again alone if its policy says so.
    ``limit``: how much of it goes on at once, anywhere. For people: ``description`` (the docstring's first line), ``cost`` of a call,
    and the outside ``service`` that asks for it.
    """

    def declare_action(function: Callable[..., Any]) -> Action[..., Any]:
        spec = declare(function, options, batch)
        declared: Action[..., Any] = Action(function, spec, spec.signature)
        (registry or default_registry).add_action(spec)
        return declared

    return declare_action if function is None else declare_action(function)


class StartOptions(msgspec.Struct, frozen=True):
    """How a run is started. ``on_ended``: what a start does when a run of that id has ended."""

    id: RunId | None = None
    tags: tuple[str, ...] = ()
    version: int | None = None
    on_ended: Literal["return", "refuse", "restart"] = "return"
    timeout_us: int | None = None
    durability: Durability | None = None


class Workflow(Generic[P, R_co]):
    """A process in code. Called in a workflow it is a child run; called elsewhere it is the plain coroutine function."""

    def __init__(self, function: Callable[..., Any], definition: CodeDefinition, options: StartOptions) -> None:
        self.function: Callable[..., Any] = function
        self.definition: CodeDefinition = definition
        self.start_options: StartOptions = options
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        context = current_context()
        if context is None:
            return cast(Coroutine[Any, Any, R_co], self.function(*args, **kwargs))
        start = self._child(context, args, kwargs, is_detached=False)
        return context.run_child(start, self.definition.returns)

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> RunId:
        """Inside a workflow: start a run that nobody waits for and that outlives its parent; gives its id."""
        context = current_context()
        if context is None:
            raise Unsupported(what=f"{self.definition.name}.start outside a workflow", why="use engine.start(…)")
        start = self._child(context, args, kwargs, is_detached=True)
        context.commands.append(start)
        return start.run

    def _child(self, context: RunContext, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_detached: bool) -> commands.StartChild:
        context.mean(self.definition)
        call = context.open_call()
        contents, keywords = self.definition.encode_arguments(context.tools.serializer, args, kwargs)
        options = self.start_options
        return commands.StartChild(
            call=call,
            run=options.id or context.child_id(call),
            definition=self.definition.name,
            version=options.version or self.definition.version,
            args=contents,
            kwargs=keywords,
            tags=options.tags,
            end_us=None if options.timeout_us is None else context.loop.now_us + options.timeout_us,
            is_detached=is_detached,
            line=line_of(frame_above(2)),
        )

    def options(
        self,
        *,
        id: str | None = None,
        tags: list[str] | tuple[str, ...] | None = None,
        version: int | None = None,
        on_ended: Literal["return", "refuse", "restart"] | None = None,
        timeout: Span | None = None,
        durability: Durability | str | None = None,
    ) -> Self:
        """Give the same workflow with options for the runs started through it.

        ``id``: unique; starting it again gives the same run if the input is the same and raises `RunConflict` if not. ``on_ended``: when
        that run has ended, ``return`` it (the default), ``refuse`` with `RunEnded`, or ``restart`` it as a new incarnation.
        ``timeout``: a run that has not ended by then is cancelled and fails with `RunTimedOut`; it holds over continue-as-new.
        ``durability``: ``"memory"``, ``"memory+replica"``, ``"disk"`` or ``"disk+replica"``, as far as the store can give it; children
        have that of their parent.
        """
        if id is not None and not id:
            raise InvalidOption(option="id", found="an empty text", expected="a name for the run")
        now = self.start_options
        changed = StartOptions(
            id=RunId(id) if id is not None else now.id,
            tags=tuple(tags) if tags is not None else now.tags,
            version=version if version is not None else now.version,
            on_ended=on_ended or now.on_ended,
            timeout_us=span_us(timeout) if timeout is not None else now.timeout_us,
            durability=_class_of(durability) if durability is not None else now.durability,
        )
        return type(self)(self.function, self.definition, changed)

    def __repr__(self) -> str:
        return f"<workflow {self.definition.name} version {self.definition.version}>"


def _class_of(durability: Durability | str) -> Durability:
    try:
        return Durability(durability)
    except ValueError:
        classes = ", ".join(repr(entry.value) for entry in Durability)
        raise InvalidOption(option="durability", found=repr(durability), expected=classes) from None


class ClassWorkflow(Workflow[P, R_co]):
    """The class form. Attributes of the class, its updates and queries above all, are reached through it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "function" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.function, name)


class HasRun(Protocol[P, R_co]):
    """A class with an ``async def run``."""

    def run(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


class WorkflowDecorator(Protocol):
    @overload
    def __call__(self, target: type[HasRun[P, R]], /) -> ClassWorkflow[P, R]: ...
    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...


@overload
def workflow(target: type[HasRun[P, R]], /) -> ClassWorkflow[P, R]: ...
@overload
def workflow(target: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: int = 1,
    check: Literal["none", "simple", "strict"] = "simple",
    registry: Registry | None = None,
) -> WorkflowDecorator: ...
def workflow(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    check: Literal["none", "simple", "strict"] = "simple",
    registry: Registry | None = None,
) -> Any:
    """Declare a workflow: an ``async def``, or a class with ``async def run``.

    New runs use the highest ``version`` of a name; a run goes on with the version it began with. ``check``: how closely replay is
    held against the journal: not at all, by the calls made (``simple``), or also by their arguments (``strict``).
    """

    def declare(target: Any) -> Any:
        is_class = isinstance(target, type)
        entry = _entry_of(target)
        if not inspect.iscoroutinefunction(entry):
            raise InvalidOption(option="@workflow", found=repr(target), expected="an async def, or a class with 'async def run'")
        definition = CodeDefinition(entry, name=name or target.__name__, version=version, check=check, factory=target if is_class else None)
        if is_class:
            _collect_methods(target, definition)
        (registry or default_registry).add_definition(definition)
        if is_class:
            of_class: ClassWorkflow[..., Any] = ClassWorkflow(target, definition, StartOptions())
            return of_class
        of_function: Workflow[..., Any] = Workflow(target, definition, StartOptions())
        return of_function

    return declare if target is None else declare(target)


def _entry_of(target: Any) -> Any:
    return getattr(target, "run", None) if isinstance(target, type) else target


def _collect_methods(target: type, definition: CodeDefinition) -> None:
    for owner in reversed(target.__mro__):
        for name, value in vars(owner).items():
            if isinstance(value, Update):
                definition.updates[name] = Method(value.function, value.check)
            elif isinstance(value, Query):
                definition.queries[name] = Method(value.function)


class Update(Generic[P, R_co]):
    """A method by which clients change a running instance and get an answer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function: Callable[..., Any] = function
        self.check: Callable[..., Any] | None = None
        self.__name__: str = function.__name__
        self.__doc__ = function.__doc__

    def validator(self, check: Callable[Concatenate[Any, P], object]) -> Callable[Concatenate[Any, P], object]:
        """``check`` is called with the same arguments first; whatever it raises refuses the update, without a trace in the journal."""
        self.check = check
        return check

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Callable[P, Any]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self.function.__get__(instance, owner)


class Query(Generic[P, R_co]):
    """A method by which clients look at a running instance."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function: Callable[..., Any] = function
        self.__name__: str = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Callable[P, R_co]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self.function.__get__(instance, owner)


@overload
def update(function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> Update[P, R]: ...
@overload
def update(function: Callable[Concatenate[Any, P], R]) -> Update[P, R]: ...
def update(function: Callable[..., Any]) -> Any:
    """Declare an update of a workflow class: ``def`` or ``async def``; it may call actions and wait."""
    declared: Update[..., Any] = Update(function)
    return declared


def query(function: Callable[Concatenate[Any, P], R]) -> Query[P, R]:
    """Declare a query of a workflow class: a plain ``def`` that changes nothing."""
    if inspect.iscoroutinefunction(function):
        raise InvalidOption(option="@query", found=f"async def {function.__name__}", expected="a plain def; use @update for what waits")
    return Query(function)


class Signal(Generic[T]):
    """A typed channel into a run."""

    def __init__(self, name: str, type: Any, *, early: Literal["keep", "discard"]) -> None:
        if early not in ("keep", "discard"):
            raise InvalidOption(option="early", found=repr(early), expected="'keep' or 'discard'")
        self.name: str = name
        self.type: Any = type
        self.early: Literal["keep", "discard"] = early

    def receive(self) -> Coroutine[Any, Any, T]:
        """Inside a workflow: the next signal. Each is given to one reader, in order of arrival; those that came early were kept."""
        context = current_context()
        if context is None:
            raise Unsupported(
                what=f"signal {self.name!r}.receive() outside a workflow", why="there is no run to receive it; send with run.send"
            )
        return context.receive(self.name, self.type, discards_early=self.early == "discard", line=line_of(frame_above(1)))

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            yield await self.receive()

    def __repr__(self) -> str:
        return f"<signal {self.name}>"


@overload
def signal(name: str, type: type[T], *, early: Literal["keep", "discard"] = "keep") -> Signal[T]: ...
@overload
def signal(name: str, type: Any = Any, *, early: Literal["keep", "discard"] = "keep") -> Signal[Any]: ...
def signal(name: str, type: Any = Any, *, early: Literal["keep", "discard"] = "keep") -> Signal[Any]:
    """Declare a channel of values of ``type``. ``early``: what happens to signals that come before `Signal.receive` is called."""
    return Signal(name, type, early=early)


def call(name: str, *args: Any, returns: Any = Any, **kwargs: Any) -> Awaitable[Any]:
    """Inside a workflow: call an action by name; it may be declared elsewhere or later. ``returns`` is the type of its value."""
    context = current_context()
    if context is None:
        raise Unsupported(what=f"perdure.call({name!r}) outside a workflow", why="import the action and call it")
    known = default_registry.action(name)
    spec = ActionSpec(name=name, returns=returns) if known is None else msgspec.structs.replace(known, returns=returns)
    return context.run_action(spec, args, kwargs, line_of(frame_above(1)))
