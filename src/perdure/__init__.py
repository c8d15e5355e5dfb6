"""Perdure: processes that must finish. Plain ``async`` Python that survives crashes, restarts and deploys."""

from perdure.app import Engine, Worker, connect
from perdure.client.run import Run
from perdure.deciders.code.authoring import (
    Action,
    Query,
    Signal,
    Update,
    Workflow,
    action,
    call,
    query,
    signal,
    update,
    workflow,
)
from perdure.deciders.code.callbacks import Callback, callback
from perdure.deciders.code.children import Child, child
from perdure.deciders.code.definition import Registry
from perdure.deciders.code.elsewhere import RemoteAction, elsewhere
from perdure.deciders.code.inside import RunInfo, continue_as_new, info, now, patched, publish, random, record, send, uuid4
from perdure.model import errors
from perdure.model.call import Batch, Limit
from perdure.model.errors import ActionFailed, ActionTimedOut, PerdureError, RunCancelled, RunFailed
from perdure.model.limits import Limits
from perdure.model.payload import EMPTY
from perdure.model.pending import pending
from perdure.model.retention import Retention
from perdure.model.retry import GiveUp, Retry, RetryAfter
from perdure.model.run import Status
from perdure.workers.attempt import CurrentAttempt, attempt, attempts
from perdure.workers.correlation import LogContext

__all__ = [
    "EMPTY",
    "Action",
    "ActionFailed",
    "ActionTimedOut",
    "Batch",
    "Callback",
    "Child",
    "CurrentAttempt",
    "Engine",
    "GiveUp",
    "Limit",
    "Limits",
    "LogContext",
    "PerdureError",
    "Query",
    "Registry",
    "RemoteAction",
    "Retention",
    "Retry",
    "RetryAfter",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunInfo",
    "Signal",
    "Status",
    "Update",
    "Worker",
    "Workflow",
    "action",
    "attempt",
    "attempts",
    "call",
    "callback",
    "child",
    "connect",
    "continue_as_new",
    "elsewhere",
    "errors",
    "info",
    "now",
    "patched",
    "pending",
    "publish",
    "query",
    "random",
    "record",
    "send",
    "signal",
    "update",
    "uuid4",
    "workflow",
]
