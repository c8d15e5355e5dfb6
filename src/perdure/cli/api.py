"""``perdure api``: the HTTP API in a process of its own, which moves no runs."""

import asyncio
import logging
import signal
from typing import Annotated

from cyclopts import Parameter

from perdure import Engine
from perdure.cli.connection import Place, run_loop
from perdure.cli.exits import Exit
from perdure.cli.log_lines import log_to_stderr
from perdure.cli.opening_api import opened_api
from perdure.cli.serve import Quiet
from perdure.config import settings

logger = logging.getLogger("perdure.api")

_PLACE = Place()


def api(
    *,
    listen: Annotated[str, Parameter(help="HOST:PORT. Beyond this machine only once the store has an API token (perdure token).")] = (
        "127.0.0.1:8700"
    ),
    patience: Annotated[str | None, Parameter(help="How long a node's answer is waited for. Default: PERDURE_PATIENCE, else 10s.")] = None,
    quiet: Quiet = False,
    place: Place = _PLACE,
) -> Exit:
    """Answer the HTTP API of a store, whichever nodes move its runs. SIGTERM or Ctrl-C: requests under way are answered, exit code 0."""
    log_to_stderr(is_quiet=quiet)
    engine = Engine(place.url, namespace=place.namespace, is_client=True, patience=patience or settings().patience)

    async def work() -> Exit:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with engine, opened_api(engine, listen):
            await stop.wait()
        logger.info("stopped")
        return Exit.OK

    return run_loop(work)
