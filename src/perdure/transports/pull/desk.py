"""What a worker and the API know of each other. Protects a call from being ended by whoever was not given it: its receipt lies here."""

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from perdure.ports.transport import calls_address
from perdure.transports.pull.api import Api
from perdure.wire.messages import Announce

RECEIPTS_MAX: Final = 50_000


class Given(Struct):
    """A call as the API gives it. ``text``: all of it."""

    id: str
    action: str
    token: str
    version: int = 1
    queue: str = "default"
    text: bytes = b""


class _Taken(Struct):
    calls: list[Raw]


class _GiveBack(Struct, omit_defaults=True):
    token: str
    worker: str
    reason: str = ""


class Desk:
    """One worker's. Beats read and write it from a thread of their own.

    ``on_announced``, ``on_cancelled``, ``on_leaving``: what the transport does when the worker is known, when nobody waits any more for
    some attempts, and before the worker says that it has left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._receipts: OrderedDict[str, str] = OrderedDict()
        self._announcement: bytes = b""
        self.worker = ""
        self.actions: dict[str, str] = {}
        self.on_announced: Callable[[], None] = _nothing
        self.on_cancelled: Callable[[Sequence[str]], None] = _no_cancels
        self.on_leaving: Callable[[], Awaitable[None]] = _no_leave

    async def announce(self, api: Api, message: Announce) -> None:
        """The worker is known to the nodes; its calls can be taken from now on."""
        self._announcement = msgspec.json.encode(message)
        await self.announce_again(api)
        self.worker = message.worker
        self.actions = {calls_address(action.queue, action.name, action.version): action.name for action in message.actions}
        self.on_announced()

    async def announce_again(self, api: Api) -> None:
        """As it was announced last."""
        await api.ask("POST", "workers", self._announcement)

    async def take(self, api: Api, names: Sequence[str], limit: int, *, wait_ms: int) -> list[Given]:
        """Give calls of these actions; none if none came within that time. Raises as `Api.ask`."""
        wanted = {"worker": self.worker, "actions": names, "limit": limit, "wait_ms": wait_ms}
        body = await api.ask("POST", "calls/take", msgspec.json.encode(wanted), wait_s=wait_ms / 1_000)
        found = []
        for raw in msgspec.json.decode(body, type=_Taken).calls:
            given = msgspec.json.decode(raw, type=Given)
            given.text = bytes(raw)
            found.append(given)
            self._keep(given)
        return found

    def _keep(self, given: Given) -> None:
        with self._lock:
            self._receipts[given.id] = given.token
            self._receipts.move_to_end(given.id)
            if len(self._receipts) > RECEIPTS_MAX:
                self._receipts.popitem(last=False)

    def receipt(self, attempt: str) -> str:
        """Give the receipt that came with the attempt; empty if none did, or long ago."""
        with self._lock:
            return self._receipts.get(attempt, "")

    async def give_back(self, api: Api, attempt: str, reason: str = "") -> None:
        """The call is for others; with a reason, for nobody. Raises as `Api.ask`."""
        body = _GiveBack(token=self.receipt(attempt), worker=self.worker, reason=reason)
        await api.ask("POST", f"calls/{quote(attempt, safe='')}/give-back", msgspec.json.encode(body))


def _nothing() -> None:
    pass


def _no_cancels(attempts: Sequence[str]) -> None:
    pass


async def _no_leave() -> None:
    pass
