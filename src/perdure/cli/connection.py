"""The way of a command to the runs: which store, how long to wait for a node, and one event loop around it."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter
from rich.console import Console

from perdure import Engine
from perdure.cli.exits import CommandEnds, Exit
from perdure.config import settings

T = TypeVar("T")

PATIENT_S = 1.0


@Parameter(name="*")
@dataclass
class Place:
    """Options of every command that works on a store."""

    store: Annotated[str | None, Parameter(help="URL of the store. Default: PERDURE_STORE, else sqlite:///perdure.db.")] = None
    namespace: Annotated[str | None, Parameter(help="A namespace of it (perdure ns).")] = None

    @property
    def url(self) -> str:
        return self.store or settings().store

    def arguments(self) -> list[str]:
        """Give the options as they stand on a command line."""
        return ["--store", self.url, *([] if self.namespace is None else ["--namespace", self.namespace])]


@Parameter(name="*")
@dataclass
class PatientPlace(Place):
    """Options of commands that a node answers."""

    patience: Annotated[
        str | None, Parameter(help="How long to wait for a node's answer, such as 30s. Default: PERDURE_PATIENCE, else 10s.")
    ] = None


def ask(place: Place, work: Callable[[Engine], Awaitable[T]]) -> T:
    """Give what ``work`` gives, with an engine that never becomes the node. The store must be there already."""
    if place.namespace is None:
        check_file(place.url)
    is_patient = isinstance(place, PatientPlace)
    patience = place.patience if isinstance(place, PatientPlace) else None
    engine = Engine(place.url, namespace=place.namespace, is_client=True, patience=patience or settings().patience)

    async def work_with_engine() -> T:
        async with engine:
            with _patience() if is_patient else contextlib.nullcontext():
                return await work(engine)

    return run_loop(work_with_engine)


def check_file(url: str) -> None:
    """End the command where the URL names a store whose file is not there."""
    file = _file_of(url)
    if file is not None and not file.exists():
        raise CommandEnds(Exit.NOT_FOUND, f"perdure: there is no store {url} ({file.resolve()}); name one with --store or PERDURE_STORE")


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """On a terminal, whoever waits for a node's answer is told so after a second."""
    console = Console(stderr=True)
    status = console.status("waiting for the answer of a node…")
    alarm = asyncio.get_running_loop().call_later(PATIENT_S, status.start) if console.is_terminal else None
    try:
        yield
    finally:
        if alarm is not None:
            alarm.cancel()
        status.stop()


def run_loop(work: Callable[[], Awaitable[T]], loop: str = "asyncio") -> T:
    """Run the coroutine to its end; SIGTERM cancels it. ``loop``: ``asyncio``, ``uvloop``, or ``auto`` for uvloop where it is installed."""
    with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
        return runner.run(_until_terminated(work))


async def _until_terminated(work: Callable[[], Awaitable[T]]) -> T:
    task = asyncio.current_task()
    assert task is not None
    is_terminated = asyncio.Event()

    def terminate() -> None:
        is_terminated.set()
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await work()
    except asyncio.CancelledError:
        if not is_terminated.is_set():
            raise
        raise CommandEnds(Exit.TERMINATED) from None


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "asyncio":
        return None
    with contextlib.suppress(ModuleNotFoundError):
        import uvloop

        return uvloop.new_event_loop
    if loop == "uvloop":
        raise CommandEnds(Exit.USAGE, "perdure: uvloop is not installed: pip install 'perdure[fast]'")
    return None


def _file_of(url: str) -> Path | None:
    """Name the file of a store that lies in a file."""
    _, separator, path = url.partition(":///")
    return Path(path).expanduser() if separator and path else None
