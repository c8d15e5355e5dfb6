"""The engine as applications open it: the composition root, and the only module that names products."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast, overload

from perdure.client.gateway import Gateway, StartRequest
from perdure.client.local import LocalGateway
from perdure.client.remote import RemoteGateway
from perdure.client.routed import RoutedGateway
from perdure.client.run import Run
from perdure.deciders.code import guard
from perdure.deciders.code.authoring import HasRun, StartOptions, Workflow
from perdure.deciders.code.definition import Bindings, Registry, default_registry
from perdure.deciders.decider import Tools
from perdure.engine.health import Health, health_of
from perdure.engine.node import Node, Surroundings
from perdure.model.codec import Codec, Serializer
from perdure.model.duration import Span, span_us
from perdure.model.errors import CallNotFound, EngineClosed, InvalidOption, PerdureError, RunConflict, RunEnded, Unsupported
from perdure.model.failure import failure_of
from perdure.model.ids import RunId, split_call_key
from perdure.model.limits import Limits
from perdure.model.retention import FOREVER, Retention
from perdure.model.run import HELD, RunRow, Status
from perdure.model.stimulus import Begun, Failed, Succeeded
from perdure.ports.clock import Alarm, Clock, Entropy, pause
from perdure.ports.store import RunQuery, Store
from perdure.ports.system import SystemClock, SystemEntropy
from perdure.ports.transactions import Transactions
from perdure.stores.memory import MemoryStore
from perdure.stores.sqlite.store import SqliteStore
from perdure.workers.executors import LocalPerformer
from perdure.workers.transactional import Transactor

logger = logging.getLogger("perdure")

P = ParamSpec("P")
R = TypeVar("R")

STANDBY_US = 500_000
ANSWER_S = 2.0


def open_store(url: str) -> Store:
    """Give the store that a URL names: ``memory://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://…``.

    Raises `InvalidOption`, and `Unsupported` where the product's driver is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator:
        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return SqliteStore(Path(rest[1:]).expanduser(), name=url)
    if scheme in ("postgresql", "postgres") and separator:
        return _open_postgres(url)
    raise InvalidOption(
        option="the store's URL", found=repr(url), expected='"memory://", "sqlite:///file.db" or "postgresql://host/database"'
    )


def _open_postgres(url: str) -> Store:
    try:
        from perdure.stores.postgres import PostgresStore
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise Unsupported(what="A store in PostgreSQL", why="its driver is missing: pip install 'perdure[postgres]'") from error
    return PostgresStore(url)


