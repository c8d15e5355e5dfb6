"""``perdure serve``: a node that runs until it is told to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated

from cyclopts import Parameter

from perdure import Engine, Workflow
from perdure.cli.connection import Place, run_loop
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.loading import load
from perdure.cli.log_lines import log_to_stderr
from perdure.cli.opening_api import opened_api
from perdure.cli.probing import probes
from perdure.cli.supervising import Plan, Supervisor, refuse_many
from perdure.cli.wording import plural
from perdure.config import settings

logger = logging.getLogger("perdure.serve")

LOOK_S = 0.2
_PLACE = Place()
_PLAN = Plan()
Quiet = Annotated[bool, Parameter(negative="", show_default=False, help="Log warnings and errors only.")]


def serve(*files: str, quiet: Quiet = False, plan: Plan = _PLAN, place: Place = _PLACE) -> Exit:
    """Run the workflows of these files, and log a line for each start, end and stall. Another engine on the same store stands by.

    SIGTERM or Ctrl-C: attempts under way end, all is written, exit code 0. A second one: at once.

    Parameters
    ----------
    files
        Python files, or names of modules.
    """
    if not files:
        raise CommandEnds(Exit.USAGE, "perdure serve: give at least one file, such as: perdure serve flows.py")
    plan.check()
    if plan.processes > 1:
        log_to_stderr(is_quiet=quiet)
        refuse_many(place.url, plan.processes)
        arguments = [*files, *plan.arguments(), *place.arguments(), *(["--quiet"] if quiet else [])]
        return run_loop(lambda: Supervisor(arguments, plan).run())
    return _serve_alone(files, plan, place, is_quiet=quiet)


def _serve_alone(files: Sequence[str], plan: Plan, place: Place, *, is_quiet: bool) -> Exit:
    modules = load(files)
    log_to_stderr(is_quiet=is_quiet, name=plan.name if plan.supervised else None)
    drain = plan.drain or settings().drain
    engine = Engine(
        place.url,
        namespace=place.namespace,
        drain=drain,
        lease=plan.lease,
        threads=plan.threads,
        name=plan.name,
        transports=plan.transport,
        wire=plan.wire,
        is_serving=plan.is_serving,
        is_client=plan.is_client,
        chaos=plan.chaos,
    )
    engine.check_names()
    code = run_loop(lambda: _Service(engine, engine.store.name, modules, plan).run(), plan.loop)
    if code is not Exit.OK:
        # Threads of plain actions cannot be stopped, and the interpreter would wait for them.
        sys.stderr.flush()
        os._exit(code)
    return code


class _Service:
    """One engine, from its opening to the end of its drain."""

    def __init__(self, engine: Engine, url: str, modules: list[ModuleType], plan: Plan) -> None:
        self._engine = engine
        self._plan = plan
        self._url = url
        self._modules = modules
        self._stop = asyncio.Event()

    async def run(self) -> Exit:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        if self._plan.supervised:
            # The supervisor holds the other end for as long as it lives, whatever ends it.
            loop.add_reader(sys.stdin, self._on_orphaned)
        async with probes(self._engine, self._plan.health_host, self._plan.health_port):
            await self._engine.open()
            try:
                async with opened_api(self._engine, self._plan.api):
                    await self._until_stopped()
            finally:
                code = await self._close()
        return code

    def _on_orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin)
        logger.warning("the supervisor is gone; this process ends too")
        self._stop.set()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            logger.warning("stopped at once; attempts under way will be made again")
            logging.shutdown()
            os._exit(128 + number)
        self._stop.set()

    async def _until_stopped(self) -> None:
        was_node: bool | None = None
        while not self._stop.is_set():
            if self._engine.is_node != was_node:
                was_node = self._engine.is_node
                logger.info(self._standing(), self._url)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stop.wait()

    def _standing(self) -> str:
        if self._plan.is_client:
            return "a client of %s: it moves no runs"
        if not self._engine.is_node:
            return "standby: another engine has %s; this one takes over when that ends"
        return f"serving {_names(self._modules)} on %s"

    async def _close(self) -> Exit:
        node = self._engine.node
        running = 0 if node is None else node.dispatcher.running
        if running:
            logger.info("draining: %s under way; stop again to end at once", plural(running, "attempt"))
        await self._engine.close()
        left = 0 if node is None else node.dispatcher.running
        logger.info("stopped%s", f" with {plural(left, 'attempt')} under way, to be made again" if left else "")
        return Exit.UNAVAILABLE if left else Exit.OK


def _names(modules: list[ModuleType]) -> str:
    names = sorted({value.definition.name for module in modules for value in vars(module).values() if isinstance(value, Workflow)})
    return ", ".join(names) or "no workflows"
