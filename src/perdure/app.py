"""The engine as applications open it: the composition root, and the only module that names products."""

import asyncio
import builtins
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from perdure.client.gateway import Gateway, StartRequest
from perdure.client.local import LocalGateway
from perdure.client.remote import RemoteGateway
from perdure.client.requests import StartRequests
from perdure.client.retrying import OnRefused, log_refused, retry_runs
from perdure.client.run import Run, name_of
from perdure.deciders.code import guard
from perdure.deciders.code.authoring import Action, HasRun, StartOptions, Workflow
from perdure.deciders.code.definition import Bindings, Registry, default_registry
from perdure.deciders.code.standalone import TASK, choice_of, task_workflow
from perdure.deciders.decider import Tools
from perdure.engine.node import Node, Surroundings
from perdure.engine.reopening import Asked
from perdure.model.codec import Codec, Serializer
from perdure.model.duration import Span, span_us
from perdure.model.errors import CallNotFound, EngineClosed, InvalidOption, RunConflict, RunEnded
from perdure.model.failure import failure_of
from perdure.model.ids import RunId, split_call_key
from perdure.model.limits import Limits
from perdure.model.run import RunRow, Status
from perdure.model.stimulus import Failed, Succeeded
from perdure.ports.clock import Alarm, Clock, Entropy, pause
from perdure.ports.store import RunQuery, Store
from perdure.ports.system import SystemClock, SystemEntropy
from perdure.stores.memory import MemoryStore
from perdure.stores.sqlite.store import SqliteStore
from perdure.workers.executors import LocalPerformer

logger = logging.getLogger("perdure")

P = ParamSpec("P")
R = TypeVar("R")

STANDBY_US = 500_000


def open_store(url: str) -> Store:
    """Give the store that a URL names: ``memory://``, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``. Raises `InvalidOption`."""
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator:
        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return SqliteStore(Path(rest[1:]).expanduser(), name=url)
    raise InvalidOption(option="the store's URL", found=repr(url), expected='"memory://" or "sqlite:///file.db"')


class Seat:
    """The place of the node on one store: taken at once if it is free, else as soon as whoever has it is gone."""

    def __init__(self, store: Store, clock: Clock, make_node: Callable[[Callable[[BaseException], None]], Node]) -> None:
        self._store = store
        self._clock = clock
        self._make_node = make_node
        self._is_wanted = False
        self._alarm: Alarm | None = None
        self._try: asyncio.Task[None] | None = None
        self.node: Node | None = None
        self.gateway: LocalGateway | None = None

    async def take(self) -> None:
        """The seat is taken, or another has it and it will be asked for again and again."""
        self._is_wanted = True
        if not await self._sit_down():
            self._stand_by()

    async def _sit_down(self) -> bool:
        node = self._make_node(self._on_lost)
        if not await node.open():
            return False
        self.node = node
        self.gateway = LocalGateway(node.desk, node.retrier, self._store)
        return True

    def _on_lost(self, error: BaseException) -> None:
        self.node, self.gateway = None, None
        if self._is_wanted:
            self._stand_by()

    def _stand_by(self) -> None:
        self._alarm = self._clock.call_at(self._clock.now_us() + STANDBY_US, self._begin_try)

    def _begin_try(self) -> None:
        self._try = asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        try:
            taken = await self._sit_down()
        except Exception as error:
            logger.warning("taking over the runs of %s: %s", self._store.name, error)
            taken = False
        if not taken and self._is_wanted:
            self._stand_by()

    async def leave(self, *, drain_us: int) -> None:
        """Attempts under way have ended, or that time has; everything is written; the seat is free."""
        node = await self._get_up()
        if node is not None:
            await self._drain(node, drain_us)
            await node.close()

    async def crash(self) -> None:
        """The node stopped at once, without a word."""
        node = await self._get_up()
        if node is not None:
            await node.crash()

    async def _get_up(self) -> Node | None:
        self._is_wanted = False
        if self._alarm is not None:
            self._alarm.cancel()
        if self._try is not None:
            await asyncio.gather(self._try, return_exceptions=True)
        node, self.node, self.gateway = self.node, None, None
        return node

    async def _drain(self, node: Node, drain_us: int) -> None:
        draining, over = asyncio.ensure_future(node.drain()), asyncio.ensure_future(pause(self._clock, drain_us))
        try:
            await asyncio.wait({draining, over}, return_when=asyncio.FIRST_COMPLETED)
            if not draining.done():
                logger.warning("%d attempts were still under way after the drain time; they will be made again", node.dispatcher.running)
        finally:
            draining.cancel()
            over.cancel()
            await asyncio.gather(draining, over, return_exceptions=True)


