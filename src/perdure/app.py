"""The engine as applications open it: the composition root, and the only module that names products."""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from perdure.client.gateway import Gateway, StartRequest
from perdure.client.local import LocalGateway
from perdure.client.remote import RemoteGateway
from perdure.client.run import Run
from perdure.deciders.code import guard
from perdure.deciders.code.authoring import StartOptions, Workflow
from perdure.deciders.code.definition import Registry, default_registry
from perdure.deciders.decider import Tools
from perdure.engine.node import Node, Surroundings
from perdure.model.codec import Codec, Serializer
from perdure.model.duration import Span, span_us
from perdure.model.errors import CallNotFound, EngineClosed, InvalidOption, RunConflict, RunEnded
from perdure.model.failure import failure_of
from perdure.model.ids import RunId, split_call_key
from perdure.model.limits import Limits
from perdure.model.run import HELD, RunRow, Status
from perdure.model.stimulus import Begun, Failed, Succeeded
from perdure.ports.clock import Alarm, Clock, Entropy
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
        registry: Registry | None = None,
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
        self._registry = registry or default_registry
        self._store = open_store(store) if isinstance(store, str) else store
        self._owns_store = isinstance(store, str)
        self._clock: Clock = clock or SystemClock()
        self._entropy: Entropy = entropy or SystemEntropy()
        self._drain_us = span_us(drain)
        self._threads = threads
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._is_client = is_client
        self._node: Node | None = None
        self._local: LocalGateway | None = None
        self._remote = RemoteGateway(
            self._store,
            self._clock,
            self._entropy,
            inline_max=self._limits.payload_inline_max,
            patience_us=span_us(patience),
        )
        self._is_open = False
        self._standby: Alarm | None = None
        self._standby_task: asyncio.Task[None] | None = None

    # Life.

    async def open(self) -> Self:
        """The store is open and, if no other engine is its node, runs move from now on. Raises `StoreUnavailable`, `Unsupported`."""
        await self._store.open()
        guard.install()
        self._is_open = True
        if not self._is_client and not await self._become_node():
            self._stand_by()
        return self

    async def close(self) -> None:
        """Attempts under way have ended, or their ``drain`` time has; everything is written; another engine may be the node at once."""
        self._is_open = False
        if self._standby is not None:
            self._standby.cancel()
        if self._standby_task is not None:
            await asyncio.gather(self._standby_task, return_exceptions=True)
        node, self._node, self._local = self._node, None, None
        if node is not None:
            await self._drain(node)
            await node.close()
        if self._owns_store:
            await self._store.close()

    async def _drain(self, node: Node) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        alarm = self._clock.call_at(self._clock.now_us() + self._drain_us, lambda: over.done() or over.set_result(None))
        draining = asyncio.ensure_future(node.drain())
        try:
            await asyncio.wait({draining, over}, return_when=asyncio.FIRST_COMPLETED)
            if not draining.done():
                logger.warning("%d attempts were still under way after the drain time; they will be made again", node.dispatcher.running)
        finally:
            alarm.cancel()
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def crash(self) -> None:
        """Stop at once as a killed process would, writing nothing; for tests of recovery."""
        self._is_open = False
        node, self._node, self._local = self._node, None, None
        if node is not None:
            await node.crash()

    async def _become_node(self) -> bool:
        performer = LocalPerformer(self._clock, self._serializer, self._threads)
        tools = Tools(self._serializer, self._limits)
        around = Surroundings(self._store, self._clock, self._entropy, self._registry, performer, tools)
        node = Node(around, name=self._name, on_lost=self._on_lost)
        if not await node.open():
            return False
        self._node = node
        self._local = LocalGateway(node.desk, self._store, self._registry)
        return True

    def _on_lost(self, error: BaseException) -> None:
        self._node, self._local = None, None
        if self._is_open:
            self._stand_by()

    def _stand_by(self) -> None:
        self._standby = self._clock.call_at(self._clock.now_us() + STANDBY_US, self._try_to_take_over)

    def _try_to_take_over(self) -> None:
        self._standby_task = asyncio.get_running_loop().create_task(self._take_over())

    async def _take_over(self) -> None:
        try:
            taken = await self._become_node()
        except Exception as error:
            logger.warning("taking over the runs of %s: %s", self._store.name, error)
            taken = False
        if not taken and self._is_open:
            self._stand_by()

    @property
    def is_node(self) -> bool:
        """Tell whether this engine moves the runs now; otherwise another does, and this one would take over."""
        return self._node is not None

    @property
    def node(self) -> Node | None:
        """The node itself, for tests and diagnosis."""
        return self._node

    @property
    def store(self) -> Store:
        return self._store

    def _gateway(self) -> Gateway:
        if not self._is_open:
            raise EngineClosed(state="closed", asked="the request")
        return self._local if self._local is not None else self._remote

    # Runs.

    async def start(self, workflow: Workflow[P, R] | str, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """The run is durable and will finish; gives its handle. Raises `InvalidArguments`, `InvalidValue`, `RunConflict`, `RunEnded`.

        A workflow given by name need not be known here; its arguments are then checked when the run begins.
        """
        gateway = self._gateway()
        options = StartOptions() if isinstance(workflow, str) else workflow.start_options
        request = self._request(workflow, options, args, kwargs)
        run = Run[R](
            request.row.id,
            gateway=self._gateway,
            serializer=self._serializer,
            token=self._entropy.token,
            returns=Any if isinstance(workflow, str) else workflow.definition.returns,
        )
        known = await gateway.start(request)
        if known is not None:
            await self._take_known(request, known, options)
        return run

    def _request(
        self, workflow: Workflow[..., Any] | str, options: StartOptions, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> StartRequest:
        if isinstance(workflow, str):
            name, version = workflow, 0
            contents = tuple(self._serializer.encode(value, "an argument") for value in args)
            keywords = {key: self._serializer.encode(value, "an argument") for key, value in kwargs.items()}
        else:
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
        )
        begun = Begun(contents, keywords, self._entropy.seed())
        return StartRequest(row, begun, is_checked=options.id is not None, replaces=options.on_ended == "restart")

    async def _take_known(self, request: StartRequest, known: RunRow, options: StartOptions) -> None:
        if known.definition != request.row.definition or known.input_hash != request.row.input_hash:
            raise RunConflict(run=known.id, definition=known.definition, status=known.status)
        if known.status.is_final and options.on_ended == "refuse":
            raise RunEnded(run=known.id, status=known.status, asked="the start")

    async def run(self, workflow: Workflow[P, R] | str, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a run and wait for its result."""
        return await (await self.start(workflow, *args, **kwargs)).result()

    @overload
    def get(self, id: str) -> Run[Any]: ...
    @overload
    def get(self, id: str, workflow: Workflow[P, R]) -> Run[R]: ...
    def get(self, id: str, workflow: Workflow[P, R] | None = None) -> Run[Any]:
        """Give the handle of a run, whether or not it exists; ``workflow`` tells the type of its result."""
        returns = Any if workflow is None else workflow.definition.returns
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


def list_of_statuses() -> list[str]:
    """Give the names of all statuses."""
    return [status.value for status in Status]
