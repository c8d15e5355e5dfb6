"""The decider of workflows: the user's coroutine, advanced by stimuli, replayed from facts."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from perdure.deciders.code import guard
from perdure.deciders.code.context import PutDown, RunContext
from perdure.deciders.code.instance import Instance
from perdure.deciders.code.places import line_of
from perdure.deciders.code.replay import verify, verify_arguments
from perdure.deciders.code.signature import Signature
from perdure.deciders.code.task import BranchTask
from perdure.deciders.decider import BranchPlace, RecordedRow, RunIdentity, Tools
from perdure.model import command as commands
from perdure.model import fact as facts
from perdure.model.duration import MICROSECONDS
from perdure.model.errors import RunTimedOut
from perdure.model.failure import Failure, failure_of
from perdure.model.ids import CallName
from perdure.model.payload import Content
from perdure.model.stimulus import Begun, CancelAsked, Failed, Fired, Signalled, Stimulus, Succeeded, Updated


class ContinuedAsNew(BaseException):
    """Leaves the code towards a new incarnation. No ``except Exception`` catches it."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], line: str) -> None:
        super().__init__()
        self.arguments = args
        self.keywords = kwargs
        self.line = line


class CodeDecider:
    """One run of one workflow. ``instance`` holds the user's object for the class form."""

    def __init__(self, identity: RunIdentity, tools: Tools, instance: Instance, signature: Signature) -> None:
        self.context = RunContext(identity, tools)
        self.context.is_strict = instance.check == "strict"
        self._instance = instance
        self._signature = signature
        self._root: BranchTask | None = None
        self._updates: dict[str, BranchTask] = {}
        self._cancel: CancelAsked | None = None
        self._is_finishing = False
        self._is_timed_out = False
        self._watch = guard.for_function(instance.entry, instance.factory)

    def react(self, stimuli: Sequence[Stimulus], number: int, now_us: int) -> list[commands.Command]:
        context = self.context
        context.commands = []
        context.row_number = number
        context.loop.now_us = now_us
        for stimulus in stimuli:
            self._take(stimulus)
        self._drain()
        context.take_published()
        if self._root is not None and self._root.done():
            self._finish(self._root)
        context.forget_large()
        return context.commands

    def replay(self, row: RecordedRow) -> list[commands.Command]:
        context = self.context
        context.is_replaying = True
        context.recorded_calls = {fact.call for fact in row.facts if isinstance(fact, facts.ActionScheduled | facts.ChildStarted)}
        context.recorded_values = {fact.call: row.content(fact.value) for fact in row.facts if isinstance(fact, facts.Recorded)}
        context.recorded_patches = {fact.id for fact in row.facts if isinstance(fact, facts.Patched)}
        done = self.react(row.stimuli, row.number, row.at_us)
        context.is_replaying = False
        context.recorded_calls = frozenset()
        if self._instance.check != "none":
            verify(done, row.facts, row.number)
        if context.is_strict:
            verify_arguments(done, row.facts, row.number, row.content, self.context.tools.serializer.plain)
        return done

    def _take(self, stimulus: Stimulus) -> None:
        match stimulus:
            case Succeeded():
                self.context.take_success(stimulus)
            case Failed():
                self.context.take_failure(stimulus)
            case Fired():
                self.context.take_timer(stimulus)
            case Signalled():
                self.context.take_signal(stimulus)
            case Begun():
                self._begin(stimulus)
            case Updated():
                self._begin_update(stimulus)
            case CancelAsked():
                self._cancel = stimulus
                if self._root is not None and not self._root.done():
                    self._root.cancel(stimulus.reason or None)

    def _begin(self, begun: Begun) -> None:
        self.context.seed = begun.seed
        for signal in begun.carried:
            self.context.take_signal(signal)
        args, kwargs = self._signature.decode(self.context.tools.serializer, begun.args, begun.kwargs)
        self._root = self.context.loop.create_branch(self._instance.begin(args, kwargs), "")
        if begun.end_us is not None:
            self.context.loop.call_at(begun.end_us / MICROSECONDS, self._time_out)

    def _time_out(self) -> None:
        if self._root is not None and not self._root.done():
            self._is_timed_out = True
            self._root.cancel()

    def _begin_update(self, update: Updated) -> None:
        method = self._instance.update(update.method)
        args, kwargs = method.signature.decode(self.context.tools.serializer, update.args, update.kwargs)
        branch = self.context.loop.create_branch(self._instance.call_update(method, args, kwargs), f"u{len(self._updates) + 1}")
        self._updates[update.id] = branch
        branch.add_done_callback(lambda task: self._answer(update.id, task))

    def _answer(self, id: str, task: "asyncio.Task[Any]") -> None:
        if self.context.is_closing:
            return
        if task.cancelled():
            failure: Failure | None = Failure(type="asyncio.exceptions:CancelledError", message="the run ended first")
        else:
            error = task.exception()
            failure = None if error is None else failure_of(error)
        if failure is not None:
            self.context.commands.append(commands.AnswerUpdate(id, failure=failure))
            return
        content = self.context.tools.serializer.encode(task.result(), "the answer of an update")
        self.context.commands.append(commands.AnswerUpdate(id, content=content))

    def _drain(self) -> None:
        if self._watch is None:
            self.context.loop.drain()
        else:
            with self._watch:
                self.context.loop.drain()
        if self.context.violation is not None:
            raise self.context.violation

    def _finish(self, root: BranchTask) -> None:
        """The code has come to its end: what still runs beside it is cancelled, as ``asyncio.run`` does, and then the run ends."""
        if not self._is_finishing:
            self._is_finishing = True
            for task in self.context.loop.tasks:
                if not task.done():
                    task.cancel()
            self._drain()
        if all(task.done() for task in self.context.loop.tasks):
            self.context.take_published()
            self.context.commands.append(self._end(root))

    def _end(self, root: BranchTask) -> commands.Command:
        if root.cancelled() and self._is_timed_out:
            return commands.Fail(failure_of(RunTimedOut(run=self.context.identity.id)))
        if root.cancelled():
            return commands.Cancel(self._cancel.reason if self._cancel else "")
        error = root.exception()
        if error is None:
            return commands.Complete(self._encode_result(root.result()))
        if isinstance(error, ContinuedAsNew):
            args, kwargs = self._signature.encode(self.context.tools.serializer, error.arguments, error.keywords)
            return commands.ContinueAsNew(args, kwargs, error.line)
        if isinstance(error, PutDown):
            raise error
        return commands.Fail(failure_of(error))

    def _encode_result(self, value: Any) -> Content:
        serializer = self.context.tools.serializer
        content = serializer.encode(value, f"the result of {self.context.identity.definition}")
        if self._signature.returns is not Any:
            serializer.decode(content, self._signature.returns, f"the result of {self.context.identity.definition}")
        return content

    def has_validator(self, method: str) -> bool:
        return self._instance.has_validator(method)

    def refusal(self, update: Updated) -> Failure | None:
        try:
            method = self._instance.update(update.method)
            args, kwargs = method.signature.decode(self.context.tools.serializer, update.args, update.kwargs)
            self._read(lambda: self._instance.validate(method, args, kwargs))
        except Exception as error:
            return failure_of(error, is_final=True)
        return None

    def query(self, method: str, args: Sequence[Content], kwargs: dict[str, Content]) -> Content:
        query = self._instance.query(method)
        values, keywords = query.signature.decode(self.context.tools.serializer, args, kwargs)
        answer = self._read(lambda: self._instance.call_query(query, values, keywords))
        return self.context.tools.serializer.encode(answer, f"the answer of {method}")

    def _read(self, function: Callable[[], Any]) -> Any:
        with self._watch or nullcontext():
            return self.context.read(function)

    def unread_signals(self) -> list[Signalled]:
        return [signal for channel in self.context.channels.values() for signal in channel.unread]

    def returns(self, call: CallName) -> Any:
        waiting = self.context.waiting.get(call)
        return Any if waiting is None else waiting.returns

    def places(self) -> list[BranchPlace]:
        return [place for task in self.context.loop.tasks if not task.done() and (place := _place(task))]

    def close(self) -> None:
        self.context.is_closing = True
        self.context.is_replaying = True
        self.context.loop.close()
        # They know each other: nothing of the run shall be left to the garbage collector.
        del self.context.loop


def _place(task: BranchTask) -> BranchPlace | None:
    """The innermost user line of a suspended branch."""
    awaited: Any = task.get_coro()
    found: BranchPlace | None = None
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        line = line_of(frame) if frame is not None else ""
        if line and frame is not None:
            found = BranchPlace(task.path, line, frame.f_code.co_qualname)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return found
