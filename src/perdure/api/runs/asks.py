"""What is asked of runs over HTTP: to start, to take a signal, to answer, to end."""

from typing import Any
from urllib.parse import quote

from msgspec import Struct, field

from perdure import Engine
from perdure.api.endpoint import Answer, Asked, Nothing
from perdure.api.problems import Refusal
from perdure.api.runs.reads import Name, StartBody, Started, key_or_id
from perdure.client.named import NamedWorkflow
from perdure.model.errors import PerdureError
from perdure.model.run import Status


class SignalBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """``id``: sent again with it, or with that Idempotency-Key, the signal takes effect once."""

    value: Any = None
    id: Name | None = None


class UpdateBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """The arguments of an update, or of a query. ``id``: asked again with it, an update takes effect once."""

    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    id: Name | None = None


class QueryBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """The arguments of a query."""

    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)


class Value(Struct, kw_only=True):
    """What was answered."""

    value: Any


class CancelBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """``reason``: kept in the journal."""

    reason: str = ""


class CancelAnswer(Struct, kw_only=True):
    """``is_asked``: false if the run had ended already."""

    is_asked: bool


class RetryBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which failed calls are made again: those of this name, of this action, or all."""

    call: str | None = None
    action: str | None = None


class RetryAnswer(Struct, kw_only=True):
    """The names of the calls that are made again."""

    calls: list[str]


class ResumeAnswer(Struct, kw_only=True):
    """Where the run stands after it; ``null`` where only a node knows that later."""

    status: Status | None


class RunAsks:
    """Endpoints that change a run, or need a node's answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self, asked: Asked[StartBody, Nothing]) -> Answer:
        """The run is durable."""
        body = asked.body
        workflow = NamedWorkflow(
            name=body.definition,
            id=key_or_id(asked, body.id),
            tags=tuple(body.tags),
            version=body.version,
            on_ended=body.on_ended,
            timeout=body.timeout,
            durability=body.durability,
        )
        run = await self._engine.start(workflow, *body.args, **body.kwargs)
        place = f"/v1/runs/{quote(run.id, safe='')}"
        return Answer(status=201, body=Started(id=run.id, durability=run.durability), headers={"Location": place})

    async def signal(self, asked: Asked[SignalBody, Nothing]) -> Answer:
        """The signal is durable."""
        run = self._engine.get(asked.path["run"])
        await run.send(asked.path["signal"], asked.body.value, id=key_or_id(asked, asked.body.id))
        return Answer(status=204)

    async def update(self, asked: Asked[UpdateBody, Nothing]) -> Answer:
        """The update was done."""
        body, run = asked.body, self._engine.get(asked.path["run"])
        id = key_or_id(asked, body.id)
        try:
            value = await run.update(asked.path["method"], *body.args, **{**body.kwargs, "update_id": id})
        except PerdureError:
            raise
        except Exception as error:
            # What the code of the run raised comes back as its own class, where this process has that.
            raise Refusal(422, "update-refused", f"{type(error).__name__}: {error}") from error
        return Answer(body=Value(value=value))

    async def query(self, asked: Asked[QueryBody, Nothing]) -> Answer:
        """Give the answer of a query method."""
        body, run = asked.body, self._engine.get(asked.path["run"])
        try:
            value = await run.query(asked.path["method"], *body.args, **body.kwargs)
        except PerdureError:
            raise
        except Exception as error:
            raise Refusal(422, "query-refused", f"{type(error).__name__}: {error}") from error
        return Answer(body=Value(value=value))

    async def cancel(self, asked: Asked[CancelBody, Nothing]) -> Answer:
        """The run has been asked to end."""
        return Answer(body=CancelAnswer(is_asked=await self._engine.get(asked.path["run"]).cancel(asked.body.reason)))

    async def resume(self, asked: Asked[Nothing, Nothing]) -> Answer:
        """A stalled run was tried again."""
        return Answer(body=ResumeAnswer(status=await self._engine.get(asked.path["run"]).resume()))

    async def retry(self, asked: Asked[RetryBody, Nothing]) -> Answer:
        """Failed calls are made again."""
        calls = await self._engine.get(asked.path["run"]).retry(asked.body.call, action=asked.body.action)
        return Answer(body=RetryAnswer(calls=list(calls)))
