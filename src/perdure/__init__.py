"""Perdure: processes that must finish. Plain ``async`` Python that survives crashes, restarts and deploys."""

from perdure.app import Engine, connect
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
from perdure.deciders.code.definition import Registry
from perdure.deciders.code.inside import RunInfo, continue_as_new, info, now, patched, publish, random, record, send, uuid4
from perdure.model import errors
from perdure.model.errors import ActionFailed, ActionTimedOut, PerdureError, RunCancelled, RunFailed
from perdure.model.limits import Limits
from perdure.model.retention import Retention
from perdure.model.retry import Retry
from perdure.model.run import Status
from perdure.workers.attempt import CurrentAttempt, GiveUp, RetryAfter, attempt, pending

__all__ = [
    "Action",
    "ActionFailed",
    "ActionTimedOut",
    "CurrentAttempt",
    "Engine",
    "GiveUp",
    "Limits",
    "PerdureError",
    "Query",
    "Registry",
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
    "Workflow",
    "action",
    "attempt",
    "call",
    "connect",
    "continue_as_new",
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
