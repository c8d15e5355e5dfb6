"""A worker on a transport in memory and on virtual time."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from perdure.deciders.code.authoring import Action
from perdure.model.codec import Serializer
from perdure.testing.clock import VirtualClock, VirtualEntropy
from perdure.workers.executors import LocalPerformer
from perdure.workers.worker import Surroundings, WorkerOptions, WorkerService
from tests.workers.broker import Broker, Desk, Ear, settled, until


class Stage:
    """A worker with all that is around it."""

    def __init__(self, actions: Sequence[Action[..., Any]], options: WorkerOptions) -> None:
        self.clock = VirtualClock()
        self.broker = Broker()
        self.ear = Ear()
        self.desk = Desk(self.broker)
        self.performer = LocalPerformer(self.clock, Serializer(), 8)
        around = Surroundings(self.broker, self.ear, self.performer, self.clock, VirtualEntropy())
        self.worker = WorkerService(around, [action.spec for action in actions], options)

    async def pass_time(self, seconds: float, step_s: float = 0.5) -> None:
        """That time passes, in steps, and all that follows from each happens."""
        end_us = self.clock.now_us() + round(seconds * 1_000_000)
        while self.clock.now_us() < end_us:
            self.clock.move_to(min(end_us, self.clock.now_us() + round(step_s * 1_000_000)))
            await settled()

    async def close(self) -> int:
        """Close the worker; time passes as it waits for it."""
        import asyncio

        closing = asyncio.create_task(self.worker.close())
        await settled()
        while not closing.done():
            await self.pass_time(0.5)
            await asyncio.sleep(0.001)
        return await closing


Begin = Callable[..., AbstractAsyncContextManager[Stage]]


@asynccontextmanager
async def begun(*actions: Action[..., Any], **changes: Any) -> AsyncIterator[Stage]:
    """Open a worker for these actions, and close it at the end."""
    stage = Stage(actions, WorkerOptions(**{"name": "w", "slots": 4, **changes}))
    await stage.worker.open()
    await settled()
    try:
        yield stage
    finally:
        if stage.broker.is_open:
            await stage.close()


@pytest.fixture
def begin() -> Begin:
    return begun


__all__ = ["Begin", "Stage", "begun", "until"]
