"""What a node's log tells of runs that start and end, for whoever watches it: at level INFO, so that it costs nothing where nobody does."""

import logging

from perdure.engine.runs.live import LiveRun
from perdure.model.command import Cancel, Complete, Fail
from perdure.model.duration import span_text

logger = logging.getLogger("perdure.runs")
is_told = logger.isEnabledFor


def tell_start(run: LiveRun | None) -> None:
    """The log has a line if the row just written was the first of the run, or of its next incarnation."""
    if run is not None and run.number == run.row.base and is_told(logging.INFO):
        begun = "started" if run.row.base == 1 else "goes on as new"
        logger.info("run %s (%s) %s", run.row.id, run.row.definition, begun, extra={"run": run.row.id})


def tell_end(run: LiveRun, last: Complete | Fail | Cancel) -> None:
    """The log has a line on how the run ended."""
    if not is_told(logging.INFO):
        return
    id, definition, took = run.row.id, run.row.definition, span_text(max(0, run.last_us - run.row.created_us))
    match last:
        case Complete():
            logger.info("run %s (%s) completed in %s", id, definition, took, extra={"run": id})
        case Cancel():
            logger.info("run %s (%s) was cancelled after %s", id, definition, took, extra={"run": id})
        case Fail():
            error = f"{last.failure.type.rpartition(':')[2]}: {last.failure.message}"
            logger.info("run %s (%s) failed after %s: %s", id, definition, took, error, extra={"run": id})
