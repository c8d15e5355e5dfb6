"""The engine for programs without an event loop: the same methods, without ``await``."""

import asyncio
import builtins
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from perdure.app import Engine as AsyncEngine
from perdure.app.wires import Wire
from perdure.client.retrying import OnRefused, log_refused
from perdure.client.run import Run as AsyncRun
from perdure.deciders.code.authoring import Action, HasRun, Query, Signal, Update, Workflow
from perdure.deciders.code.definition import Bindings, Registry
from perdure.engine.health import Health
from perdure.insight import AnyReason, Entry
from perdure.model.codec import Codec
from perdure.model.duration import MICROSECONDS, Span, span_us
from perdure.model.errors import EngineClosed, Unsupported
from perdure.model.ids import CallName, RunId
from perdure.model.limits import Limits
from perdure.model.retention import FOREVER, Retention
from perdure.model.run import RunRow, Status
from perdure.ports.clock import Clock, Entropy
from perdure.ports.store import Store
from perdure.ports.transport import Transport

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_END = object()


class LoopThread:
    """An event loop in a thread of its own. Protects callers from waiting on a loop that will never answer."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """The loop runs; safe to call twice."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A program that ends without closing the engine is not held up: whatever was acknowledged is written.
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="perdure-engine", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """The loop has ended, and with it whatever still waited; safe to call twice."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def call(self, make: Callable[[], Coroutine[Any, Any, T]], *, timeout: Span | None = None) -> T:
        """Give what the coroutine gives, or raise what it raises; `TimeoutError` after ``timeout``. Interrupted, it stops waiting."""
        with self._lock:  # So that nothing is handed to a loop that has stopped.
            if self._loop is None:
                raise EngineClosed(state="closed", asked="the request")
            if threading.current_thread() is self._thread:
                why = "it would wait for itself; async actions use perdure.Engine, plain ones run in threads where this works"
                raise Unsupported(what="a blocking call in the engine's own event loop", why=why)
            waiting = asyncio.run_coroutine_threadsafe(make(), self._loop)
        try:
            return waiting.result(None if timeout is None else span_us(timeout) / MICROSECONDS)
        except CancelledError:
            raise EngineClosed(state="closed", asked="the wait") from None
        finally:
            # After an interrupt or a timeout nobody waits any more; cancelling what is done does nothing.
            waiting.cancel()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


class Run(Generic[R]):
    """A handle; holding it costs nothing and does not keep the run alive. All methods may be called from several threads."""

    def __init__(self, run: AsyncRun[R], thread: LoopThread) -> None:
        self.id: RunId = run.id
        self._run = run
        self._thread = thread

    def result(self, *, timeout: Span | None = None) -> R:
        """Wait for the end and give the value; raises as `perdure.Run.result` does, and `TimeoutError` if it takes longer (it goes on)."""
        return self._thread.call(self._run.result, timeout=timeout)

    def status(self) -> Status:
        """Give where the run stands. Raises `RunNotFound`."""
        return self._thread.call(self._run.status)

    def state(self) -> dict[str, Any]:
        """Give what the code published last, empty if nothing; no code runs for it."""
        return self._thread.call(self._run.state)

    def why(self) -> list[AnyReason]:
        """Tell what the run waits for, with source lines; empty if it has ended."""
        return self._thread.call(self._run.why)

    @overload
    def send(self, signal: Signal[None], value: None = None, *, id: str | None = None) -> None: ...
    @overload
    def send(self, signal: Signal[T], value: T, *, id: str | None = None) -> None: ...
    @overload
    def send(self, signal: str, value: Any = None, *, id: str | None = None) -> None: ...
    def send(self, signal: Any, value: Any = None, *, id: str | None = None) -> None:
        """The signal is durable; see `perdure.Run.send`."""
        self._thread.call(lambda: self._run.send(signal, value, id=id))

    @overload
    def update(self, update: Update[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def update(self, update: Update[..., T], *args: Any, update_id: str, **kwargs: Any) -> T: ...
    @overload
    def update(self, update: str, *args: Any, update_id: str | None = None, **kwargs: Any) -> Any: ...
    def update(self, update: Any, *args: Any, **kwargs: Any) -> Any:
        """Give the update's answer; see `perdure.Run.update`."""
        return self._thread.call(lambda: self._run.update(update, *args, **kwargs))

    @overload
    def query(self, query: Query[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def query(self, query: str, *args: Any, **kwargs: Any) -> Any: ...
    def query(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Give the answer of a query method; the run does not move."""
        return self._thread.call(lambda: self._run.query(query, *args, **kwargs))

    def cancel(self, reason: str = "") -> bool:
        """The run has been asked to end: its code sees ``CancelledError`` and may clean up. ``False`` if it has ended already."""
        return self._thread.call(lambda: self._run.cancel(reason))

    def resume(self) -> Status | None:
        """A stalled run is tried again with the code that is registered now; gives its status after that."""
        return self._thread.call(self._run.resume)

    def retry(
        self,
        call: str | None = None,
        *,
        action: str | Action[..., Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> list[CallName]:
        """Failed calls of the run are made again; gives their names. See `perdure.Run.retry`."""
        return self._thread.call(lambda: self._run.retry(call, action=action, args=args, kwargs=kwargs))

    def journal(self) -> Iterator[Entry]:
        """Give the facts so far, oldest first."""
        return self._entries(self._run.journal)

    def watch(self) -> Iterator[Entry]:
        """Give the facts so far and then each new one, until the run has ended."""
        return self._entries(self._run.watch)

    def _entries(self, begin: Callable[[], AsyncIterator[Entry]]) -> Iterator[Entry]:
        entries: Any = begin()

        async def after() -> Any:
            return await anext(entries, _END)

        try:
            while (entry := self._thread.call(after)) is not _END:
                yield entry
        finally:
            # Left half-way, the reader's place is given up in the loop it belongs to; a closed engine has done so already.
            try:
                self._thread.call(entries.aclose)
            except EngineClosed:
                pass

    def __repr__(self) -> str:
        return f"<run {self.id}>"


class Engine:
    """Runs workflows on one store, from any thread. ``with Engine("sqlite:///app.db") as engine: …``

    The options are those of `perdure.Engine`. Async actions share one event loop in a thread of the engine; plain ones have their own.
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
        self._engine = AsyncEngine(
            store,
            namespace=namespace,
            registry=registry,
            limits=limits,
            retention=retention,
            codecs=codecs,
            known_codecs=known_codecs,
            drain=drain,
            lease=lease,
            patience=patience,
            threads=threads,
            name=name,
            transports=transports,
            wire=wire,
            is_serving=is_serving,
            is_client=is_client,
            api_url=api_url,
            chaos=chaos,
            clock=clock,
            entropy=entropy,
        )
        self._thread = LoopThread()

    def open(self) -> Self:
        """The store is open and, if no other engine is its node, runs move from now on. Raises `StoreUnavailable`, `Unsupported`."""
        self._thread.start()
        try:
            self._thread.call(self._engine.open)
        except BaseException:
            self._thread.stop()
            raise
        return self

    def close(self) -> None:
        """Attempts under way have ended, or their ``drain`` time has; everything is written. Safe to call twice.

        Interrupted, it stops at once: attempts that were under way will be made again.
        """
        try:
            self._thread.call(self._engine.close)
        except EngineClosed:
            pass
        finally:
            self._thread.stop()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def is_node(self) -> bool:
        """Tell whether this engine moves the runs now; otherwise another does, and this one would take over."""
        return self._engine.is_node

    def check_names(self) -> None:
        """Raise `DefinitionConflict` if two workflows, or two actions, of this process share a name."""
        self._engine.check_names()

    @overload
    def start(self, workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    def start(self, workflow: type[HasRun[P, R]], *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    def start(self, workflow: str, *args: Any, **kwargs: Any) -> Run[Any]: ...
    def start(self, workflow: Any, *args: Any, **kwargs: Any) -> Run[Any]:
        """The run is durable and will finish; gives its handle. See `perdure.Engine.start`."""
        return Run(self._thread.call(lambda: self._engine.start(workflow, *args, **kwargs)), self._thread)

    @overload
    def run(self, workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run(self, workflow: type[HasRun[P, R]], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run(self, workflow: str, *args: Any, **kwargs: Any) -> Any: ...
    def run(self, workflow: Any, *args: Any, **kwargs: Any) -> Any:
        """Start a run and wait for its result."""
        return self.start(workflow, *args, **kwargs).result()

    def health(self) -> Health:
        """Tell how the engine is, asking the store whether it answers. Never raises; takes at most some seconds."""
        return self._thread.call(self._engine.health)

    @overload
    def get(self, id: str) -> Run[Any]: ...
    @overload
    def get(self, id: str, workflow: Workflow[P, R] | type[HasRun[P, R]]) -> Run[R]: ...
    def get(self, id: str, workflow: Any = None) -> Run[Any]:
        """Give the handle of a run, whether or not it exists; ``workflow`` tells the type of its result."""
        return Run(self._engine.get(id, workflow), self._thread)

    def list(
        self,
        *,
        status: Status | str | None = None,
        tag: str | None = None,
        definition: str | None = None,
        parent: str | None = None,
        before: RunRow | None = None,
        limit: int = 100,
    ) -> builtins.list[RunRow]:
        """Give runs, newest first, at most ``limit``; ``before`` the last row of a page gives the next page."""
        return self._thread.call(
            lambda: self._engine.list(status=status, tag=tag, definition=definition, parent=parent, before=before, limit=limit)
        )

    def retry(
        self,
        *,
        status: Status | str = Status.FAILED,
        action: str | Action[..., Any] | None = None,
        definition: str | None = None,
        tag: str | None = None,
        on_refused: OnRefused = log_refused,
    ) -> builtins.list[RunId]:
        """The failed calls of these runs are made again; gives the runs. See `perdure.Engine.retry`."""
        return self._thread.call(
            lambda: self._engine.retry(status=status, action=action, definition=definition, tag=tag, on_refused=on_refused)
        )

    @overload
    def dispatch(self, action: Action[P, R], *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    def dispatch(
        self, action: Action[..., R], *args: Any, task_id: str | None = None, task_tags: Sequence[str] = (), **kwargs: Any
    ) -> Run[R]: ...
    @overload
    def dispatch(self, action: str, *args: Any, task_id: str | None = None, task_tags: Sequence[str] = (), **kwargs: Any) -> Run[Any]: ...
    def dispatch(self, action: Any, *args: Any, **kwargs: Any) -> Run[Any]:
        """A run that is this one call is durable; gives its handle. See `perdure.Engine.dispatch`."""
        return Run(self._thread.call(lambda: self._engine.dispatch(action, *args, **kwargs)), self._thread)

    def complete(self, key: str, value: Any = None) -> None:
        """The open call has this value; see `perdure.Engine.complete`."""
        self._thread.call(lambda: self._engine.complete(key, value))

    def fail(self, key: str, error: BaseException | str) -> None:
        """The open call ends with this error; see `perdure.Engine.fail`."""
        self._thread.call(lambda: self._engine.fail(key, error))
