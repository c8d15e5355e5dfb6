"""What a worker says, to the API: each message at the route that is for it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct, structs

from perdure.model.errors import InvalidMessage, PacketTooLarge
from perdure.ports.reporter import Report
from perdure.ports.transport import NODES
from perdure.transports.pull.api import Api, Refused
from perdure.transports.pull.desk import Desk
from perdure.wire.answers import Answer
from perdure.wire.encoding import decode
from perdure.wire.headers import http_headers
from perdure.wire.messages import Announce, AnyWireMessage, Beat, Held, Leave, Outcome

logger = logging.getLogger("perdure.transports")

AT_ONCE_MAX: Final = 16
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
_TOO_LARGE: Final = 413
_GONE: Final = frozenset({404, 409})
"""Nobody wants it any more: the attempt was given to another, or its run has ended."""


class _Completion(Answer, frozen=True, kw_only=True):
    token: str
    worker: str


class _Beat(Struct):
    attempts: list[Held]


class _Beaten(Struct):
    cancelled: list[str]


class PullReporter:
    """Opened and closed with its ``api``."""

    reports_at_once = 1
    """Each batch is many requests already."""

    def __init__(self, api: Api, desk: Desk) -> None:
        self._api = api
        self._desk = desk

    async def report(self, reports: Sequence[Report]) -> None:
        """As the port says. What the server refuses for good is logged and dropped: sending it again would not mend it.

        Raises `InvalidOption` for a token that does not count, `PacketTooLarge`.
        """
        messages = [(decode(report.body, report.content_type), report.headers) for report in reports]
        first = [message for message, _ in messages if isinstance(message, Announce)]
        last = [message for message, _ in messages if isinstance(message, Leave)]
        for announced in first:
            await self._say(announced)
        await self._say_all([(message, headers) for message, headers in messages if not isinstance(message, Announce | Leave)])
        for leaving in last:
            await self._desk.on_leaving()
            await self._say(leaving)

    async def _say_all(self, messages: Sequence[tuple[AnyWireMessage, Mapping[str, str]]]) -> None:
        room = asyncio.Semaphore(AT_ONCE_MAX)

        async def say(message: AnyWireMessage, headers: Mapping[str, str]) -> None:
            async with room:
                await self._say(message, headers)

        # All of them have had their turn before one that failed is told of.
        for found in await asyncio.gather(*(say(message, headers) for message, headers in messages), return_exceptions=True):
            if found is not None:
                raise found

    async def _say(self, message: AnyWireMessage, headers: Mapping[str, str] = NO_HEADERS) -> None:
        what = type(message).__name__.lower()
        try:
            await self._send(message, headers)
        except Refused as refused:
            if refused.status == _TOO_LARGE:
                size = len(msgspec.json.encode(message))
                raise PacketTooLarge(address=NODES, size=size, transport=self._api.name, limit=BODY_BYTES_MAX) from refused
            level = logging.INFO if refused.status in _GONE else logging.ERROR
            logger.log(level, "the %s %s was not taken: %s", what, getattr(message, "id", ""), refused)

    async def _send(self, message: AnyWireMessage, headers: Mapping[str, str]) -> None:
        match message:
            case Outcome():
                await self._complete(message, headers)
            case Beat():
                body = msgspec.json.encode(_Beat(message.attempts))
                answer = await self._api.ask("POST", f"workers/{quote(message.worker, safe='')}/beat", body)
                self._desk.on_cancelled(msgspec.json.decode(answer, type=_Beaten).cancelled)
            case Announce():
                await self._desk.announce(self._api, message)
            case Leave():
                await self._api.ask("DELETE", f"workers/{quote(message.worker, safe='')}")
            case _:
                raise InvalidMessage(problem=f"a {type(message).__name__.lower()} is for workers")

    async def _complete(self, message: Outcome, headers: Mapping[str, str]) -> None:
        told = {name: getattr(message, name) for name in structs.asdict(message) if name in Answer.__struct_fields__}
        body = _Completion(**told, token=self._desk.receipt(message.id), worker=message.worker)
        await self._api.ask(
            "POST", f"calls/{quote(message.id, safe='')}/complete", msgspec.json.encode(body), headers=http_headers(headers)
        )
