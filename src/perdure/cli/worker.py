"""``perdure worker``: performs actions for nodes elsewhere until it is told to stop."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from perdure import Action, Worker
from perdure.cli.connection import run_loop
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.loading import actions_of, load
from perdure.cli.log_lines import log_to_stderr
from perdure.cli.wording import plural
from perdure.config import settings
from perdure.model.errors import Unavailable

logger = logging.getLogger("perdure.worker")

DEFAULT_QUEUE = "default"
PAUSE_FIRST_S = 0.2
PAUSE_MAX_S = 5.0


@Parameter(name="*")
@dataclass
class Duty:
    """How a worker works."""

    connect: Annotated[str | None, Parameter(help="URL by which calls come. Default: PERDURE_CONNECT.")] = None
    namespace: Annotated[str | None, Parameter(help="A namespace of the store that --connect names (perdure ns).")] = None
    token: Annotated[
        str | None, Parameter(help="The API's token, for --connect http://…: env:NAME or file:PATH. Default: PERDURE_API_TOKEN.")
    ] = None
    wire: Annotated[Literal["json", "avro"], Parameter(help="How it encodes what it says; it reads both.")] = "json"
    queue: Annotated[str | None, Parameter(help="Only the actions of this queue. Default: all; those that name none are of 'default'.")] = (
        None
    )
    slots: Annotated[int, Parameter(help="How many attempts at once, of all actions together.")] = 32
    processes: Annotated[int | None, Parameter(help="How many actions at once in processes. Default: one for each processor.")] = None
    interval: Annotated[str, Parameter(help="The time between two beats.")] = "3s"
    drain: Annotated[
        str | None, Parameter(help="How long attempts under way may take to end when told to stop. Default: PERDURE_DRAIN, else 30s.")
    ] = None
    blocked_max: Annotated[str, Parameter(help="An event loop that is blocked for longer loses its attempts to others.")] = "1m"
    name: Annotated[str | None, Parameter(help="The worker's id begins with it. Default: host and process id.")] = None
    loop: Annotated[Literal["auto", "asyncio", "uvloop"], Parameter(help="The event loop; auto: uvloop where it is installed.")] = "auto"
    quiet: Annotated[bool, Parameter(negative="", show_default=False, help="Log warnings and errors only.")] = False


_DUTY = Duty()


def worker(*files: str, duty: Duty = _DUTY) -> Exit:
    """Perform the actions of these files for the nodes behind --connect. Nodes need not be restarted for it.

    A broker, database or API that is away is tried again until it is there; one that refuses the credentials ends the worker at once.
    SIGTERM or Ctrl-C: nothing new is taken, attempts under way end and are reported, exit code 0. A second one: at once.

    Parameters
    ----------
    files
        Python files, or names of modules.
    """
    if not files:
        raise CommandEnds(Exit.USAGE, "perdure worker: give at least one file, such as: perdure worker actions.py --connect amqp://broker")
    url = duty.connect or settings().connect
    if not url:
        raise CommandEnds(Exit.USAGE, "perdure worker: where do calls come from? Give --connect URL, or set PERDURE_CONNECT")
    actions = _actions(files, duty.queue)
    log_to_stderr(is_quiet=duty.quiet)
    code = run_loop(lambda: _Session(lambda: _worker(url, actions, duty), actions).run(), duty.loop)
    if code is not Exit.OK:
        # Threads of plain actions cannot be stopped, and the interpreter would wait for them.
        sys.stderr.flush()
        os._exit(code)
    return code


def _actions(files: Sequence[str], queue: str | None) -> list[Action[..., Any]]:
    found = [action for action in actions_of(load(files)) if not action.spec.is_transactional]
    meant = [action for action in found if queue is None or (action.spec.queue or DEFAULT_QUEUE) == queue]
    if not meant:
        whose = "" if queue is None else f" of the queue {queue!r}"
        known = ", ".join(sorted(f"{action.spec.name} ({action.spec.queue or DEFAULT_QUEUE})" for action in found)) or "none"
        raise CommandEnds(
            Exit.NOT_FOUND, f"perdure worker: the files have no actions{whose} that a worker can perform. They have: {known}."
        )
    return meant


def _worker(url: str, actions: Sequence[Action[..., Any]], duty: Duty) -> Worker:
    return Worker(
        url,
        actions,
        namespace=duty.namespace,
        token=duty.token,
        wire=duty.wire,
        slots=duty.slots,
        processes=duty.processes,
        interval=duty.interval,
        drain=duty.drain or settings().drain,
        blocked_max=duty.blocked_max,
        name=duty.name,
    )


class _Session:
    """One worker, from its opening to the end of its drain. ``make`` is called for each try to open one."""

    def __init__(self, make: Callable[[], Worker], actions: Sequence[Action[..., Any]]) -> None:
        self._make = make
        self._actions = actions
        self._stop = asyncio.Event()

    async def run(self) -> Exit:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        opening, stopping = asyncio.create_task(self._opened()), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                logger.info("stopped before it was connected")
                return Exit.OK
            worker = await opening
            logger.info("worker %s performs %s for %s", worker.id, self._names(), worker.place)
            await stopping
            return await self._close(worker)
        finally:
            opening.cancel()
            stopping.cancel()
            await asyncio.gather(opening, stopping, return_exceptions=True)

    async def _opened(self) -> Worker:
        """Whoever is not there yet is tried again until it is; what can never be is raised."""
        pause_s, complaint = PAUSE_FIRST_S, ""
        while True:
            try:
                return await self._make().open()
            except Unavailable as error:
                level = logging.DEBUG if str(error) == complaint else logging.WARNING
                logger.log(level, "not connected yet, and tried again until it is: %s", error)
                complaint = str(error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _names(self) -> str:
        return ", ".join(sorted(f"{action.spec.name} ({action.spec.queue or DEFAULT_QUEUE})" for action in self._actions))

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            logger.warning("stopped at once; attempts under way will be made again")
            logging.shutdown()
            os._exit(128 + number)
        self._stop.set()

    async def _close(self, worker: Worker) -> Exit:
        running = worker.running
        logger.info("draining: %s under way; stop again to end at once", plural(running, "attempt"))
        left = await worker.close()
        logger.info("stopped%s", f" with {plural(left, 'attempt')} given up, to be made again elsewhere" if left else "")
        return Exit.UNAVAILABLE if left else Exit.OK
