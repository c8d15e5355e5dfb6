"""Word from store to store by LISTEN and NOTIFY. Protects waits from the length of a poll; nothing depends on it.

On a connection of its own, and never in a commit: a transaction that notifies takes a lock of the whole database when it commits. The first
hint goes out at once; those that come within a moment after it are gathered and go out together.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import msgspec

from perdure.model.errors import PerdureError
from perdure.ports.store import Hint
from perdure.stores.postgres.failures import TRANSPORT_ERRORS
from perdure.stores.postgres.link import connect
from perdure.stores.postgres.place import Place

logger = logging.getLogger("perdure.stores")

Heard = Callable[[Hint], None]

_GATHER_S: Final = 0.002
_PAYLOAD_BYTES_MAX: Final = 7_900
"""PostgreSQL takes less than 8,000: https://www.postgresql.org/docs/current/sql-notify.html."""
_NAMES_MAX: Final = 1_000
_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
# A notification is worth no sync of the disk.
_TELL: Final = "select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[int, Hint]).decode


class _Gathered:
    """Hints that go out together: no more names than one notification can hold, however long there is no connection."""

    def __init__(self) -> None:
        self._posted: set[str] = set()
        self._ended: set[str] = set()
        self._called: set[str] = set()
        self._has_moved = self._is_partial = False

    def add(self, hint: Hint) -> None:
        self._has_moved |= hint.has_moved
        self._is_partial |= hint.is_partial
        for names, kept in ((hint.posted, self._posted), (hint.ended, self._ended), (hint.called, self._called)):
            if len(kept) < _NAMES_MAX:
                kept |= names
            elif not names <= kept:
                self._is_partial = True

    def hint(self) -> Hint:
        return Hint(frozenset(self._posted), frozenset(self._ended), self._has_moved, self._is_partial, frozenset(self._called))


class News:
    """Tells and hears. Connects when there is something to tell or somebody to hear it; ``token`` marks what this store object tells."""

    def __init__(self, place: Place, token: int) -> None:
        self._place = place
        self._token = token
        self._channel = f"perdure_{place.schema}"[:63]
        self._gathered = _Gathered()
        self._listeners: list[Heard] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_open = False
        self.is_heard = asyncio.Event()

    def open(self) -> None:
        """Hints are told and heard from now on."""
        self._is_open = True
        if self._listeners:
            self._start()

    async def close(self) -> None:
        """Nothing is told or heard any more; safe to call twice."""
        self._is_open = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def abandon(self) -> None:
        """As if the process had died."""
        self._is_open = False
        if self._task is not None:
            self._task.cancel()

    def announce(self, hint: Hint) -> None:
        if hint.called and self._is_open:
            own = Hint(called=hint.called)
            for heard in self._listeners:
                asyncio.get_running_loop().call_soon(heard, own)
        if self._place.notifies and self._is_open:
            self._gathered.add(hint)
            self._wake.set()
            self._start()

    def subscribe(self, heard: Heard) -> Callable[[], None]:
        self._listeners.append(heard)
        if self._place.notifies and self._is_open:
            self._start()
        return lambda: self._listeners.remove(heard) if heard in self._listeners else None

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"news of {self._place.name}")

    async def _run(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                connection = await connect(self._place)
            except PerdureError as error:
                logger.debug("no news: %s", error)
            else:
                pause_s = _PAUSE_FIRST_S
                await self._serve(connection)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _serve(self, connection: "asyncpg.Connection[Any]") -> None:
        """Tell and hear on this connection until it is lost."""
        connection.add_termination_listener(lambda _: self._wake.set())
        try:
            await connection.add_listener(self._channel, self._hear)
            self.is_heard.set()
            while not connection.is_closed():
                await self._wake.wait()
                self._wake.clear()
                if (hint := self._gathered.hint()) != Hint():
                    self._gathered = _Gathered()
                    await connection.execute(_TELL, self._channel, self._payload(hint))
                    await asyncio.sleep(_GATHER_S)
        except TRANSPORT_ERRORS as error:
            logger.debug("news interrupted: %s", error)
        finally:
            self.is_heard.clear()
            connection.terminate()

    def _payload(self, hint: Hint) -> str:
        payload = _encode((self._token, hint))
        if len(payload) > _PAYLOAD_BYTES_MAX:
            payload = _encode((self._token, _shortened(hint)))
        return payload.decode()

    def _hear(self, _connection: Any, _process: int, _channel: str, payload: Any) -> None:
        try:
            token, hint = _decode(payload)
        except msgspec.DecodeError:
            token, hint = 0, Hint(is_partial=True)
        if token != self._token:
            for heard in tuple(self._listeners):
                heard(hint)


def _shortened(hint: Hint) -> Hint:
    """Give as many of the names as fit."""
    room = _PAYLOAD_BYTES_MAX - 100
    kept: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    # An address stands for many packets, so addresses come first.
    for names, keep in zip((hint.called, hint.posted, hint.ended), kept, strict=True):
        for name in names:
            room -= len(_encode(name)) + 1
            if room >= 0:
                keep.add(name)
    called, posted, ended = map(frozenset, kept)
    return Hint(posted, ended, hint.has_moved, is_partial=True, called=called)
