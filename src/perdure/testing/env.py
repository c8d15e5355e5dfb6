"""An engine on virtual time, for tests: time moves when the test says so, and everything that follows is done before the test goes on."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from datetime import datetime
from itertools import count
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar, overload, runtime_checkable

from perdure.app import Engine
from perdure.client.run import Run
from perdure.deciders.code.authoring import HasRun, Workflow
from perdure.deciders.code.definition import Bindings, Registry, default_registry
from perdure.model.codec import Codec
from perdure.model.duration import Span, instant, instant_us, span_us
from perdure.model.limits import Limits
from perdure.model.retention import FOREVER, Retention
from perdure.model.run import Status
from perdure.ports.clock import Alarm
from perdure.ports.store import Store
from perdure.stores.memory import MemoryStore
from perdure.testing.clock import START, VirtualClock, VirtualEntropy
from perdure.testing.looptime import virtual_in_attempts
from perdure.testing.quiet import settle
from perdure.workers.executors import LocalPerformer

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class NothingMoves(AssertionError):
    """The run has not ended, nothing is under way, and no alarm is set: only the outside can move it."""


@runtime_checkable
class BreakableLease(Protocol):
    """A store that can be told that its lease holder has died."""

    def break_lease(self) -> None: ...


class Environment:
    """``async with Environment() as env: …`` opens ``env.engine`` on a store in memory, with virtual time and repeatable chance.

    Everything is *settled* when the event loop has nothing ready to run and no plain (threaded) action runs: no transition is due, no
    commit under way, and every running attempt waits for time or for the outside. ``start``: the instant at which the test begins.
    ``patience``: seconds of real time that a plain action may take. Other options are those of `Engine`.
    """

    engine_class: type[Engine] = Engine

    def __init__(
        self,
        store: Store | None = None,
        *,
        registry: Registry | Bindings | None = None,
        limits: Limits | None = None,
        retention: Retention = FOREVER,
        codecs: Sequence[Codec] = (),
        known_codecs: Sequence[Codec] = (),
        drain: Span = "1s",
        start: datetime = START,
        seed: int = 0,
        patience: float = 10.0,
    ) -> None:
        self.store: Store = store or MemoryStore()
        self.clock = VirtualClock(start)
        self.entropy = VirtualEntropy(seed)
        # Kept over crashes and restarts, as a module is: what was started is what its name means.
        self._registry = (registry or default_registry).bound()
        self._limits = limits
        self._retention = retention
        self._codecs = codecs
        self._known_codecs = known_codecs
        self._drain = drain
        self._patience_s = patience
        self._engine: Engine | None = None
        self._lives = count(1)
        self._settling = asyncio.Lock()
        self._undo = ExitStack()

    # Life.

    async def __aenter__(self) -> Self:
        self._undo.enter_context(virtual_in_attempts(asyncio.get_running_loop(), self.clock))
        await self._open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self._close()
            await self.store.close()
        finally:
            self._undo.close()

    async def _open(self) -> None:
        self._engine = await self._make_engine().open()
        await self.settle()

    def _make_engine(self) -> Engine:
        return self.engine_class(
            self.store,
            registry=self._registry,
            limits=self._limits,
            retention=self._retention,
            codecs=self._codecs,
            known_codecs=self._known_codecs,
            drain=self._drain,
            name=f"node-{next(self._lives)}",
            clock=self.clock,
            entropy=self.entropy,
        )

    async def _close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await self._while_time_passes(engine.close(), engine)

    async def _while_time_passes(self, work: Coroutine[Any, Any, T], engine: Engine) -> T:
        """The work of an engine that waits for the clock is done; time moves as far as it must."""
        task = asyncio.ensure_future(work)
        try:
            await self._settle(engine)
            while not task.done() and (next_us := self.clock.next_us(_housekeeping(engine))) is not None:
                self.clock.move_to(next_us)
                await self._settle(engine)
            return await asyncio.wait_for(task, self._patience_s)
        finally:
            task.cancel()

    @property
    def engine(self) -> Engine:
        """The engine that is open now; `restart` and `crash` replace it."""
        if self._engine is None:
            raise RuntimeError("The environment is not open. Use it as 'async with Environment() as env:'.")
        return self._engine

    async def restart(self) -> None:
        """The engine has closed in good order and a new one goes on with the same store. Attempts under way get the drain time."""
        await self._close()
        await self._open()

    async def crash(self) -> None:
        """The engine has died without a word, with all that it had under way, and a new one goes on with what the store has."""
        await self.kill()
        await self._open()

    async def kill(self) -> None:
        """The engine has died; `revive` opens a new one."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.crash()
            await self._settle(engine)
        self.clock.forget_all()
        if isinstance(self.store, BreakableLease):
            self.store.break_lease()

    async def revive(self) -> None:
        """A new engine goes on with what the store has."""
        if self._engine is None:
            await self._open()

    # Time.

    @property
    def now(self) -> datetime:
        """The present instant, aware UTC."""
        return self.clock.now()

    async def settle(self) -> None:
        """All that can happen without time or the outside has happened. Raises `NotSettled` if that does not come about."""
        await self._settle(self.engine)

    async def _settle(self, engine: Engine) -> None:
        async with self._settling:
            await settle(_performer(engine), self._patience_s)

    async def advance(self, span: Span) -> None:
        """It is ``span`` later: every alarm on the way rang at its instant, in order, and what followed was settled before the next.

        The engine's own housekeeping (polls, lease renewals) is done once for each of these stops, however far apart they are.
        """
        await self.advance_to(instant(self.clock.now_us() + span_us(span)))

    async def advance_to(self, when: datetime) -> None:
        """As `advance`, to an instant. Does not go back."""
        end_us = instant_us(when)
        await self.settle()
        while (next_us := self._next_us()) is not None and next_us <= end_us:
            await self._stop_at(next_us)
        await self._stop_at(end_us)

    async def advance_to_next(self) -> bool:
        """Time has moved to the next alarm and all is settled; ``False`` if no alarm is set."""
        await self.settle()
        next_us = self._next_us()
        if next_us is None:
            return False
        await self._stop_at(next_us)
        return True

    async def _stop_at(self, when_us: int) -> None:
        self.clock.move_to(when_us)
        await self.settle()

    def _next_us(self) -> int | None:
        return self.clock.next_us(_housekeeping(self.engine))

    # Runs.

    @overload
    async def start(self, workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    @overload
    async def start(self, workflow: type[HasRun[P, R]], *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...
    async def start(self, workflow: Any, *args: Any, **kwargs: Any) -> Run[Any]:
        """The run has started, and has come as far as it can without time or the outside."""
        run: Run[Any] = await self.engine.start(workflow, *args, **kwargs)
        await self.settle()
        return run

    @overload
    async def run(self, workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run(self, workflow: type[HasRun[P, R]], *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def run(self, workflow: Any, *args: Any, **kwargs: Any) -> Any:
        """Start a run, move time as far as it needs, and give its result. Raises `NothingMoves` if it waits for the outside."""
        return await self.finish(await self.start(workflow, *args, **kwargs))

    def get(self, id: str) -> Run[Any]:
        """Give the handle of a run on the engine of now; handles from before a `crash` or `restart` belong to a dead one."""
        return self.engine.get(id)

    async def finish(self, run: Run[R]) -> R:
        """Move time until the run has ended, and give its result. Raises `NothingMoves`, or what the run raised."""
        while not (status := await run.status()).is_final:
            if status is Status.STALLED or not await self.advance_to_next():
                await self.settle()
                await self._refuse_open(run)
        return await run.result()

    async def _refuse_open(self, run: Run[Any]) -> None:
        status = await run.status()
        if not status.is_final:
            reasons = "; ".join(map(str, await run.why())) or "nothing that it could name"
            raise NothingMoves(
                f"The run {run.id!r} is {status} at {self.now:%Y-%m-%d %H:%M:%S} and no alarm is set. It waits for: {reasons}. "
                "Send what it waits for, or use env.start and env.advance."
            )


def _housekeeping(engine: Engine) -> list[Alarm]:
    """Give the alarms that ring again and again without anything to do: nobody moves time for their sake."""
    node = engine.node
    return [] if node is None else list(node.rounds.alarms.values())


def _performer(engine: Engine) -> LocalPerformer | None:
    return None if engine.node is None else engine.here
