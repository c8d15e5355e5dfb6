"""Puts calls of one action together. Protects a database from a thousand inserts where one would do.

What a batch raises fails each of its calls; the attempt after that is made alone, so that one bad input does not fail its neighbours twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any

from msgspec import Struct

from perdure.model.call import ActionSpec, Attempt, Batch
from perdure.model.duration import span_us
from perdure.model.errors import InvalidValue, OutputMissing
from perdure.model.ids import CallKey
from perdure.ports.clock import Alarm, Clock
from perdure.workers.attempt import CurrentAttempt, enter_batch

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class _Call(Struct, frozen=True, eq=False):
    """One call, and what of it the function may know."""

    value: Any
    current: CurrentAttempt
    future: "asyncio.Future[Any]"


class _Line(Struct, eq=False):
    """Calls that wait for their batch."""

    place: Hashable
    spec: ActionSpec
    calls: dict[CallKey, _Call]
    alarm: Alarm | None = None


class Batches:
    """``in_thread`` gives what a plain function gives in a thread. ``running``: the batches under way."""

    def __init__(self, clock: Clock, in_thread: InThread) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._lines: dict[Hashable, _Line] = {}
        self.running: dict[asyncio.Task[Any], ActionSpec] = {}

    async def join(self, attempt: Attempt, current: CurrentAttempt, value: Any) -> Any:
        """Give the output of this call, performed together with others of its key. Raises what the batch raised, or `OutputMissing`."""
        spec = attempt.spec
        assert spec.batch is not None
        place = (spec.function, spec.batch.key(value) if spec.batch.key is not None else None)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        line = self._lines.get(place)
        call = _Call(value, current, future)
        is_alone = attempt.number > 1 or attempt.sequence > 1 or (line is not None and attempt.key in line.calls)
        if is_alone:
            self._begin(_Line(place, spec, {attempt.key: call}))
        else:
            self._wait(line or self._line(place, spec, spec.batch), attempt.key, call)
        return await future

    def _line(self, place: Hashable, spec: ActionSpec, batch: Batch) -> _Line:
        line = self._lines[place] = _Line(place, spec, {})
        line.alarm = self._clock.call_at(self._clock.now_us() + span_us(batch.wait), partial(self._begin, line))
        return line

    def _wait(self, line: _Line, key: CallKey, call: _Call) -> None:
        line.calls[key] = call
        assert line.spec.batch is not None
        if len(line.calls) >= line.spec.batch.calls_max:
            self._begin(line)

    def _begin(self, line: _Line) -> None:
        if line.alarm is not None:
            line.alarm.cancel()
        if self._lines.get(line.place) is line:
            del self._lines[line.place]
        wanted = {key: call for key, call in line.calls.items() if not call.future.done()}
        if not wanted:
            return
        task = asyncio.get_running_loop().create_task(self._run(line.spec, wanted))
        self.running[task] = line.spec
        task.add_done_callback(self.running.pop)
        for call in wanted.values():
            call.future.add_done_callback(partial(_cancel_unwanted, task, wanted))

    async def _run(self, spec: ActionSpec, calls: Mapping[CallKey, _Call]) -> None:
        function: Any = spec.function
        inputs = {key: call.value for key, call in calls.items()}
        # This task begins in the context of whoever called last, or of nobody.
        enter_batch({key: call.current for key, call in calls.items()})
        try:
            if spec.is_async:
                found = await function(inputs)
            else:
                found = await self._in_thread(partial(copy_context().run, function, inputs))
            if not isinstance(found, Mapping):
                raise InvalidValue(what=f"the result of the batch {spec.name}", problem=f"expected a dict by call key, got {found!r:.100}")
        except asyncio.CancelledError:
            for call in calls.values():
                call.future.cancel()
            raise
        except BaseException as error:
            for call in calls.values():
                if not call.future.done():
                    call.future.set_exception(error)
        else:
            for key, call in calls.items():
                _answer(call.future, found, key, spec.name)

    async def close(self) -> None:
        """Nothing waits or runs any more."""
        for line in self._lines.values():
            if line.alarm is not None:
                line.alarm.cancel()
        self._lines.clear()
        for task in list(self.running):
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


def _answer(future: "asyncio.Future[Any]", found: Mapping[Any, Any], key: CallKey, name: str) -> None:
    if future.done():
        return
    if key in found:
        future.set_result(found[key])
    else:
        future.set_exception(OutputMissing(message=f"the batch of {name} gave no output for the call {key}"))


def _cancel_unwanted(task: "asyncio.Task[None]", calls: Mapping[CallKey, _Call], _: object) -> None:
    """A batch that nobody waits for any more is cancelled."""
    if all(call.future.cancelled() for call in calls.values()):
        task.cancel()
