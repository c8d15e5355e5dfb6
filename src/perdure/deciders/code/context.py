"""The context of one running workflow: where durable operations become commands and stimuli become results."""

import asyncio
import logging
import sys
from asyncio import events
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from msgspec import Raw, Struct

from perdure.deciders.code.channels import Channel, Reader, taking
from perdure.deciders.code.loop import Callback, DurableTimer, WorkflowLoop
from perdure.deciders.code.places import here, line_of
from perdure.deciders.decider import Definition, RunIdentity, Tools
from perdure.model import command as commands
from perdure.model.call import ActionSpec
from perdure.model.errors import DefinitionConflict, ForbiddenInWorkflow, InvalidValue, ReplayMismatch, TooManyCalls
from perdure.model.failure import exception_of
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content, packed
from perdure.model.stimulus import Failed, Fired, Signalled, Succeeded

logger = logging.getLogger("perdure.workflow")


class PutDown(BaseException):
    """Ends the clean-up code of a run that is put down, before it can do anything."""


class WaitingCall(Struct, gc=False):
    """A call whose result the code waits for."""

    future: asyncio.Future[Any]
    returns: Any


class RunContext:
    """Everything between one workflow's code and its decider."""

    def __init__(self, identity: RunIdentity, tools: Tools) -> None:
        self.identity = identity
        self.tools = tools
        self.loop = WorkflowLoop(self, tools.limits.callbacks_max)
        self.commands: list[commands.Command] = []
        self.waiting: dict[CallName, WaitingCall] = {}
        self.timers: dict[CallName, DurableTimer] = {}
        self.channels: dict[str, Channel] = {}
        self.recorded_calls: frozenset[CallName] | set[CallName] = frozenset()
        self.recorded_values: dict[CallName, Content] = {}
        self.recorded_patches: set[str] = set()
        self.is_strict = False
        self.patches: dict[str, bool] = {}
        self.state: dict[str, Any] = {}
        self.seed = 0
        self.row_number = 0
        self.is_replaying = False
        self.is_closing = False
        self.is_permitted = False
        self.is_reading = False
        self.violation: BaseException | None = None
        self._state_changed = False
        self._large: dict[int, tuple[bytes, Content]] = {}

    # Calls of actions and children.

    async def run_action(self, spec: ActionSpec, args: tuple[Any, ...], kwargs: dict[str, Any], line: str) -> Any:
        """The action's result, durable. Raises what the action raised."""
        call = self.open_call()
        if call in self.recorded_calls and not self.is_strict:
            self.commands.append(commands.RunAction(call, spec, (), {}, line))
        else:
            self.commands.append(commands.RunAction(call, spec, *self.encode_arguments(spec.name, args, kwargs), line))
        future: asyncio.Future[Any] = asyncio.Future(loop=self.loop)
        self.waiting[call] = WaitingCall(future, spec.returns)
        try:
            return await future
        except asyncio.CancelledError:
            self._stop_waiting(call)
            raise

    async def run_child(self, start: commands.StartChild, returns: Any) -> Any:
        """The child's result. Raises what the child raised, or `RunCancelled`."""
        self.commands.append(start)
        return await self._result(start.call, returns)

    def open_call(self) -> CallName:
        if self.is_closing or self.is_reading:
            self.refuse_when_closing()
        if len(self.waiting) >= self.tools.limits.calls_open_max:
            self.violate(TooManyCalls(size=len(self.waiting), limit=self.tools.limits.calls_open_max))
        return self.loop.next_call()

    async def _result(self, call: CallName, returns: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.Future(loop=self.loop)
        self.waiting[call] = WaitingCall(future, returns)
        try:
            return await future
        except asyncio.CancelledError:
            self._stop_waiting(call)
            raise

    def _stop_waiting(self, call: CallName) -> None:
        if self.waiting.pop(call, None) is not None:
            self.commands.append(commands.CancelCall(call))

    def encode_arguments(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[tuple[Content, ...], dict[str, Content]]:
        """Give the contents of arguments; a large ``bytes`` that is passed again and again is encoded once."""
        contents = tuple([self._encode(value, name) for value in args])
        return contents, {key: self._encode(value, name) for key, value in kwargs.items()} if kwargs else {}

    def _encode(self, value: Any, name: str) -> Content:
        if type(value) is not bytes or len(value) <= self.tools.limits.payload_inline_max:
            return self.tools.serializer.encode(value, "an argument", name)
        known = self._large.get(id(value))
        if known is None:
            known = self._large[id(value)] = (value, self.tools.serializer.encode(value, "an argument", name))
        return known[1]

    def forget_large(self) -> None:
        """At the end of a transition large values are let go."""
        if self._large:
            self._large.clear()

    # Timers.

    def start_timer(self, due_us: int, due_s: float, callback: Callback) -> DurableTimer:
        self.refuse_when_closing()
        name = self.loop.next_call()
        timer = self.timers[name] = DurableTimer(self, name, due_s, callback)
        self.commands.append(commands.StartTimer(name, due_us, line_of(sys._getframe(1))))
        return timer

    def cancel_timer(self, name: CallName) -> None:
        if self.timers.pop(name, None) is not None and not self.is_closing:
            self.commands.append(commands.CancelTimer(name))

    # Signals.

    async def receive(self, channel_name: str, wanted: Any, *, discards_early: bool, line: str) -> Any:
        """The next signal of the channel, each to one reader, in order of arrival."""
        call = self.open_call()
        channel = self.channels.setdefault(channel_name, Channel())
        if discards_early:
            self.commands += [commands.DiscardSignal(signal.id, channel_name) for signal in channel.unread]
            channel.unread.clear()
        if channel.unread:
            signal = channel.unread.popleft()
            self.commands.append(taking(call, signal))
            try:
                return self.tools.serializer.decode(signal.content, wanted, f"the signal {channel_name!r}")
            except InvalidValue as error:
                # Whoever sent it is gone, and the code is not to blame: the run stalls, as it does when it waits already.
                self.violate(error)
        future = self.loop.create_future()
        channel.readers.append(Reader(call, future, wanted))
        self.commands.append(commands.AwaitSignal(call, channel_name, line))
        try:
            return await future
        except asyncio.CancelledError:
            if any(reader.call == call for reader in channel.readers):
                channel.drop(call)
                self.commands.append(commands.CancelCall(call))
            raise

    # Stimuli.

    def take_success(self, stimulus: Succeeded) -> None:
        waiting = self.waiting.pop(stimulus.call, None)
        if waiting is not None and not waiting.future.done():
            value = self.tools.serializer.decode(stimulus.content, waiting.returns, "the result", stimulus.call)
            waiting.future.set_result(value)

    def take_failure(self, stimulus: Failed) -> None:
        waiting = self.waiting.pop(stimulus.call, None)
        if waiting is not None and not waiting.future.done():
            waiting.future.set_exception(exception_of(stimulus.failure))

    def take_timer(self, stimulus: Fired) -> None:
        timer = self.timers.pop(stimulus.call, None)
        if timer is not None and not timer.is_cancelled:
            self.loop.make_ready(timer)

    def take_signal(self, signal: Signalled) -> None:
        channel = self.channels.setdefault(signal.channel, Channel())
        reader = channel.next_reader()
        if reader is None:
            channel.unread.append(signal)
            return
        reader.future.set_result(self.tools.serializer.decode(signal.content, reader.wanted, f"the signal {signal.channel!r}"))
        self.commands.append(taking(reader.call, signal))

    # What code asks for directly.

    def record(self, function: Callable[[], Any]) -> Any:
        """The function's value, from the journal if it is there."""
        call, line = self.open_call(), here()
        content = self.recorded_values.pop(call, None)
        if content is None and self.is_replaying:
            self.violate(ReplayMismatch(position=self.row_number, recorded="nothing at this place", done=f"perdure.record at {line}"))
        if content is None:
            content = self.tools.serializer.encode(self._outside(function), f"the value recorded at {line}")
        self.commands.append(commands.Record(call, content, line))
        return self.tools.serializer.decode(content)

    def _outside(self, function: Callable[[], Any]) -> Any:
        was, self.is_permitted = self.is_permitted, True
        try:
            return function()
        finally:
            self.is_permitted = was

    def patched(self, change: str) -> bool:
        known = self.patches.get(change)
        if known is None:
            known = self.patches[change] = not self.is_replaying or change in self.recorded_patches
            if known:
                self.commands.append(commands.MarkPatch(change))
        return known

    def publish(self, state: dict[str, Any]) -> None:
        self.refuse_when_closing()
        self.state |= state
        self._state_changed = True

    def take_published(self) -> None:
        """Turn what was published in this transition into one command."""
        if self._state_changed:
            self._state_changed = False
            self.commands.append(commands.Publish(Raw(packed(self.tools.serializer.encode(self.state, "the published state")))))

    def mean(self, definition: Definition) -> None:
        """The engine means this definition by its name; two of one name stall the run before a child gets the wrong code."""
        try:
            self.tools.bind(definition)
        except DefinitionConflict as error:
            self.violate(error)

    def child_id(self, call: CallName) -> RunId:
        """Name a child after its parent and the call, so that a replay names it alike.

        The colon is in no call's name: otherwise a child of a child could be named as a child of a branch is.
        """
        base = "" if self.identity.base == 1 else f"{self.identity.base}~"
        return RunId(f"{self.identity.id}:{base}{call}")

    # What is refused.

    def refuse_when_closing(self) -> None:
        if self.is_closing:
            raise PutDown
        if self.is_reading:
            raise ForbiddenInWorkflow(where=here(), what="a durable operation in a query or validator", instead="an @update method")

    def read(self, function: Callable[[], Any]) -> Any:
        """Give the value of a query or validator, which may look at the run but not move it."""
        outer, self.is_reading = events._get_running_loop(), True
        events._set_running_loop(self.loop)
        try:
            return function()
        finally:
            events._set_running_loop(outer)
            self.is_reading = False

    def forbid(self, what: str, instead: str, line: str) -> NoReturn:
        """Stall the run for something that cannot be replayed, even if the code swallows the error. A query or validator just fails."""
        if self.is_closing:
            raise PutDown
        error = ForbiddenInWorkflow(where=line or "workflow code", what=what, instead=instead)
        if self.is_reading:
            raise error
        self.violate(error)

    def violate(self, error: BaseException) -> NoReturn:
        if self.violation is None:
            self.violation = error
        raise error

    def note_unhandled(self, context: dict[str, Any]) -> None:
        """What asyncio reports of tasks whose exception nobody read."""
        if not (self.is_replaying or self.is_closing):
            logger.debug("run %s: %s: %r", self.identity.id, context.get("message"), context.get("exception"))
