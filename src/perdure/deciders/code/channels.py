"""The signals of a run: kept until they are read, given to readers in order of arrival."""

import asyncio
from collections import deque
from typing import Any

from msgspec import Struct

from perdure.model.command import TakeSignal
from perdure.model.ids import CallName
from perdure.model.stimulus import Signalled


class Reader(Struct):
    call: CallName
    future: asyncio.Future[Any]
    wanted: Any


class Channel:
    """One named channel of one run."""

    __slots__ = ("readers", "unread")

    def __init__(self) -> None:
        self.unread: deque[Signalled] = deque()
        self.readers: deque[Reader] = deque()

    def next_reader(self) -> Reader | None:
        """Take the reader that waits longest, passing over those that stopped waiting."""
        while self.readers:
            reader = self.readers.popleft()
            if not reader.future.done():
                return reader
        return None

    def drop(self, call: CallName) -> None:
        self.readers = deque(reader for reader in self.readers if reader.call != call)


def taking(call: CallName, signal: Signalled) -> TakeSignal:
    return TakeSignal(call, signal.id, signal.channel)
