"""The program of a process: imports the action's module by its name, performs one call after another, and ends when its worker has gone."""

import contextvars
import importlib
import os
import queue
import runpy
import signal
import socket
import sys
import threading
from functools import cache
from types import ModuleType
from typing import Any, Final

import msgspec

from perdure.deciders.code.authoring import Action
from perdure.deciders.code.signature import Signature
from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.codec import Serializer
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content
from perdure.model.pending import PENDING
from perdure.ports.system import SystemClock
from perdure.workers.attempt import CurrentAttempt, enter
from perdure.workers.outcomes import content_of_result, failed
from perdure.workers.processes.frames import HEAD, Ended, Order, Progress, Stop, frame, read_order

_MAIN: Final = "__mp_main__"
"""The name under which `multiprocessing`, too, imports the program that is no module, so that it does not run again."""


class Line:
    """The way to the worker."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming = connection.makefile("rb")
        self._lock = threading.Lock()

    def say(self, message: Progress | Ended) -> None:
        """The worker will hear it. From any thread."""
        with self._lock:
            self._connection.sendall(frame(message))

    def hear(self) -> Order | Stop | None:
        """Give what the worker says next; ``None`` when it has gone."""
        head = self._incoming.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        (size,) = HEAD.unpack(head)
        body = self._incoming.read(size)
        return None if len(body) < size else read_order(body)


class Performing:
    """Performs orders in the main thread, while another one listens."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        # The worker checks sizes: it knows the limit.
        self._serializer = Serializer(bytes_max=sys.maxsize)
        self._current: CurrentAttempt | None = None

    def run(self) -> None:
        """Orders are performed until the worker has gone."""
        threading.Thread(target=self._listen, name="perdure-orders", daemon=True).start()
        while True:
            order = self._orders.get()
            self._line.say(contextvars.copy_context().run(self._perform, order))

    def _listen(self) -> None:
        while (heard := self._line.hear()) is not None:
            if isinstance(heard, Order):
                self._current = CurrentAttempt(_attempt(heard), self._serializer, self._beat, clock=SystemClock())
                self._orders.put(heard)
            elif self._current is not None:
                self._current.is_cancelled = True
        # Whatever computes here, nobody will take its outcome.
        os._exit(0)

    def _beat(self, attempt: Attempt, details: Content) -> None:
        self._line.say(Progress(details))

    def _perform(self, order: Order) -> Ended:
        try:
            assert self._current is not None
            enter(self._current)
            function, signature = _found(order.module, order.file, order.function)
            args, kwargs = signature.decode(self._serializer, order.args, order.kwargs)
            value = function(*args, **kwargs)
            if value is PENDING:
                return Ended()
            return Ended(content_of_result(self._serializer, value, returns=signature.returns, name=order.action))
        except BaseException as error:
            return _ended(failed(error, 0))


def _attempt(order: Order) -> Attempt:
    return Attempt(
        RunId(order.run),
        order.base,
        CallName(order.call),
        order.number,
        ActionSpec(name=order.action),
        order.args,
        order.kwargs,
        order.end_us,
        order.details,
        order.sequence,
    )


def _ended(outcome: Outcome) -> Ended:
    failure = outcome.failure
    assert failure is not None
    own = msgspec.structs.replace(failure, type=_named(failure.type))
    return Ended(None, msgspec.json.encode(own), tuple(map(_named, outcome.error_types)), outcome.retry_after_us)


def _named(type_name: str) -> str:
    """Name a class of the program itself as the worker names it."""
    return type_name.replace(f"{_MAIN}:", "__main__:", 1) if type_name.startswith(f"{_MAIN}:") else type_name


@cache
def _found(module_name: str, file: str, name: str) -> tuple[Any, Signature]:
    found: Any = _program(file) if file else importlib.import_module(module_name)
    for part in name.split("."):
        found = getattr(found, part)
    function = found.function if isinstance(found, Action) else found
    return function, Signature(function)


@cache
def _program(file: str) -> ModuleType:
    module = ModuleType(_MAIN)
    sys.modules[_MAIN] = sys.modules["__main__"] = module
    vars(module).update(runpy.run_path(file, run_name=_MAIN))
    return module


def main(descriptor: int, paths: str) -> None:
    """Serve the worker at the other end of the socket. ``paths``: where its modules are, as JSON."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Both reach the whole group; the worker drains and then lets this process go.
        signal.signal(number, signal.SIG_IGN)
    sys.path[:] = msgspec.json.decode(paths, type=list[str])
    Performing(Line(socket.socket(fileno=descriptor))).run()
