"""How calls end over HTTP: attempts by whoever was given them, and calls that an action left open by their key."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

import perdure
from perdure import Engine
from perdure.api.endpoint import Answer as Reply
from perdure.api.endpoint import Asked, Nothing
from perdure.api.problems import Refusal
from perdure.api.work.ending import Endings, attempt_only
from perdure.api.work.pulling import Pulling
from perdure.wire.answers import Answer, outcome_from
from perdure.wire.attempts import split_attempt_id
from perdure.wire.messages import WireError

Token = Annotated[str, Meta(description="The receipt that came with the attempt; not needed for a call by its key.")]
Worker = Annotated[str, Meta(min_length=1, max_length=200)]


class Completion(Answer, frozen=True, kw_only=True):
    """How a call, or an attempt, ended: an outcome of docs/reference/wire.md, of which anything may be left out but an attempt's token."""

    token: Token = ""
    worker: Worker = "http"


class Failing(Struct, kw_only=True):
    """The error by which a call, or an attempt, ended. ``is_final``: it is not tried again."""

    message: str
    type: Annotated[str, Meta(min_length=1)] = "Error"
    is_final: bool = False
    token: Token = ""
    worker: Worker = "http"


class HeartbeatBody(Struct, kw_only=True):
    """``details``: how far it is; the next attempt gets them if this one is lost."""

    token: str
    worker: Worker
    details: Raw | UnsetType = UNSET


class GiveBackBody(Struct, kw_only=True):
    """``reason``: why nobody can perform the call; without it, others may."""

    token: str
    worker: Worker
    reason: Annotated[str, Meta(max_length=600)] = ""


class Heard(Struct, kw_only=True):
    """``is_cancelled``: nobody waits for the attempt any more; stop, and complete it no more."""

    is_cancelled: bool


class CallEnds:
    """Endpoints by which calls end."""

    def __init__(self, engine: Engine, endings: Endings, pulling: Pulling) -> None:
        self._engine = engine
        self._endings = endings
        self._pulling = pulling

    async def complete(self, asked: Asked[Completion, Nothing]) -> Reply:
        """The attempt, or the call, has this outcome."""
        id, body = asked.path["call"], asked.body
        if split_attempt_id(id) is None:
            return await self._complete_call(id, body)
        return await self._end(id, body)

    async def fail(self, asked: Asked[Failing, Nothing]) -> Reply:
        """The attempt, or the call, ended by this error."""
        id, body = asked.path["call"], asked.body
        if split_attempt_id(id) is None:
            await self._engine.fail(id, body.message)
            return Reply(body={})
        error = WireError(type=body.type, message=body.message, is_final=body.is_final)
        return await self._end(id, Completion(token=body.token, status="error", error=error, worker=body.worker))

    async def heartbeat(self, asked: Asked[HeartbeatBody, Nothing]) -> Reply:
        """The attempt makes progress."""
        id, body = attempt_only(asked.path["call"]), asked.body
        await self._endings.check(id, body.token)
        return Reply(body=Heard(is_cancelled=await self._pulling.heartbeat(body.worker, id, body.details)))

    async def give_back(self, asked: Asked[GiveBackBody, Nothing]) -> Reply:
        """The call is for others."""
        id, body = attempt_only(asked.path["call"]), asked.body
        await self._endings.check(id, body.token)
        await self._pulling.give_back(body.worker, id, body.reason)
        return Reply(body={})

    async def _complete_call(self, key: str, body: Completion) -> Reply:
        match body.status:
            case "data":
                value: Any = None if body.value is UNSET else msgspec.json.decode(body.value)
                await self._engine.complete(key, value)
            case "empty":
                await self._engine.complete(key, perdure.EMPTY)
            case "error":
                await self._engine.fail(key, body.error.message if body.error else "")
            case "pending":
                raise Refusal(422, "still-pending", f"The call {key!r} is open; it stays so until it has data, nothing or an error.")
        return Reply(body={})

    async def _end(self, id: str, body: Completion) -> Reply:
        await self._endings.check(id, body.token)
        await self._endings.end(outcome_from(body, id, body.worker))
        self._pulling.holdings.end(body.worker, id)
        return Reply(body={})
