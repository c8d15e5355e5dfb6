"""The engine as applications open it: the composition root."""

import builtins
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast, overload

from msgspec import structs

from perdure.app.calling import Calling, Outfit
from perdure.app.checkup import check_up
from perdure.app.ending import CallEnds
from perdure.app.left_answers import look_for_left_answers
from perdure.app.seat import Seat
from perdure.app.stores import Opening
from perdure.app.wires import Wire, content_type_of
from perdure.client.gateway import Gateway, StartRequest
from perdure.client.named import NamedWorkflow
from perdure.client.remote import RemoteGateway
from perdure.client.requests import StartRequests, check_known
from perdure.client.retrying import OnRefused, log_refused, retry_runs
from perdure.client.run import Run, name_of
from perdure.deciders.code import guard
from perdure.deciders.code.authoring import Action, HasRun, StartOptions, Workflow
from perdure.deciders.code.definition import Bindings, Registry, default_registry
from perdure.deciders.code.standalone import TASK, task_workflow
from perdure.deciders.decider import Tools
from perdure.engine.health import Health
from perdure.engine.node import Node, Surroundings
from perdure.engine.runs.reopening import Asked
from perdure.model.codec import Codec, Serializer
from perdure.model.duration import Span, span_us
from perdure.model.errors import EngineClosed, InvalidOption, Unsupported
from perdure.model.ids import RunId
from perdure.model.limits import Limits
from perdure.model.retention import FOREVER, Retention
from perdure.model.run import RunRow, Status
from perdure.ports.clock import Clock, Entropy
from perdure.ports.store import RunQuery, Store
from perdure.ports.system import SystemClock, SystemEntropy
from perdure.ports.transactions import Transactions
from perdure.ports.transport import Transport
from perdure.wire.attempts import Sender
from perdure.workers.executors import LocalPerformer
from perdure.workers.transactional import Transactor

logger = logging.getLogger("perdure")

P = ParamSpec("P")
R = TypeVar("R")


