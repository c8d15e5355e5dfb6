"""Processes that perform actions. Protects the event loop from what computes, and the worker from what crashes."""

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from signal import Signals
from typing import Any, Final

import msgspec

from perdure.model.call import Attempt, Outcome
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidOption, ProcessDied
from perdure.model.failure import Failure
from perdure.model.payload import Content
from perdure.workers.processes.frames import HEAD, Ended, Order, Progress, Stop, frame, read_word

logger = logging.getLogger("perdure.worker")

GRACE_S: Final = 5.0
_PROGRAM: Final = (
    "import sys; sys.path[:] = __import__('json').loads(sys.argv[2]); "
    "from perdure.workers.processes.child import main; main(int(sys.argv[1]), sys.argv[2])"
)


class Process:
    """One process, which performs one call at a time."""

    def __init__(self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._size: int | None = None

    @property
    def is_alive(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.poll() is None

    @classmethod
    async def start(cls) -> "Process":
        """Give a process that is ready to be given orders, or will be soon."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.to_thread(_start, theirs)
        return cls(process, *await asyncio.open_connection(sock=ours))

    async def perform(self, order: Order, report: Callable[[Content], None]) -> Ended:
        """Give how it ended. Raises `ProcessDied`."""
        try:
            self._writer.write(frame(order))
            await self._writer.drain()
            return await self._until_ended(report)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ProcessDied(message=await self._obituary(order)) from error

    async def _until_ended(self, report: Callable[[Content], None]) -> Ended:
        while True:
            word = read_word(await self._next_body())
            match word:
                case Progress():
                    report(word.details)
                case Ended():
                    return word

    async def _next_body(self) -> bytes:
        """Whoever reads may be cancelled between a frame's head and its body; the next one goes on there."""
        size = self._size
        if size is None:
            (size,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            self._size = size
        body = await self._reader.readexactly(size)
        self._size = None
        return body

    async def _obituary(self, order: Order) -> str:
        code = await asyncio.to_thread(self._process.wait)
        how = f"signal {-code} ({_signal(-code)})" if code < 0 else f"exit code {code}"
        return f"the process of {order.action} ended by {how} during attempt {order.number}"

    async def stop(self) -> bool:
        """The action is asked to return; ``True`` if it did within the grace."""
        try:
            async with asyncio.timeout(GRACE_S):
                self._writer.write(frame(Stop()))
                await self._until_ended(lambda _: None)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            return False
        return True

    def end(self) -> None:
        """It is about to be gone."""
        self._process.kill()

    async def kill(self) -> None:
        """It is gone; safe to call twice."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def _start(theirs: socket.socket) -> "subprocess.Popen[bytes]":
    number = theirs.fileno()
    paths = msgspec.json.encode(sys.path).decode()
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, str(number), paths], stdin=subprocess.DEVNULL, pass_fds=[number])


def _signal(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return "of no name"


class ProcessPool:
    """Up to ``processes_max`` processes, started when they are needed. One that crashed is replaced by the next call that needs it."""

    def __init__(self, serializer: Serializer, processes_max: int) -> None:
        self._serializer = serializer
        self._free = asyncio.Semaphore(processes_max)
        self._idle: list[Process] = []
        self._busy: set[Process] = set()
        self._stopping: set[asyncio.Task[None]] = set()

    async def perform(self, attempt: Attempt, report: Callable[[Content], None]) -> Outcome:
        """Give how the attempt ended; ``report`` is called with its details. Raises `ProcessDied`, `InvalidValue`, `InvalidOption`.

        Cancelled, it asks the action to return, and kills its process after a grace.
        """
        order = _order(attempt, self._serializer)
        await self._free.acquire()
        process = await self._take()
        try:
            ended = await process.perform(order, lambda details: report(self._serializer.seal(details)))
        except asyncio.CancelledError:
            self._later(self._stop_in_time(process))
            raise
        except BaseException:
            await self._drop(process)
            raise
        self._keep(process)
        return self._outcome(ended)

    async def _take(self) -> Process:
        """Give a process that is free."""
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                self._busy.add(process)
                return process
            await process.kill()
        starting = asyncio.ensure_future(Process.start())
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._later(self._keep_started(starting))
            raise
        except BaseException:
            self._free.release()
            raise
        self._busy.add(process)
        return process

    async def _keep_started(self, starting: "asyncio.Future[Process]") -> None:
        try:
            self._keep(await starting)
        except OSError as error:
            logger.error("a process could not be started: %s", error)
            self._free.release()

    def _keep(self, process: Process) -> None:
        self._busy.discard(process)
        self._idle.append(process)
        self._free.release()

    async def _drop(self, process: Process) -> None:
        await process.kill()
        self._busy.discard(process)
        self._free.release()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _stop_in_time(self, process: Process) -> None:
        if await process.stop():
            self._keep(process)
        else:
            logger.warning("an action did not return within %g s of its cancellation; its process is killed", GRACE_S)
            await self._drop(process)

    def _outcome(self, ended: Ended) -> Outcome:
        if ended.failure is not None:
            failure = msgspec.json.decode(ended.failure, type=Failure)
            return Outcome(failure=failure, retry_after_us=ended.retry_after_us, error_types=ended.error_types)
        return Outcome(None if ended.content is None else self._serializer.seal(ended.content))

    async def close(self) -> None:
        """No process runs any more."""
        for process in self._busy:
            process.end()
        await asyncio.gather(*self._stopping, return_exceptions=True)
        processes, self._idle, self._busy = [*self._idle, *self._busy], [], set()
        await asyncio.gather(*(process.kill() for process in processes))


def _order(attempt: Attempt, serializer: Serializer) -> Order:
    def bare(content: Content) -> Content:
        return Content(content.codec.partition("+")[0], serializer.plain(content))

    function: Any = attempt.spec.function
    module, file = _place(function.__module__)
    return Order(
        module=module,
        file=file,
        function=function.__qualname__,
        action=attempt.spec.name,
        args=tuple([bare(content) for content in attempt.args]),
        kwargs={name: bare(content) for name, content in attempt.kwargs.items()},
        run=attempt.run,
        base=attempt.base,
        call=attempt.call,
        number=attempt.number,
        sequence=attempt.sequence,
        end_us=attempt.end_us,
        details=None if attempt.details is None else bare(attempt.details),
    )


def _place(module: str) -> tuple[str, str]:
    """Say how a process imports the module: by its name, or, for the program itself, by its file."""
    if module != "__main__":
        return module, ""
    main: Any = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:
        return main.__spec__.name, ""
    file = getattr(main, "__file__", None)
    if file is None:
        raise InvalidOption(option="runs_in='process'", found="an action that was typed in", expected="an action in a file")
    return module, file
