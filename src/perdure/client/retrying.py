"""Retries many runs. Protects trees: a child is not retried before a parent that has failed because of it."""

import logging
from collections.abc import Callable

from msgspec.structs import replace

from perdure.client.gateway import Gateway
from perdure.engine.runs.reopening import Asked
from perdure.model.errors import NotRetryable
from perdure.model.ids import RunId
from perdure.model.run import RunRow, Status
from perdure.ports.store import RunQuery

logger = logging.getLogger("perdure")

PAGE = 100

OnRefused = Callable[[RunId, NotRetryable], None]


def log_refused(run: RunId, error: NotRetryable) -> None:
    """The log says why a run was not retried."""
    logger.warning("%s", error)


async def retry_runs(gateway: Callable[[], Gateway], query: RunQuery, asked: Asked, on_refused: OnRefused) -> list[RunId]:
    """The runs that the query means are retried, page by page, parents first; gives those in which something was. ``on_refused`` is told
    of each other one.
    """
    retried: dict[RunId, None] = {}
    tried: set[RunId] = set()
    query = replace(query, limit=PAGE)
    while page := await gateway().store.find(query):
        for row in page:
            for run in await _failed_line(gateway(), row):
                if run in tried:
                    continue
                tried.add(run)
                try:
                    if await gateway().retry(run, asked):
                        retried[run] = None
                except NotRetryable as error:
                    on_refused(run, error)
        query = replace(query, before=(page[-1].created_us, page[-1].id))
    return list(retried)


async def _failed_line(gateway: Gateway, row: RunRow) -> list[RunId]:
    """Give the run, after those of its parents that have failed too, eldest first."""
    line = [row.id]
    if row.status is Status.FAILED:
        while row.parent is not None:
            parent = await gateway.store.row(row.parent)
            if parent is None or parent.status is not Status.FAILED:
                break
            line.insert(0, parent.id)
            row = parent
    return line
