"""Keeps the log of a workflow free of what it has said before: code that is replayed logs nothing."""

import logging
from functools import wraps

from perdure.deciders.code.loop import current_context


def install() -> None:
    """Every logger passes by the replay of workflow code, whatever its handlers. Other code and other threads are as before."""
    handle = logging.Logger.handle

    @wraps(handle)
    def handle_unless_replaying(self: logging.Logger, record: logging.LogRecord) -> None:
        context = current_context()
        if context is None or not (context.is_replaying or context.is_closing):
            handle(self, record)

    logging.Logger.handle = handle_unless_replaying  # type: ignore[method-assign]
