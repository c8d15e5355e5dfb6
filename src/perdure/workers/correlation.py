"""Tells log records which run, call and attempt they belong to, so that the lines of one run can be picked out of many."""

import logging
from typing import Final

from perdure.deciders.code.loop import current_context
from perdure.workers.attempt import current_attempt

_ENGINE: Final = ("perdure", "perdure.engine", "perdure.runs", "perdure.stores", "perdure.chaos", "perdure.serve")


class LogContext(logging.Filter):
    """A filter that drops nothing: every record gets ``run``, ``call`` and ``attempt``.

    Inside an action they are its own, whichever logger is used; in workflow code, and where the engine speaks of a run, ``run`` is set;
    what does not apply is ``""``. Add it to a handler (``handler.addFilter(perdure.LogContext())``): a logger's filters do not see
    what its children log. An attribute that a record has already (``extra=…``) is left as it is.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Give ``True``, with the record completed."""
        # The engine's work goes on in the context of whatever woke it: what it says of a run it says itself.
        found = {} if record.name in _ENGINE else _found()
        for name in ("run", "call", "attempt"):
            if not hasattr(record, name):
                setattr(record, name, found.get(name, ""))
        return True


def _found() -> dict[str, object]:
    # First: workflow code too runs in the context of whatever woke it, such as an action that has just ended.
    workflow = current_context()
    if workflow is not None:
        return {"run": workflow.identity.id}
    current = current_attempt()
    if current is not None:
        return {"run": current.run, "call": current.call, "attempt": current.number}
    return {}
