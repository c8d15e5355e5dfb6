"""``perdure serve --processes N``: starts N services and keeps them running. Protects from one that crashes, and from orphans."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from perdure import Engine
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.wording import plural
from perdure.model.errors import Unsupported

logger = logging.getLogger("perdure.serve")

PAUSE_FIRST_S: Final = 0.5
PAUSE_MAX_S: Final = 30.0
STEADY_S: Final = 60.0
"""Whoever lived so long is started again without a pause that grew."""
HOPELESS: Final = (Exit.USAGE, Exit.NOT_FOUND)
"""Ends that trying again will not mend: a wrong option, a file that is not there."""


@Parameter(name="*")
@dataclass
class Plan:
    """How a service runs."""

    drain: Annotated[
        str | None, Parameter(help="How long attempts under way may take to end when told to stop. Default: PERDURE_DRAIN, else 30s.")
    ] = None
    lease: Annotated[str, Parameter(help="Who is silent for so long, node or worker, loses its work to others.")] = "10s"
    threads: Annotated[int, Parameter(help="How many plain (not async) actions run at once.")] = 32
    loop: Annotated[Literal["auto", "asyncio", "uvloop"], Parameter(help="The event loop; auto: uvloop where it is installed.")] = "auto"
    name: Annotated[str | None, Parameter(help="Names this node. Default: host and process id.")] = None
    processes: Annotated[int, Parameter(help="So many processes, which share nothing but the store (PostgreSQL).")] = 1
    roles: Annotated[
        str, Parameter(help="runs,actions: a node that performs its files' actions. runs: workers perform them. api: a client.")
    ] = "runs,actions"
    transport: Annotated[
        tuple[str, ...], Parameter(negative="", help="URL of a broker by which workers are reached beside the store; may be repeated.")
    ] = ()
    wire: Annotated[Literal["json", "avro"], Parameter(help="How calls to workers are encoded; both are read.")] = "json"
    health_port: Annotated[
        int | None, Parameter(help="Answer GET /live and /ready there; the second process at the next port, and so on.")
    ] = None
    health_host: Annotated[str, Parameter(help="The address on which --health-port is open.")] = "127.0.0.1"
    api: Annotated[str | None, Parameter(help="Answer the HTTP API at HOST:PORT; the second process at the next port, and so on.")] = None
    chaos: Annotated[
        str | None, Parameter(help="For soak tests, never in production: chances of faults, such as storage=0.05,suicide=0.01,slow=0.1.")
    ] = None
    supervised: Annotated[bool, Parameter(show=False, negative="")] = False

    @property
    def is_client(self) -> bool:
        return self._roles() == {"api"}

    @property
    def is_serving(self) -> bool:
        return "actions" in self._roles()

    def _roles(self) -> set[str]:
        return {role.strip() for role in self.roles.split(",")}

    def check(self) -> None:
        """End the command if something cannot be."""
        for option, found in (("--threads", self.threads), ("--processes", self.processes)):
            if found < 1:
                raise CommandEnds(Exit.USAGE, f"perdure serve: {option}: found {found}, expected at least 1")
        if self.api is not None and not self.api.rpartition(":")[2].isdigit():
            raise CommandEnds(Exit.USAGE, f"perdure serve: --api: found {self.api!r}, expected HOST:PORT, such as 127.0.0.1:8700")
        if self._roles() - {"runs", "actions", "api"} or not self._roles() & {"runs", "api"}:
            problem = "expected some of runs, actions and api; for actions alone there is perdure worker"
            raise CommandEnds(Exit.USAGE, f"perdure serve: --roles: found {self.roles!r}, {problem}")

    def arguments(self) -> list[str]:
        """Give the options that all processes share, as they stand on a command line."""
        given = [
            ("--drain", self.drain),
            ("--lease", self.lease),
            ("--threads", str(self.threads)),
            ("--loop", self.loop),
            ("--roles", self.roles),
            ("--wire", self.wire),
            ("--chaos", self.chaos),
            *(("--transport", url) for url in self.transport),
        ]
        return [text for option, value in given if value is not None for text in (option, value)]


def refuse_many(url: str, processes: int) -> None:
    """Raise `Unsupported` for a store that one node at a time has."""
    if Engine(url).store.traits.partitions == 1:
        raise Unsupported(
            what=f"--processes {processes} on {url}", why="one node at a time has such a store; use one process, or a postgresql:// store"
        )


class Supervisor:
    """``arguments``: of ``perdure serve``, for each process. Ends with 0, or the first other code of a process that was told to stop."""

    def __init__(self, arguments: Sequence[str], plan: Plan) -> None:
        self._arguments = arguments
        self._plan = plan
        self._stop = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}

    async def run(self) -> Exit:
        """All processes have ended, after a signal or because none of them can run."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, number)
        logger.info("supervising %s; process %d", plural(self._plan.processes, "process", "processes"), os.getpid())
        codes = await asyncio.gather(*(self._keep(number) for number in range(self._plan.processes)))
        logger.info("stopped")
        return next((_exit_of(code) for code in codes if code), Exit.OK)

    def _on_signal(self, number: signal.Signals) -> None:
        """Told to stop: so are the processes; a second time, too, which ends them at once."""
        self._stop.set()
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(signal.SIGTERM if number is signal.SIGHUP else number)

    async def _keep(self, number: int) -> int:
        pause_s = PAUSE_FIRST_S
        while True:
            began = asyncio.get_running_loop().time()
            code = await self._run_once(number)
            if self._stop.is_set():
                # A service that ends by the signal itself had not begun to serve.
                return Exit.OK if code == -signal.SIGTERM else code
            if code in HOPELESS:
                self._on_signal(signal.SIGTERM)
                return code
            if asyncio.get_running_loop().time() - began > STEADY_S:
                pause_s = PAUSE_FIRST_S
            logger.error("process %d %s; it is started again in %g s", number + 1, _ending(code), pause_s)
            if await self._is_stopped_within(pause_s):
                return Exit.OK
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _run_once(self, number: int) -> int:
        command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "perdure", "serve", *self._arguments]
        child = await asyncio.create_subprocess_exec(*command, *self._own(number), stdin=asyncio.subprocess.PIPE)
        self._children[number] = child
        if self._stop.is_set():
            child.terminate()
        logger.info("process %d is %d", number + 1, child.pid)
        return await child.wait()

    def _own(self, number: int) -> list[str]:
        name = f"{self._plan.name or f'{socket.gethostname()}-{os.getpid()}'}-{number + 1}"
        port = self._plan.health_port
        health = [] if port is None else ["--health-port", str(port + number), "--health-host", self._plan.health_host]
        return ["--name", name, "--supervised", *health, *self._own_api(number)]

    def _own_api(self, number: int) -> list[str]:
        host, colon, port = (self._plan.api or "").rpartition(":")
        return ["--api", f"{host}:{int(port) + number if int(port) else 0}"] if colon else []

    async def _is_stopped_within(self, span_s: float) -> bool:
        try:
            async with asyncio.timeout(span_s):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _exit_of(code: int) -> Exit:
    """A signal's end counts as the process's own: whoever asked twice wanted it so."""
    known = 128 - code if code < 0 else code
    return Exit(known) if known in {entry.value for entry in Exit} else Exit.INTERNAL