class Engine(CallEnds):
    """Runs workflows on one store. ``async with Engine("sqlite:///app.db") as engine: …``

    The first engine on a store is its node: it moves the runs. Others in other processes use the same methods, reach the node through the
    store, and one of them takes over when the node ends. ``codecs`` change payloads on their way to the store, in order; ``known_codecs``
    are only read with (keys that were rotated out). ``drain``: how long `close` waits for attempts under way. ``threads``: plain actions
    that run at once. ``is_client``: never become the node. ``retention``: how long runs that have ended are kept. ``namespace``: a store
    apart under the same URL, whose own limits and retention go before the engine's. ``transports``: URLs of brokers by which workers are
    reached, beside the store itself. ``wire``: how calls are encoded on their way to workers. ``is_serving``: actions that are declared
    here are performed here. ``api_url``: where the HTTP API is reached from outside, in place of ``PERDURE_API_URL``. ``chaos``: chances
    of faults, for soak tests.
    """

    def __init__(
        self,
        store: str | Store = "sqlite:///perdure.db",
        *,
        namespace: str | None = None,
        registry: Registry | Bindings | None = None,
        limits: Limits | None = None,
        retention: Retention = FOREVER,
        codecs: Sequence[Codec] = (),
        known_codecs: Sequence[Codec] = (),
        drain: Span = "30s",
        lease: Span = "10s",
        patience: Span = "30s",
        threads: int = 32,
        name: str | None = None,
        transports: Sequence[str | Transport] = (),
        wire: Wire = "json",
        is_serving: bool = True,
        is_client: bool = False,
        api_url: str | None = None,
        chaos: str | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self._limits = structs.replace(limits or Limits())  # A copy, for a namespace's policy may change it.
        self._retention = retention.checked()
        self._serializer = Serializer(codecs, known_codecs, self._limits.payload_bytes_max)
        self._registry = (registry or default_registry).bound()
        self._registry.build_in(TASK)
        self._opening = Opening(store, namespace, chaos)
        self._store, self._owns_store = self._opening.store, isinstance(store, str)
        self._clock: Clock = clock or SystemClock()
        self._entropy: Entropy = entropy or SystemEntropy()
        self._drain_us, self._lease_us = span_us(drain), span_us(lease)
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._threads, self._is_client = threads, is_client
        self._requests = StartRequests(self._serializer, self._registry, self._clock, self._entropy, store=self._store)
        sender = Sender(namespace=namespace or "", node=self._name, lease_ms=self._lease_us // 1_000)
        outfit = Outfit(transports, content_type_of(wire), self._serializer, self._limits, api_url)
        self._calling = Calling(self._store, self._clock, sender, outfit)
        self._is_serving = is_serving
        self._remote = RemoteGateway(self._store, self._clock, self._entropy, limits=self._limits, patience_us=span_us(patience))
        look = look_for_left_answers(self._store, self._clock, self._serializer)
        self._seat = Seat(self._store, self._clock, self._make_node, remote=self._remote, on_taken=look)
        self._here: LocalPerformer | None = None
        self._is_open = False

    def _make_node(self, on_lost: Callable[[BaseException], None]) -> Node:
        transactor = Transactor(self._store, cast(Transactions, self._store) if self._store.traits.is_transactional else None)
        self._here = LocalPerformer(self._clock, self._serializer, self._threads, transactor, records=self._store)
        routed = self._calling.performer(self._here, is_serving=self._is_serving)
        tools = Tools(self._serializer, self._limits, self._registry.bind, self._registry.definition)
        around = Surroundings(self._store, self._clock, self._entropy, self._registry, routed, tools, self._lease_us, self._retention)
        return Node(around, name=self._name, on_lost=on_lost)

    async def open(self) -> Self:
        """The store is open; if no other node is, runs move. Raises `StoreUnavailable`, `Unsupported`, `InvalidOption`, `NotFound`."""
        await self._opening.check()
        await self._store.open()
        guard.install()
        _share_interpreter()
        self._is_open = True
        if not self._is_client:
            await self._calling.open(if_refused=self.close)
            await self._seat.take()
        return self

    async def close(self) -> None:
        """Attempts under way have ended, or their ``drain`` time has; everything is written; another engine may be the node at once."""
        self._is_open = False
        await self._seat.leave(drain_us=self._drain_us)
        await self._calling.close()
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
        await self._calling.close()

    def check_names(self) -> None:
        """Raise `DefinitionConflict` if two workflows, or two actions, of this process share a name."""
        self._registry.check()

    @property
    def is_node(self) -> bool:
        """Tell whether this engine moves the runs now; otherwise another does, and this one would take over."""
        return self._seat.node is not None

    async def health(self) -> Health:
        """Tell how the engine is, asking the store whether it answers. Never raises; takes at most some seconds."""
        return await check_up(self._store, self._seat.node, name=self._name, is_client=self._is_client, is_open=self._is_open)

    @property
    def node(self) -> Any:
        """The `Node` itself, ``None`` if it is elsewhere: for tests and diagnosis, without a promise about its members."""
        return self._seat.node

    @property
    def here(self) -> LocalPerformer | None:
        """What performs the actions of this process, ``None`` before the first node: for tests and diagnosis."""
        return self._here

    @property
    def store(self) -> Store:
        """The store, for read-only questions (`perdure.insight`), tests and diagnosis."""
        return self._store

    def _gateway(self) -> Gateway:
        if not self._is_open:
            raise EngineClosed(state="closed", asked="the request")
        return self._seat.gateway or self._remote

    @overload
    async def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    async def start(self, workflow: type[HasRun[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    async def start(self, workflow: str | NamedWorkflow, /, *args: Any, **kwargs: Any) -> Run[Any]: ...
    async def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Run[Any]:
        """The run is durable and will finish; gives its handle, whose ``durability`` says how durable. Raises `InvalidArguments`,
        `InvalidValue`, `RunConflict`, `RunEnded`, and `Unsupported` for a class of durability that the store cannot give.

        A workflow given by name need not be known here; its arguments are then checked when the run begins. (To type checkers that do not
        follow class decorators, a decorated class is still the class: hence the second form.)
        """
        workflow = _declared(workflow)
        gateway = self._gateway()
        request = await self._requests.make(workflow, args, kwargs)
        return self._started(workflow, request, await gateway.start(request))

    async def start_in(self, connection: Any, workflow: Any, *args: Any, **kwargs: Any) -> Run[Any]:
        """The run starts if the open transaction of ``connection`` commits, and does not exist if it rolls back.

        ``connection``: asyncpg's, or an ``AsyncConnection`` of psycopg 3, to the database of this engine's store (SQLAlchemy gives it as
        ``(await connection.get_raw_connection()).driver_connection``). A node finds the run some seconds after the commit at most; wait for
        its result after the commit, not before. Raises as `start`, and `Unsupported` if the store is not in PostgreSQL.
        """
        if not self._store.traits.is_transactional:
            raise Unsupported(what=f"start_in on {self._store.name}", why="only a store in PostgreSQL shares transactions; use start(…)")
        workflow = _declared(workflow)
        self._gateway()
        request = await self._requests.make(workflow, args, kwargs)
        refused = await cast(Transactions, self._store).write_in(connection, self._remote.start_batch(request))
        return self._started(workflow, request, refused.get(request.row.id))

    def _started(self, workflow: Any, request: StartRequest, known: RunRow | None) -> Run[Any]:
        run = self._handle(request.row.id, Any if isinstance(workflow, str | NamedWorkflow) else workflow.definition.returns)
        run.durability = request.row.durability
        if known is not None:
            check_known(request, known)
            run.durability = known.durability or run.durability
        return run

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
        name, choice, returns = self._requests.task(action, args, kwargs)
        workflow = task_workflow(StartOptions(id=None if task_id is None else RunId(task_id), tags=tuple(task_tags)))
        run = await self.start(workflow, name, choice, *args, **kwargs)
        return self._handle(run.id, returns)


def connect(store: str | Store, **options: Any) -> Engine:
    """Give an engine that is a client of the store and moves no runs: ``async with perdure.connect(url) as client: …``

    It starts, signals, asks and waits through the store, whichever nodes move the runs; ``options`` are those of `Engine`.
    """
    return Engine(store, is_client=True, **options)


SWITCH_S = 0.0005


def _share_interpreter() -> None:
    """Let a thread that waits for the interpreter have it after half a millisecond instead of five, in the whole process.

    A busy event loop otherwise starves the store's threads: the commit of a thousand rows, 4 ms of work, was seen to take seconds.
    """
    if sys.getswitchinterval() > SWITCH_S:
        sys.setswitchinterval(SWITCH_S)


def _declared(workflow: Any) -> Any:
    if not issubclass(type(workflow), Workflow | NamedWorkflow | str):
        raise InvalidOption(option="the workflow to start", found=repr(workflow), expected="what @workflow made of it, or its name")
    return workflow


def status_of(name: str) -> Status:
    """Give the status of that name; raises `InvalidOption`."""
    known = [status.value for status in Status]
    if name not in known:
        raise InvalidOption(option="status", found=repr(name), expected=", ".join(known))
    return Status(name)
