"""One life of a simulated process with an engine in it: it can be stopped, go on, and die at any call of the store."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

from perdure.app import Engine
from perdure.deciders.code.definition import Registry
from perdure.model.errors import StoreUnavailable
from perdure.model.limits import Limits
from perdure.ports.clock import Alarm
from perdure.testing.clock import VirtualClock
from perdure.testing.simulation.wire import Traffic, Wire
from perdure.testing.simulation.workload import REGISTRY

T = TypeVar("T")

PAUSE_S = 0.2
ASK_S = 8.0
CLOSE_S = 120.0


class ProcessDied(Exception):
    """The process through which something was asked is no more, or does not answer."""


class OwnAlarm:
    """A callback of one process: it waits while the process is stopped, and is never called after its death."""

    def __init__(self, owner: "Process", callback: Callable[[], object]) -> None:
        self._owner = owner
        self._callback = callback
        self._is_over = False
        self.inner: Alarm | None = None

    def cancel(self) -> None:
        self._is_over = True
        if self.inner is not None:
            self.inner.cancel()

    def ring(self) -> None:
        if self._owner.is_paused:
            self._owner.kept.append(self)
        elif not (self._is_over or self._owner.is_dead):
            self._is_over = True
            self._callback()


class OwnClock:
    """The world's clock, as one process has it."""

    def __init__(self, owner: "Process", clock: VirtualClock) -> None:
        self._owner = owner
        self._clock = clock

    def now_us(self) -> int:
        """Give the present instant in microseconds since 1970 UTC."""
        return self._clock.now_us()

    def call_at(self, when_us: int, callback: Callable[[], object]) -> Alarm:
        alarm = OwnAlarm(self._owner, callback)
        alarm.inner = self._clock.call_at(when_us, alarm.ring)
        return alarm

    def calibrate(self, now_us: int) -> None:
        """Nothing follows: there is one clock."""


class OwnEntropy:
    """Ids that no other process gives, and seeds from its own."""

    def __init__(self, name: str, chance: Random) -> None:
        self._name = name
        self._chance = chance
        self._count = 0

    def token(self) -> str:
        """Give a new id."""
        self._count += 1
        return f"{self._name}-{self._count:05d}"

    def seed(self) -> int:
        """Give a number below 2**63."""
        return self._chance.getrandbits(63)


class Process:
    """``gone`` is done when the process has died or closed. ``lease_us``: of its node; ``is_client``: it has none."""

    def __init__(
        self,
        name: str,
        traffic: Traffic,
        clock: VirtualClock,
        *,
        seed: str,
        lease_us: int,
        limits: Limits,
        is_client: bool = False,
        registry: Registry = REGISTRY,
    ) -> None:
        self.name = name
        self.is_dead = False
        self.is_closing = False
        self.kept: list[OwnAlarm] = []
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resumed: asyncio.Future[None] | None = None
        self.wire = Wire(traffic, self, Random(f"{seed}/wire"))
        self.engine = Engine(
            self.wire,
            registry=registry,
            limits=limits,
            drain="2s",
            lease=timedelta(microseconds=lease_us),
            patience="6s",
            name=name,
            is_client=is_client,
            clock=OwnClock(self, clock),
            entropy=OwnEntropy(name, Random(f"{seed}/entropy")),
        )

    # Life.

    async def open(self) -> None:
        """The engine is open: tried until the store lets it."""
        while not self.is_dead:
            try:
                await self.engine.open()
            except StoreUnavailable:
                await asyncio.sleep(PAUSE_S)
            else:
                return

    async def close(self) -> bool:
        """The engine has closed in good order; ``False`` if it hung."""
        self.is_closing = True
        closing: asyncio.Future[None] = asyncio.ensure_future(self.engine.close())
        await asyncio.wait({closing, self.gone}, timeout=CLOSE_S, return_when=asyncio.FIRST_COMPLETED)
        is_good = closing.done() or self.is_dead
        if closing.done() and not closing.cancelled() and isinstance(closing.exception(), StoreUnavailable):
            self.die()  # It could not say good-bye: as if it had been killed there.
        closing.cancel()
        if not self.gone.done():
            self.gone.set_result(None)
        await asyncio.gather(closing, return_exceptions=True)
        return is_good

    def die(self) -> None:
        """The process is killed: nothing that it had under way goes on."""
        if not self.is_dead:
            self.is_dead = True
            self.resume()
            self.wire.cut()
            if not self.gone.done():
                self.gone.set_result(None)
            self._burial = asyncio.get_running_loop().create_task(self.engine.crash())

    # Being stopped.

    @property
    def is_paused(self) -> bool:
        return self._resumed is not None

    def pause(self) -> None:
        """The process gets no time any more, as if it had been sent a SIGSTOP."""
        if self._resumed is None and not self.is_dead:
            self._resumed = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """The process goes on where it was stopped."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.set_result(None)
        kept, self.kept = self.kept, []
        for alarm in kept:
            asyncio.get_running_loop().call_soon(alarm.ring)

    async def running(self) -> None:
        """The process is not stopped."""
        while self._resumed is not None:
            await asyncio.shield(self._resumed)

    # Being asked.

    async def ask(self, question: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Give the engine's answer. Raises `ProcessDied` if none comes."""
        task = asyncio.ensure_future(question(self.engine))
        try:
            waited: set[asyncio.Future[Any]] = {task, self.gone}
            await asyncio.wait(waited, timeout=ASK_S, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() or task.cancelled():
                raise ProcessDied(self.name)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