class Engine:
    """Runs workflows on one store. ``async with Engine("sqlite:///app.db") as engine: …``

    The first engine on a store is its node: it moves the runs. Others in other processes use the same methods, reach the node through the
    store, and one of them takes over when the node ends. ``codecs`` change payloads on their way to the store, in order; ``known_codecs``
    are only read with (keys that were rotated out). ``drain``: how long `close` waits for attempts under way. ``threads``: plain actions
    that run at once. ``is_client``: never become the node.
    """

    def __init__(
        self,
        store: str | Store = "sqlite:///perdure.db",
        *,
        registry: Registry | Bindings | None = None,
        limits: Limits | None = None,
        codecs: Sequence[Codec] = (),
        known_codecs: Sequence[Codec] = (),
        drain: Span = "30s",
        patience: Span = "30s",
        threads: int = 32,
        name: str | None = None,
        is_client: bool = False,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._serializer = Serializer(codecs, known_codecs, self._limits.payload_bytes_max)
        self._registry = (registry or default_registry).bound()
        self._registry.build_in(TASK)
        self._store = open_store(store) if isinstance(store, str) else store
        self._owns_store = isinstance(store, str)
        self._clock: Clock = clock or SystemClock()
        self._entropy: Entropy = entropy or SystemEntropy()
        self._drain_us = span_us(drain)
        self._threads = threads
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._is_client = is_client
        self._requests = StartRequests(self._serializer, self._registry, self._clock, self._entropy)
        self._seat = Seat(self._store, self._clock, self._make_node)
        self._remote = RemoteGateway(
            self._store,
            self._clock,
            self._entropy,
            inline_max=self._limits.payload_inline_max,
            patience_us=span_us(patience),
        )
        self._is_open = False

    def _make_node(self, on_lost: Callable[[BaseException], None]) -> Node:
        performer = LocalPerformer(self._clock, self._serializer, self._threads)
        tools = Tools(self._serializer, self._limits, self._registry.bind)
        around = Surroundings(self._store, self._clock, self._entropy, self._registry, performer, tools)
        return Node(around, name=self._name, on_lost=on_lost)

    # Life.

    async def open(self) -> Self:
        """The store is open and, if no other engine is its node, runs move from now on. Raises `StoreUnavailable`, `Unsupported`."""
        await self._store.open()
        guard.install()
        _share_interpreter()
        self._is_open = True
        if not self._is_client:
            await self._seat.take()
        return self

    async def close(self) -> None:
        """Attempts under way have ended, or their ``drain`` time has; everything is written; another engine may be the node at once."""
        self._is_open = False
        await self._seat.leave(drain_us=self._drain_us)
        if self._owns_store:
            await self._store.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def crash(self) -> None:
        """Stop at once as a killed process would, writing nothing; for tests of recovery."""
        self._is_open = False
        await self._seat.crash()

    def check_names(self) -> None:
        """Raise `DefinitionConflict` if two workflows, or two actions, of this process share a name."""
        self._registry.check()

    @property
    def is_node(self) -> bool:
        """Tell whether this engine moves the runs now; otherwise another does, and this one would take over."""
        return self._seat.node is not None

    @property
    def node(self) -> Any:
        """The `Node` itself, ``None`` if it is elsewhere: for tests and diagnosis, without a promise about its members."""
        return self._seat.node

    @property
    def store(self) -> Store:
        """The store, for read-only questions (`perdure.insight`), tests and diagnosis."""
        return self._store

    def _gateway(self) -> Gateway:
        if not self._is_open:
            raise EngineClosed(state="closed", asked="the request")
        return self._seat.gateway or self._remote

    # Runs.

    @overload
    async def start(self, workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    async def start(self, workflow: type[HasRun[P, R]], *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    async def start(self, workflow: str, *args: Any, **kwargs: Any) -> Run[Any]: ...
    async def start(self, workflow: Any, *args: Any, **kwargs: Any) -> Run[Any]:
        """The run is durable and will finish; gives its handle. Raises `InvalidArguments`, `InvalidValue`, `RunConflict`, `RunEnded`.

        A workflow given by name need not be known here; its arguments are then checked when the run begins. (To type checkers that do not
        follow class decorators, a decorated class is still the class: hence the second form.)
        """
        workflow = _declared(workflow)
        gateway = self._gateway()
        options = StartOptions() if isinstance(workflow, str) else workflow.start_options
        request = self._requests.make(workflow, options, args, kwargs)
        run = self._handle(request.row.id, Any if isinstance(workflow, str) else workflow.definition.returns)
        if request.replaces:
            request.row.base = await self._base_after(request.row.id)
        known = await gateway.start(request)
        if known is not None:
            await self._take_known(request, known, options)
        return run

    async def _base_after(self, run: RunId) -> int:
        """Give the first row number of a run that replaces another: idempotency keys of the two must differ."""
        loaded = await self._store.load([run])
        return loaded[0].row.base + len(loaded[0].transitions) if loaded else 1

    async def _take_known(self, request: StartRequest, known: RunRow, options: StartOptions) -> None:
        if known.definition != request.row.definition or known.input_hash != request.row.input_hash:
            raise RunConflict(run=known.id, definition=known.definition, status=known.status)
        if known.status.is_final and options.on_ended == "refuse":
            raise RunEnded(run=known.id, status=known.status, asked="the start")

    @overload
    async def run(self, workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run(self, workflow: type[HasRun[P, R]], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run(self, workflow: str, *args: Any, **kwargs: Any) -> Any: ...
    async def run(self, workflow: Any, *args: Any, **kwargs: Any) -> Any:
        """Start a run and wait for its result."""
        return await (await self.start(workflow, *args, **kwargs)).result()

    @overload
    def get(self, id: str) -> Run[Any]: ...
    @overload
    def get(self, id: str, workflow: Workflow[P, R] | type[HasRun[P, R]]) -> Run[R]: ...
    def get(self, id: str, workflow: Any = None) -> Run[Any]:
        """Give the handle of a run, whether or not it exists; ``workflow`` tells the type of its result."""
        return self._handle(RunId(id), Any if workflow is None else _declared(workflow).definition.returns)

    def _handle(self, id: RunId, returns: Any) -> Run[Any]:
        return Run(id, gateway=self._gateway, serializer=self._serializer, token=self._entropy.token, returns=returns)

    async def list(
        self,
        *,
        status: Status | str | None = None,
        tag: str | None = None,
        definition: str | None = None,
        parent: str | None = None,
        before: RunRow | None = None,
        limit: int = 100,
    ) -> list[RunRow]:
        """Give runs, newest first, at most ``limit``; ``before`` the last row of a page gives the next page."""
        query = RunQuery(
            status=None if status is None else status_of(status),
            tag=tag,
            definition=definition,
            parent=None if parent is None else RunId(parent),
            before=None if before is None else (before.created_us, before.id),
            limit=limit,
        )
        return await self._gateway().store.find(query)

    async def retry(
        self,
        *,
        status: Status | str = Status.FAILED,
        action: str | Action[..., Any] | None = None,
        definition: str | None = None,
        tag: str | None = None,
        on_refused: OnRefused = log_refused,
    ) -> builtins.list[RunId]:
        """The failed calls of these runs, or those of one action, are made again; gives the runs in which one is. ``on_refused`` is told of
        each run that cannot be retried, and why; others go on.
        """
        query = RunQuery(status=status_of(status), tag=tag, definition=definition)
        return await retry_runs(self._gateway, query, Asked(action=name_of(action)), on_refused)

    # Standalone tasks.

    @overload
    async def dispatch(self, action: Action[P, R], *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    async def dispatch(
        self, action: Action[..., R], *args: Any, task_id: str | None = None, task_tags: Sequence[str] = (), **kwargs: Any
    ) -> Run[R]: ...
    @overload
    async def dispatch(
        self, action: str, *args: Any, task_id: str | None = None, task_tags: Sequence[str] = (), **kwargs: Any
    ) -> Run[Any]: ...
    async def dispatch(self, action: Any, *args: Any, **kwargs: Any) -> Run[Any]:
        """A run that is this one call is durable; gives its handle. An action given by name need not be known here. With a ``task_id`` it
        is dispatched once. Raises `InvalidArguments`, `InvalidValue`, `RunConflict`.
        """
        task_id, task_tags = kwargs.pop("task_id", None), kwargs.pop("task_tags", ())
        name = action if isinstance(action, str) else action.spec.name
        declared = self._registry.action(name)
        signature = (declared.signature if declared is not None else None) if isinstance(action, str) else action.signature
        if signature is not None:
            signature.encode(self._serializer, args, kwargs)
        choice = None if isinstance(action, str) else choice_of(action, declared)
        workflow = task_workflow(StartOptions(id=None if task_id is None else RunId(task_id), tags=tuple(task_tags)))
        run = await self.start(workflow, name, choice, *args, **kwargs)
        return self._handle(run.id, Any if signature is None else signature.returns)

    # Calls that are ended from outside.

    async def complete(self, key: str, value: Any = None) -> None:
        """The open call has this value. Raises `CallNotFound`, `CallClosed`; a value of the wrong type raises `InvalidValue` and leaves
        the call open.
        """
        run, base, call = self._split(key)
        await self._gateway().give_outcome(run, base, Succeeded(call, self._serializer.encode(value, f"the outcome of {key}")))

    async def fail(self, key: str, error: BaseException | str) -> None:
        """The open call ends with this error, which the workflow sees as an action's error. Raises `CallNotFound`, `CallClosed`."""
        run, base, call = self._split(key)
        failure = failure_of(error if isinstance(error, BaseException) else RuntimeError(error), is_final=True)
        await self._gateway().give_outcome(run, base, Failed(call, failure))

    def _split(self, key: str) -> Any:
        parts = split_call_key(key)
        if parts is None:
            raise CallNotFound(key=key)
        return parts


SWITCH_S = 0.0005


def _share_interpreter() -> None:
    """Let a thread that waits for the interpreter have it after half a millisecond instead of five, in the whole process.

    A busy event loop otherwise starves the store's threads: the commit of a thousand rows, 4 ms of work, was seen to take seconds.
    """
    if sys.getswitchinterval() > SWITCH_S:
        sys.setswitchinterval(SWITCH_S)


def _declared(workflow: Any) -> Any:
    if not issubclass(type(workflow), Workflow | str):
        raise InvalidOption(option="the workflow to start", found=repr(workflow), expected="what @workflow made of it, or its name")
    return workflow


def status_of(name: str) -> Status:
    """Give the status of that name; raises `InvalidOption`."""
    known = [status.value for status in Status]
    if name not in known:
        raise InvalidOption(option="status", found=repr(name), expected=", ".join(known))
    return Status(name)
