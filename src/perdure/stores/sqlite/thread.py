"""A thread with a connection of its own. Protects the event loop from waiting for the disk, and reads from waiting for commits."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

import msgspec

from perdure.model.errors import CorruptJournal, EngineClosed, Internal, PerdureError, StoreUnavailable, TooLarge, Unsupported

T = TypeVar("T")
_Job = tuple[Callable[[sqlite3.Connection], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class ConnectionThread:
    """Runs jobs one after another in a thread, each with the thread's connection.

    A plain queue and one future for each job, not an executor: a lone commit pays for two thread switches and nothing else.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_abandoned = False
        self._connection: sqlite3.Connection
        # Each is counted by one side alone, the event loop's thread and this one, so that neither needs a lock.
        self._asked = 0
        self._done = 0

    async def start(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """The thread runs and is connected; raises what ``connect`` raises, as ours, and then nothing runs."""
        self._thread = threading.Thread(target=self._run, name=f"perdure {self._store}", daemon=True)
        self._thread.start()
        try:
            await self._put(lambda _: self._connect(connect))
        except BaseException:
            self._end_thread()
            raise

    def _connect(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connection = connect()

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Give what ``work`` gives. A caller that is cancelled stops waiting; the work is still done."""
        if self._thread is None:
            raise EngineClosed(state=f"closed (its store {self._store} is)", asked="a request to the store")
        return await self._put(work)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is under way or queued, and the connection is there: then, and only then, `do_here` may be called."""
        return self._asked == self._done and self._thread is not None

    def do_here(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Give what ``work`` gives. The caller waits for the disk itself, and must be in the thread that gives the jobs."""
        assert self.is_idle
        outcome, error = self._attempt(work)
        if error is not None:
            raise error
        given: T = outcome
        return given

    def _put(self, work: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._asked += 1
        self._jobs.put((work, loop, future))
        return future

    async def close(self) -> None:
        """Jobs that were queued are done, then the connection is closed; safe to call twice."""
        if self._thread is not None:
            last = self._put(sqlite3.Connection.close)
            thread = self._end_thread(waits=False)
            await last
            thread.join()

    def abandon(self) -> None:
        """As if the process had died: the job under way may be done or not, queued ones fail."""
        if self._thread is not None:
            self._is_abandoned = True
            self._end_thread()
            self._connection.close()

    def _end_thread(self, *, waits: bool = True) -> threading.Thread:
        thread = self._thread
        assert thread is not None
        self._thread = None
        self._jobs.put(None)
        if waits:
            thread.join()
        return thread

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, loop, future = job
            outcome, error = self._attempt(work)
            # The connection is free before anybody hears of the outcome.
            self._done += 1
            try:
                loop.call_soon_threadsafe(_settle, future, outcome, error)
            except RuntimeError:
                pass  # The caller's loop was closed: nobody waits for this any more.
            del job, work, loop, future, outcome, error

    def _attempt(self, work: Callable[[sqlite3.Connection], Any]) -> tuple[Any, BaseException | None]:
        if self._is_abandoned:
            return None, EngineClosed(state="gone", asked="a request to the store")
        # Before the first job there is no connection: that job makes it.
        connection: Any = getattr(self, "_connection", None)
        try:
            return work(connection), None
        except sqlite3.Error as error:
            return None, _chained(translated(error, self._store), error)
        except msgspec.DecodeError as error:
            return None, _chained(CorruptJournal(what=f"{error}, in a row of the store {self._store}"), error)
        except OSError as error:
            return None, _chained(StoreUnavailable(store=self._store, problem=str(error)), error)
        except BaseException as error:
            return None, error


def in_transaction(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Give what ``work`` gives; what it wrote is committed, or, if it raises, was never there. Other writers wait meanwhile."""
    connection.execute("begin immediate")
    try:
        given = work()
        connection.execute("commit")
        return given
    finally:
        if connection.in_transaction:
            connection.execute("rollback")


def _settle(future: "asyncio.Future[Any]", outcome: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)


def _chained(ours: PerdureError, theirs: Exception) -> PerdureError:
    ours.__cause__ = theirs
    return ours


def is_busy(error: StoreUnavailable) -> bool:
    """Tell whether the store was unavailable only because another connection had its lock."""
    return getattr(error.__cause__, "sqlite_errorname", "").startswith("SQLITE_BUSY")


def translated(error: sqlite3.Error, store: str) -> PerdureError:
    """Give our error for one of SQLite's: https://www.sqlite.org/rescode.html."""
    code = getattr(error, "sqlite_errorname", "")
    match code.split("_")[1:2]:
        case ["NOTADB"]:
            return Unsupported(what=f"The store {store}", why=f"{error}; name another file, or restore a backup")
        case ["CORRUPT"]:
            return CorruptJournal(what=f"{error}, in the store {store}")
        case ["TOOBIG"]:
            return TooLarge(f"The store {store} cannot take or give so much at once: {error}. Use fewer runs or smaller payloads.")
        case ["ERROR" | "CONSTRAINT" | "MISUSE" | "RANGE" | "MISMATCH"] | []:
            return Internal(what=f"The store {store} was used wrongly: {error}")
        case _:
            return StoreUnavailable(store=store, problem=str(error))
