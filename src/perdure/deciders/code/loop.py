"""The deterministic event loop: runs what is ready, in order, and nothing else. Time stands still inside a transition."""

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any
from zlib import crc32

from perdure.deciders.code.refusals import RefusingLoop
from perdure.deciders.code.task import BranchTask
from perdure.deciders.undisturbed import WithoutCollection, WithoutHooks
from perdure.model.duration import MICROSECONDS
from perdure.model.errors import TooManySteps
from perdure.model.ids import CallName

if TYPE_CHECKING:
    from perdure.deciders.code.context import RunContext


class Callback:
    """A callback that waits for its turn, cancellable as asyncio's handles are."""

    __slots__ = ("args", "call", "context", "is_cancelled")

    def __init__(self, call: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self.call = call
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled


class DurableTimer(Callback):
    """The handle of ``call_at``: a timer that is written down."""

    __slots__ = ("_due_s", "name", "run_context")

    def __init__(self, run_context: "RunContext", name: CallName, due_s: float, callback: Callback) -> None:
        super().__init__(callback.call, callback.args, callback.context)
        self.run_context = run_context
        self.name = name
        self._due_s = due_s

    def cancel(self) -> None:
        if not self.is_cancelled:
            super().cancel()
            self.run_context.cancel_timer(self.name)

    def when(self) -> float:
        return self._due_s


class DeterministicFuture(asyncio.Future[Any]):
    """A future whose hash is the order of creation, for the sake of sets of futures."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, serial: int) -> None:
        self._serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class WorkflowLoop(RefusingLoop):
    """One run's loop: what it does not define here, real I/O above all, is refused."""

    def __init__(self, run_context: "RunContext", callbacks_max: int) -> None:
        self.run_context = run_context
        self.now_us = 0
        self.tasks: list[BranchTask] = []
        self._ready: deque[Callback] = deque()
        self._callbacks_max = callbacks_max
        # Hashes of different runs must not meet: asyncio keeps all tasks of a process in one set.
        self._serial = crc32(run_context.identity.id.encode()) << 24
        self._orphan_branches = 0
        self._orphan_calls = 0
        self._tasks_prune_at = 64

    def get_debug(self) -> bool:
        return False

    def time(self) -> float:
        """Seconds since 1970, the same for the whole transition."""
        return self.now_us / MICROSECONDS

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Callback:  # type: ignore[override]
        entry = Callback(callback, args, context)
        self._ready.append(entry)
        return entry

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Callback:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Callback:
        due_us = round(when * MICROSECONDS)
        entry = Callback(callback, args, context)
        if due_us <= self.now_us:
            self._ready.append(entry)
            return entry
        return self.run_context.start_timer(due_us, when, entry)

    def create_future(self) -> asyncio.Future[Any]:
        self._serial += 1
        return DeterministicFuture(loop=self, serial=self._serial)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: Context | None = None, **_: Any
    ) -> BranchTask:
        parent = asyncio.current_task(self)
        if isinstance(parent, BranchTask):
            path = parent.next_path()
        else:
            self._orphan_branches += 1
            path = f"~{self._orphan_branches}"
        return self.create_branch(coro, path, context)

    def create_branch(self, coro: Coroutine[Any, Any, Any], path: str, context: Context | None = None) -> BranchTask:
        """Start a branch with a given path."""
        self._serial += 1
        task = BranchTask(coro, loop=self, path=path, serial=self._serial, context=context)
        self.tasks.append(task)
        if len(self.tasks) > self._tasks_prune_at:
            self.tasks = [entry for entry in self.tasks if not entry.done()]
            self._tasks_prune_at = max(64, 2 * len(self.tasks))
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.run_context.note_unhandled(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.run_context.note_unhandled(context)

    def next_call(self) -> CallName:
        """Name the next durable operation of the branch that is running."""
        task = asyncio.current_task(self)
        if isinstance(task, BranchTask):
            return task.next_call()
        self._orphan_calls += 1
        return CallName(f"~/{self._orphan_calls}")

    def make_ready(self, entry: Callback) -> None:
        self._ready.append(entry)

    def drain(self) -> None:
        """Run callbacks in order until none is ready. Raises `TooManySteps` if that never happens."""
        # A collection in the middle of user code would call finalizers and other libraries' callbacks there, as if the code had.
        with WithoutCollection(), WithoutHooks():
            outer = events._get_running_loop()
            events._set_running_loop(self)
            try:
                self._run_ready()
            finally:
                events._set_running_loop(outer)

    def _run_ready(self) -> None:
        ready, left = self._ready, self._callbacks_max
        while ready:
            entry = ready.popleft()
            if not entry.is_cancelled:
                try:
                    entry.context.run(entry.call, *entry.args)
                except Exception as error:
                    self.call_exception_handler({"message": f"exception in callback {entry.call!r}", "exception": error})
            left -= 1
            if left <= 0:
                raise TooManySteps(limit=self._callbacks_max)

    def close(self) -> None:
        """Drop every branch. Clean-up code of the branches runs, but whatever durable thing it asks for ends it."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for task in self.tasks:
                if not task.done():
                    _drop(task)
        finally:
            events._set_running_loop(outer)
        self.tasks.clear()
        self._ready.clear()


def _drop(task: BranchTask) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coro: Any = task.get_coro()
    try:
        coro.close()
    except BaseException as error:
        # Clean-up code that tries to go on is cut off; there is nobody to tell, and the journal has nothing of it.
        del error


def current_context() -> "RunContext | None":
    """Give the context of the workflow that is running in this thread, ``None`` outside."""
    loop = events._get_running_loop()
    return loop.run_context if type(loop) is WorkflowLoop else None