class Seat:
    """The place of the node on one store: taken at once if it is free, else as soon as whoever has it is gone."""

    def __init__(
        self, store: Store, clock: Clock, make_node: Callable[[Callable[[BaseException], None]], Node], *, remote: RemoteGateway
    ) -> None:
        self._store = store
        self._remote = remote
        self._clock = clock
        self._make_node = make_node
        self._is_wanted = False
        self._alarm: Alarm | None = None
        self._try: asyncio.Task[None] | None = None
        self.node: Node | None = None
        self.gateway: Gateway | None = None

    async def take(self) -> None:
        """The seat is taken, or another has it and it will be asked for again and again."""
        self._is_wanted = True
        if not await self._sit_down():
            self._stand_by()

    async def _sit_down(self) -> bool:
        node = self._make_node(self._on_lost)
        if not await node.open():
            return False
        local = LocalGateway(node.desk, self._store)
        self.node = node
        self.gateway = local if self._store.traits.partitions == 1 else RoutedGateway(local, self._remote)
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
    that run at once. ``is_client``: never become the node. ``retention``: how long the node keeps
    runs that have ended.
    """

    def __init__(
        self,
        store: str | Store = "sqlite:///perdure.db",
        *,
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
        is_client: bool = False,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._retention = retention
        retention.check()
        self._serializer = Serializer(codecs, known_codecs, self._limits.payload_bytes_max)
        self._registry = (registry or default_registry).bound()
        self._store = open_store(store) if isinstance(store, str) else store
        self._owns_store = isinstance(store, str)
        self._clock: Clock = clock or SystemClock()
        self._entropy: Entropy = entropy or SystemEntropy()
        self._drain_us = span_us(drain)
        self._lease_us = span_us(lease)
        self._threads = threads
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._is_client = is_client
        self._remote = RemoteGateway(
            self._store,
            self._clock,
            self._entropy,
            inline_max=self._limits.payload_inline_max,
            patience_us=span_us(patience),
        )
        self._seat = Seat(self._store, self._clock, self._make_node, remote=self._remote)
        self._is_open = False

    def _make_node(self, on_lost: Callable[[BaseException], None]) -> Node:
        transactions = cast(Transactions, self._store) if self._store.traits.is_transactional else None
        performer = LocalPerformer(self._clock, self._serializer, self._threads, Transactor(self._store, transactions))
        tools = Tools(self._serializer, self._limits, self._registry.bind)
        around = Surroundings(self._store, self._clock, self._entropy, self._registry, performer, tools, self._lease_us, self._retention)
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

    async def health(self) -> Health:
        """Tell how the engine is, asking the store whether it answers. Never raises; takes at most some seconds."""
        problem = None
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._store.row(RunId(""))
        except (PerdureError, TimeoutError) as error:
            problem = str(error) or f"The store {self._store.name} did not answer within {ANSWER_S:g} s."
        node = self._seat.node
        if node is not None:
            return health_of(node, problem)
        total = self._store.traits.partitions
        is_ready = self._is_client and self._is_open and problem is None
        return Health(node=self._name, is_ready=is_ready, is_draining=not self._is_open, partitions_total=total, trouble=problem)

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
        """The run is durable and will finish; gives its handle, whose ``durability`` says how durable. Raises `InvalidArguments`,
        `InvalidValue`, `RunConflict`, `RunEnded`, and `Unsupported` for a class of durability that the store cannot give.

        A workflow given by name need not be known here; its arguments are then checked when the run begins. (To type checkers that do not
        follow class decorators, a decorated class is still the class: hence the second form.)
        """
        workflow = _declared(workflow)
        gateway = self._gateway()
        options = StartOptions() if isinstance(workflow, str) else workflow.start_options
        request = self._request(workflow, options, args, kwargs)
        run: Run[Any] = Run(
            request.row.id,
            gateway=self._gateway,
            serializer=self._serializer,
            token=self._entropy.token,
            returns=Any if isinstance(workflow, str) else workflow.definition.returns,
        )
        run.durability = request.row.durability
        if request.replaces:
            request.row.base = await self._base_after(request.row.id)
        known = await gateway.start(request)
        if known is not None:
            await self._take_known(request, known, options)
            run.durability = known.durability or run.durability
        return run

    def _request(
        self, workflow: Workflow[..., Any] | str, options: StartOptions, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> StartRequest:
        if isinstance(workflow, str):
            name, version = workflow, 0
            contents = tuple(self._serializer.encode(value, "an argument") for value in args)
            keywords = {key: self._serializer.encode(value, "an argument") for key, value in kwargs.items()}
        else:
            self._registry.bind(workflow.definition)
            name, version = workflow.definition.name, options.version or 0
            contents, keywords = workflow.definition.encode_arguments(self._serializer, args, kwargs)
        now_us = self._clock.now_us()
        row = RunRow(
            id=options.id or RunId(self._entropy.token()),
            definition=name,
            version=version,
            input_hash=self._serializer.digest(args, kwargs) if options.id is not None else "",
            tags=options.tags,
            created_us=now_us,
            updated_us=now_us,
            wake_us=HELD,
            durability=self._store.grants(options.durability),
        )
        end_us = None if options.timeout_us is None else now_us + options.timeout_us
        begun = Begun(contents, keywords, self._entropy.seed(), end_us=end_us)
        return StartRequest(row, begun, is_checked=options.id is not None, replaces=options.on_ended == "restart")

    async def start_in(self, connection: Any, workflow: Any, *args: Any, **kwargs: Any) -> Run[Any]:
        """The run starts if the open transaction of ``connection`` commits, and does not exist if it rolls back.

        ``connection``: an asyncpg connection, a psycopg async connection, or SQLAlchemy's async connection or session over one of
        them, to the database of this engine's store. A node finds the run at its next look, at most some seconds after the commit. Wait for its
        result after the commit, not before. Raises as `start`; `Unsupported` if the store is not in PostgreSQL.
        """
        if not self._store.traits.is_transactional:
            raise Unsupported(what=f"start_in on {self._store.name}", why="only a store in PostgreSQL shares transactions; use start(…)")
        workflow = _declared(workflow)
        self._gateway()
        options = StartOptions() if isinstance(workflow, str) else workflow.start_options
        request = self._request(workflow, options, args, kwargs)
        run = self.get(request.row.id) if isinstance(workflow, str) else self.get(request.row.id, workflow)
        run.durability = request.row.durability
        refused = await cast(Transactions, self._store).write_in(connection, self._remote.start_batch(request))
        if request.row.id in refused:
            await self._take_known(request, refused[request.row.id], options)
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
        returns = Any if workflow is None else _declared(workflow).definition.returns
        return Run(RunId(id), gateway=self._gateway, serializer=self._serializer, token=self._entropy.token, returns=returns)

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
        if status is not None and status not in list_of_statuses():
            raise InvalidOption(option="status", found=repr(status), expected=", ".join(list_of_statuses()))
        query = RunQuery(
            status=None if status is None else Status(status),
            tag=tag,
            definition=definition,
            parent=None if parent is None else RunId(parent),
            before=None if before is None else (before.created_us, before.id),
            limit=limit,
        )
        return await self._gateway().store.find(query)

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


def list_of_statuses() -> list[str]:
    """Give the names of all statuses."""
    return [status.value for status in Status]
