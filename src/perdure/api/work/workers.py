"""Workers in any language over HTTP: they announce themselves, ask for calls, and say that they live."""

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from perdure.api.endpoint import Answer, Asked, Nothing
from perdure.api.problems import Refusal
from perdure.api.waiting import WaitMs
from perdure.api.work.calls import Worker
from perdure.api.work.pulling import Pulling, Wanted
from perdure.wire.answers import GivenCall
from perdure.wire.messages import Announce, Held


class Welcome(Struct, kw_only=True):
    """``worker``: as it called itself. ``interval_ms``: how often it is to be heard of, at least."""

    worker: str
    interval_ms: int


class TakeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What the worker asks for: calls of these actions, or of this queue; of all that it announced where it says neither."""

    worker: Worker
    actions: list[str] = field(default_factory=list)
    queue: str | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 1
    wait_ms: WaitMs = 0


class Taken(Struct, kw_only=True):
    """The calls that the worker has now; none if none came in time."""

    calls: list[GivenCall]


class BeatBody(Struct, kw_only=True):
    """All attempts that the worker has under way."""

    attempts: list[Held] = field(default_factory=list)


class Beaten(Struct, kw_only=True):
    """Attempts that the worker had better stop: nobody waits for them any more."""

    cancelled: list[str]


class Workers:
    """Endpoints for workers."""

    def __init__(self, pulling: Pulling) -> None:
        self._pulling = pulling

    async def announce(self, asked: Asked[Announce, Nothing]) -> Answer:
        """The worker and its actions are known."""
        message = asked.body
        if message.push_url:
            _check_url(message.push_url)
        await self._pulling.announce(message)
        return Answer(status=201, body=Welcome(worker=message.worker, interval_ms=message.interval_ms))

    async def take(self, asked: Asked[TakeBody, Nothing]) -> Answer:
        """The worker has these calls."""
        body = asked.body
        wanted = Wanted(worker=body.worker, actions=tuple(body.actions), queue=body.queue, limit=body.limit, wait_ms=body.wait_ms)
        return Answer(body=Taken(calls=await self._pulling.take(wanted, asked.is_gone)))

    async def beat(self, asked: Asked[BeatBody, Nothing]) -> Answer:
        """The worker lives."""
        return Answer(body=Beaten(cancelled=await self._pulling.beat(asked.path["worker"], asked.body.attempts)))

    async def leave(self, asked: Asked[None, Nothing]) -> Answer:
        """The worker has ended."""
        await self._pulling.leave(asked.path["worker"])
        return Answer(status=204)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in ("http", "https") and parts.username is None and parts.password is None and _is_host(parts.hostname or "")
    except ValueError:
        is_fine = False
    if not is_fine:
        raise Refusal(
            422, "push-url-wrong", f"push_url: found {url[:200]!r}, expected http:// or https://, a host, and no credentials in it."
        )


def _is_host(host: str) -> bool:
    """Link-local addresses are where clouds keep the credentials of their machines: no worker answers there."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(host)
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)
