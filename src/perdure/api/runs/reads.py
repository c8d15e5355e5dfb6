"""Runs over HTTP: start them, look at them, ask things of them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from perdure import Engine, Run, insight
from perdure.api.endpoint import Answer, Asked, Nothing
from perdure.api.problems import Refusal
from perdure.api.waiting import Waiting, WaitMs
from perdure.model import fact as facts
from perdure.model.durability import Durability
from perdure.model.duration import instant
from perdure.model.failure import Failure
from perdure.model.run import HELD, RunRow, Status

Name = Annotated[str, Meta(min_length=1, pattern="^[^\\x00]*$")]
"""No store but memory holds a NUL character in a name, and a node that is handed one stops."""
Limit = Annotated[int, Meta(ge=1, le=1_000)]


class StartBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A run to start. ``definition``: the workflow's name. ``id``: started again with it, it is the same run; so is the header
    Idempotency-Key. ``on_ended``: what a start does when that run has ended. ``timeout``: such as ``"1h 30m"``.
    """

    definition: Name
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    id: Name | None = None
    version: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    tags: list[Name] = field(default_factory=list)
    on_ended: Literal["return", "refuse", "restart"] = "return"
    timeout: str | None = None
    durability: Durability | None = None


class Started(Struct, kw_only=True):
    """``durability``: the class that the start got."""

    id: str
    durability: Durability | None = None


class RunView(Struct, kw_only=True):
    """A run as it stands. ``wakes``: when it is due; ``null`` where only a stimulus moves it, or a node holds it. ``reason``: why it is
    stalled or parked. ``state``: what its code published last, in the answer for one run.
    """

    id: str
    definition: str
    version: int
    status: Status
    tags: list[str]
    parent: str | None
    created: datetime
    updated: datetime
    wakes: datetime | None
    reason: str | None
    durability: Durability | None
    state: dict[str, Any] | None = None


class ListQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which runs, newest first. ``before``: the ``next`` of the page before."""

    status: Status | None = None
    tag: str | None = None
    definition: str | None = None
    parent: str | None = None
    before: str | None = None
    limit: Limit = 100


class RunPage(Struct, kw_only=True):
    """``next``: what to give as ``before`` for the page after this one; ``null`` if there is none."""

    runs: list[RunView]
    next: str | None


class ErrorView(Struct, kw_only=True):
    """An error of user code. ``type``: the name of its class."""

    type: str
    message: str


class Result(Struct, kw_only=True):
    """How a run ended: ``value`` if it is completed, ``error`` if it failed; neither while it is open. Bytes are base64."""

    id: str
    status: Status
    value: Any = None
    error: ErrorView | None = None


class WaitQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """How long to wait."""

    wait_ms: WaitMs = 0


class RunReads:
    """Endpoints that look."""

    def __init__(self, engine: Engine, waiting: Waiting) -> None:
        self._engine = engine
        self._waiting = waiting

    async def get(self, asked: Asked[None, Nothing]) -> Answer:
        """Give one run."""
        run = _run(self._engine, asked)
        row = await insight.row_of(self._engine.store, run.id)
        return Answer(body=view_of(row, state=None if row.state is None else await run.state()))

    async def list(self, asked: Asked[None, ListQuery]) -> Answer:
        """Give a page of runs."""
        query = asked.query
        before = None if query.before is None else await insight.row_of(self._engine.store, self._engine.get(query.before).id)
        rows = await self._engine.list(
            status=query.status, tag=query.tag, definition=query.definition, parent=query.parent, before=before, limit=query.limit
        )
        return Answer(body=RunPage(runs=[view_of(row) for row in rows], next=rows[-1].id if len(rows) == query.limit else None))

    async def result(self, asked: Asked[None, WaitQuery]) -> Answer:
        """Give how the run ended, after a wait if it is open; 202 if it still is."""
        run = _run(self._engine, asked)
        row = await insight.row_of(self._engine.store, run.id)
        if not row.status.is_final and asked.query.wait_ms:
            await self._waiting.until(run.result(), asked.query.wait_ms)
            row = await insight.row_of(self._engine.store, run.id)
        if not row.status.is_final:
            return Answer(status=202, body=Result(id=run.id, status=row.status))
        return Answer(body=await self._ended(run, row))

    async def _ended(self, run: Run[Any], row: RunRow) -> Result:
        fact, _ = await insight.last_word(self._engine.store, run.id)
        match fact:
            case facts.RunCompleted():
                return Result(id=run.id, status=row.status, value=await run.result())
            case facts.RunFailed():
                return Result(id=run.id, status=row.status, error=error_view(fact.error))
            case facts.RunCancelled():
                error = ErrorView(type="Cancelled", message=fact.reason) if fact.reason else None
                return Result(id=run.id, status=row.status, error=error)


def _run(engine: Engine, asked: Asked[Any, Any]) -> Run[Any]:
    return engine.get(asked.path["run"])


def view_of(row: RunRow, *, state: dict[str, Any] | None = None) -> RunView:
    """Give a row as it is shown."""
    return RunView(
        id=row.id,
        definition=row.definition,
        version=row.version,
        status=row.status,
        tags=list(row.tags),
        parent=row.parent,
        created=instant(row.created_us),
        updated=instant(row.updated_us),
        wakes=None if row.wake_us is None or row.wake_us == HELD else instant(row.wake_us),
        reason=row.reason,
        durability=row.durability,
        state=state,
    )


def error_view(failure: Failure) -> ErrorView:
    """Give an error without its traceback: that is for those who may read the journal."""
    return ErrorView(type=failure.type.rpartition(":")[2], message=failure.message)


def key_or_id(asked: Asked[Any, Any], id: str | None) -> str | None:
    """Give the id that a request goes by: of its body, or its header. Raises `Refusal` if they differ."""
    if id is not None and asked.key is not None and id != asked.key:
        raise Refusal(400, "two-ids", "The id in the body and the header Idempotency-Key differ; send one of them.")
    return asked.key if id is None else id
