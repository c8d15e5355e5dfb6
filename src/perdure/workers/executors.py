"""Runs actions on this machine: async ones in the event loop, plain ones in threads or processes, batched ones together. Protects the
engine from whatever they do.
"""

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, json

from perdure.model.call import ActionSpec, Attempt, Outcome
from perdure.model.codec import Serializer
from perdure.model.duration import span_text
from perdure.model.failure import Failure, failure_of
from perdure.model.payload import Content
from perdure.model.pending import PENDING
from perdure.ports.clock import Alarm, Clock
from perdure.ports.performer import Performance, PlainPerformer
from perdure.ports.records import Records
from perdure.workers.attempt import CurrentAttempt, enter
from perdure.workers.batching import Batches
from perdure.workers.outcomes import content_of_result, failed
from perdure.workers.processes.pool import ProcessPool
from perdure.workers.transactional import Keep, Transactor

Deliver = Callable[[Attempt, Outcome], None]
Beat = Callable[[Attempt, Content], None]


class LocalPerformance:
    """One attempt under way in this process."""

    __slots__ = ("alarm", "attempt", "cancel_reason", "current", "deliver", "is_keeping", "is_over", "started_us", "task")

    def __init__(self, attempt: Attempt, current: CurrentAttempt, deliver: Deliver, started_us: int) -> None:
        self.attempt = attempt
        self.current = current
        self.deliver = deliver
        self.started_us = started_us
        self.task: asyncio.Task[Any] | None = None
        self.alarm: Alarm | None = None
        self.cancel_reason: Failure | None = None
        self.is_over = False
        self.is_keeping = False

    def begin_keeping(self) -> None:
        """From now on it cannot be cancelled. Raises ``CancelledError`` if it was."""
        if self.cancel_reason is not None:
            raise asyncio.CancelledError
        self.is_keeping = True

    @property
    def is_elsewhere(self) -> bool:
        return False

    def let_go(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        if self.is_keeping:
            return
        self.current.is_cancelled = True
        if self.cancel_reason is None:
            self.cancel_reason = Failure("asyncio.exceptions:CancelledError", "the workflow stopped waiting", is_final=True)
        if self.task is not None:
            self.task.cancel()


class LocalPerformer:
    """``threads_max``: plain actions that run at once. ``processes_max``: those that run in processes of their own, as many as there are
    processors if not said. ``records``: those that actions may use. ``late``: values that came after their attempt was over, and were
    dropped.
    """

    def __init__(
        self,
        clock: Clock,
        serializer: Serializer,
        threads_max: int,
        transactor: Transactor | None = None,
        *,
        processes_max: int | None = None,
        records: Records | None = None,
    ) -> None:
        self._clock = clock
        self._serializer = serializer
        self._threads_max = threads_max
        self._transactor = transactor
        self._records = records
        self._pool: ThreadPoolExecutor | None = None
        self._processes = ProcessPool(serializer, processes_max or os.cpu_count() or 1)
        self._batches = Batches(clock, self._in_thread)
        self._running: set[LocalPerformance] = set()
        self.late: int = 0

    @property
    def here(self) -> PlainPerformer | None:
        return self

    def takes(self, spec: ActionSpec) -> bool:
        return spec.function is not None

    def is_elsewhere(self, spec: ActionSpec) -> bool:
        """Never: they end with this process."""
        return False

    def perform(self, attempt: Attempt, deliver: Deliver, beat: Beat) -> Performance:
        loop = asyncio.get_running_loop()
        current = CurrentAttempt(attempt, self._serializer, beat, clock=self._clock, records=self._records)
        performance = LocalPerformance(attempt, current, deliver, self._clock.now_us())
        self._running.add(performance)
        if attempt.spec.is_transactional:
            performance.task = asyncio.Task(self._run_in_transaction(performance), loop=loop)
        elif attempt.spec.batch is not None:
            if not attempt.spec.is_async:
                current.report_through(partial(_report, loop, beat))
            performance.task = asyncio.Task(self._run_in_batch(performance), loop=loop)
        elif attempt.spec.is_async:
            # Made directly: the loop's create_task costs as much again as the task.
            performance.task = asyncio.Task(self._run_async(performance), loop=loop)
        elif attempt.spec.is_in_process:
            performance.task = asyncio.Task(self._run_in_process(performance, beat), loop=loop)
        else:
            current.report_through(partial(_report, loop, beat))
            performance.task = asyncio.Task(self._run_in_thread(performance), loop=loop)
        if attempt.end_us is not None or attempt.spec.timeout_us is not None:
            performance.alarm = self._clock.call_at(self._end_us(performance), partial(self._time_out, performance))
        return performance

    def _end_us(self, performance: LocalPerformance) -> int:
        attempt = performance.attempt
        ends = [attempt.end_us] if attempt.end_us is not None else []
        if attempt.spec.timeout_us is not None:
            ends.append(performance.started_us + attempt.spec.timeout_us)
        return min(ends)

    def _time_out(self, performance: LocalPerformance) -> None:
        if performance.is_keeping:
            return
        spec = performance.attempt.spec
        is_total = spec.timeout_us is None or performance.started_us + spec.timeout_us > self._clock.now_us()
        span = "the total time of its retry policy" if is_total else f"its timeout of {span_text(spec.timeout_us or 0)}"
        message = f"attempt {performance.attempt.number} of {spec.name} took longer than {span}"
        failure = Failure("perdure.model.errors:ActionTimedOut", message, Raw(json.encode((None, {"message": message}))), is_final=is_total)
        performance.cancel_reason = failure
        performance.cancel()
        if not spec.is_async:
            # A thread cannot be stopped: its call is over for the engine, and whatever it returns later is dropped.
            self._end(performance, Outcome(failure=failure, error_types=_TIMED_OUT))

    def _end(self, performance: LocalPerformance, outcome: Outcome) -> None:
        if performance.is_over:
            return
        performance.is_over = True
        self._running.discard(performance)
        if performance.alarm is not None:
            performance.alarm.cancel()
        performance.deliver(performance.attempt, outcome)

    async def _run_async(self, performance: LocalPerformance) -> None:
        try:
            enter(performance.current)
            args, kwargs = self._arguments(performance.attempt)
            function: Any = performance.attempt.spec.function
            outcome = self._in_time(performance, self._success(performance, await function(*args, **kwargs)))
        except asyncio.CancelledError as error:
            outcome = self._cancelled(performance, error)
        except BaseException as error:
            outcome = self._failure(performance, error)
        self._end(performance, outcome)

    async def _run_in_transaction(self, performance: LocalPerformance) -> None:
        async def work(connection: Any) -> Outcome:
            performance.current.connection = connection
            args, kwargs = self._arguments(performance.attempt)
            function: Any = performance.attempt.spec.function
            return self._success(performance, await function(*args, **kwargs))

        try:
            enter(performance.current)
            assert self._transactor is not None
            outcome = await self._transactor.perform(performance.attempt, work, performance.begin_keeping)
        except asyncio.CancelledError as error:
            outcome = self._cancelled(performance, error)
        except BaseException as error:
            outcome = self._failure(performance, error)
        self._end(performance, outcome)

    async def _run_in_batch(self, performance: LocalPerformance) -> None:
        try:
            args, kwargs = self._arguments(performance.attempt)
            value = await self._batches.join(performance.attempt, performance.current, next(iter((*args, *kwargs.values()))))
            outcome = self._success(performance, value)
        except asyncio.CancelledError as error:
            outcome = self._cancelled(performance, error)
        except BaseException as error:
            outcome = self._failure(performance, error)
        self._end(performance, outcome)

    async def _run_in_process(self, performance: LocalPerformance, beat: Beat) -> None:
        try:
            outcome = await self._processes.perform(performance.attempt, partial(beat, performance.attempt))
            outcome = msgspec.structs.replace(outcome, took_us=self._clock.now_us() - performance.started_us)
        except asyncio.CancelledError as error:
            outcome = self._cancelled(performance, error)
        except BaseException as error:
            outcome = self._failure(performance, error)
        self._end(performance, outcome)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, thread_name_prefix="perdure-action")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _run_in_thread(self, performance: LocalPerformance) -> None:
        try:
            enter(performance.current)
            args, kwargs = self._arguments(performance.attempt)
            function: Any = performance.attempt.spec.function
            work = partial(contextvars.copy_context().run, partial(self._watched, performance, function, args, kwargs))
            outcome = self._success(performance, await self._in_thread(work))
        except asyncio.CancelledError as error:
            outcome = self._cancelled(performance, error)
        except BaseException as error:
            outcome = self._failure(performance, error)
        self._end(performance, outcome)

    def _arguments(self, attempt: Attempt) -> tuple[list[Any], dict[str, Any]]:
        signature = attempt.spec.signature
        if signature is not None:
            values: tuple[list[Any], dict[str, Any]] = signature.decode(self._serializer, attempt.args, attempt.kwargs)
            return values
        return [self._serializer.decode(entry) for entry in attempt.args], {
            name: self._serializer.decode(entry) for name, entry in attempt.kwargs.items()
        }

    def _success(self, performance: LocalPerformance, value: Any) -> Outcome:
        took_us = self._clock.now_us() - performance.started_us
        if value is PENDING:
            return Outcome(took_us=took_us)
        spec = performance.attempt.spec
        returns = Any if spec.signature is None else spec.signature.returns
        return Outcome(content_of_result(self._serializer, value, returns=returns, name=spec.name), took_us=took_us)

    def _in_time(self, performance: LocalPerformance, outcome: Outcome) -> Outcome:
        """What an action returns after it was cancelled or timed out is dropped: the first word on an attempt counts (G4)."""
        if performance.cancel_reason is None:
            return outcome
        self.late += 1
        return Outcome(failure=performance.cancel_reason, took_us=outcome.took_us, error_types=_TIMED_OUT)

    def _watched(self, performance: LocalPerformance, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        value = function(*args, **kwargs)
        self.late += performance.is_over
        return value

    def _cancelled(self, performance: LocalPerformance, error: asyncio.CancelledError) -> Outcome:
        failure = performance.cancel_reason or failure_of(error, is_final=True)
        took_us = self._clock.now_us() - performance.started_us
        return Outcome(failure=failure, took_us=took_us, error_types=_TIMED_OUT)

    def _failure(self, performance: LocalPerformance, error: BaseException) -> Outcome:
        return failed(error, self._clock.now_us() - performance.started_us)

    def listen(self, heard: Callable[[], None]) -> None:
        """What is declared later is told by the definitions."""

    def prove(self, attempt: Attempt, outcome: Outcome, worker: str) -> Outcome:
        """What ends here has proved its result itself."""
        return outcome

    def keep_with(self, keep: Keep) -> None:
        """As the port says."""
        if self._transactor is not None:
            self._transactor.keep = keep

    async def close(self) -> None:
        for performance in list(self._running):
            performance.is_over = not performance.is_keeping
            performance.cancel()
        tasks = [performance.task for performance in self._running if performance.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()
        await self._batches.close()
        await self._processes.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


_TIMED_OUT = ("perdure.model.errors:ActionTimedOut", "perdure.model.errors:ActionFailed", "builtins:TimeoutError", "builtins:Exception")


def _report(loop: asyncio.AbstractEventLoop, beat: Beat, attempt: Attempt, content: Content) -> None:
    """Heartbeats of plain actions come from their thread."""
    loop.call_soon_threadsafe(beat, attempt, content)
