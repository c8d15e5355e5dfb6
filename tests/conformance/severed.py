"""A store behind a wire that a test can cut, and a clock that it can put forward: what a process sees of a database that breaks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from perdure.model.errors import StoreUnavailable
from perdure.ports.store import Hint, Store, Traits
from perdure.ports.system import SystemClock
from perdure.stores.forwarding import ForwardedTables

T = TypeVar("T")


class JumpingClock(SystemClock):
    """``ahead_us``: how far it was put forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


class Wall:
    """Stands between all stores of a test and what they reach, while ``is_up``."""

    def __init__(self) -> None:
        self.is_up = False


class SeveredStore(ForwardedTables):
    """``cut`` loses the answers of what is under way, ``sever`` loses all that is asked from then on."""

    def __init__(self, inner: Store, wall: Wall) -> None:
        self.inner = inner
        self._wall = wall
        self._cuts = 0
        self._is_severed = False

    def cut(self) -> None:
        self._cuts += 1

    def sever(self) -> None:
        self._is_severed = True

    @property
    def _inside(self) -> Store:
        return self.inner

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        cuts = self._cuts
        self._check()
        await asyncio.sleep(0)
        answer = await ask()
        self._check()
        if cuts != self._cuts:
            raise StoreUnavailable(store=self.name, problem="the connection was lost before the answer")
        return answer

    def _check(self) -> None:
        if self._wall.is_up or self._is_severed:
            raise StoreUnavailable(store=self.name, problem="nobody is there")

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    async def open(self) -> None:
        self._check()
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    def announce(self, hint: Hint) -> None:
        if not self._wall.is_up and not self._is_severed:
            self.inner.announce(hint)

    def subscribe(self, heard: Callable[[Hint], None]) -> Callable[[], None]:
        return self.inner.subscribe(lambda hint: None if self._is_severed else heard(hint))
