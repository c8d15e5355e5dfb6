"""A run as applications hold it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, overload

from perdure import insight
from perdure.client.gateway import Gateway
from perdure.deciders.code.authoring import Action, Query, Signal, Update
from perdure.engine.runs.reopening import Asked
from perdure.insight import AnyReason, BranchReason, Entry
from perdure.model import fact as facts
from perdure.model.codec import Serializer
from perdure.model.command import Cancel, Complete, Fail
from perdure.model.durability import Durability
from perdure.model.errors import RunCancelled, RunFailed
from perdure.model.failure import Failure, exception_of
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content, unpacked
from perdure.model.run import Status
from perdure.model.stimulus import Signalled, Updated

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Run(Generic[R]):
    """A handle; holding it costs nothing and does not keep the run alive. All methods may be called from several tasks."""

    def __init__(
        self, id: RunId, *, gateway: Callable[[], Gateway], serializer: Serializer, token: Callable[[], str], returns: Any = Any
    ) -> None:
        self.id: RunId = id
        self._gateway = gateway
        self._serializer = serializer
        self._token = token
        self._returns = returns
        self.durability: Durability | None = None
        """The class that a start got; ``None`` on a handle that did not start the run."""

    async def result(self) -> R:
        """Wait for the end and give the value. A failed run raises its exception, or `RunFailed` where the class cannot be rebuilt;
        a cancelled one raises `RunCancelled`. A stalled run is waited for: it can still be mended.
        """
        last = await self._gateway().end_of(self.id)
        match last:
            case Complete():
                return self._value(last.content)
            case Fail():
                raise _failed(last.failure)
            case Cancel():
                raise RunCancelled(run=self.id)
            case None:
                return await self._result_from_journal()

    async def _result_from_journal(self) -> R:
        store = self._gateway().store
        fact, data = await insight.last_word(store, self.id)
        match fact:
            case facts.RunCompleted():
                return self._value(await insight.content(store, fact.value, data))
            case facts.RunFailed():
                raise _failed(fact.error)
            case facts.RunCancelled():
                raise RunCancelled(run=self.id)

    def _value(self, content: Content) -> R:
        value: R = self._serializer.decode(content, self._returns, f"the result of run {self.id!r}")
        return value

    async def status(self) -> Status:
        """Give where the run stands. Raises `RunNotFound`."""
        return (await insight.row_of(self._gateway().store, self.id)).status

    async def state(self) -> dict[str, Any]:
        """Give what the code published last, empty if nothing; no code runs for it."""
        row = await insight.row_of(self._gateway().store, self.id)
        if row.state is None:
            return {}
        found: dict[str, Any] = self._serializer.decode(unpacked(row.state), dict[str, Any], f"the state of run {self.id!r}")
        return found

    async def why(self) -> list[AnyReason]:
        """Tell what the run waits for, with source lines; empty if it has ended."""
        reasons = await insight.why(self._gateway().store, self.id)
        lines = {getattr(reason, "line", "") for reason in reasons}
        if not reasons or any(isinstance(reason, insight.StalledReason) for reason in reasons):
            return reasons
        places = await self._gateway().places(self.id)
        return [*reasons, *(BranchReason(place.branch, place.line, place.function) for place in places if place.line not in lines)]

    @overload
    async def send(self, signal: Signal[None], value: None = None, *, id: str | None = None) -> None: ...
    @overload
    async def send(self, signal: Signal[T], value: T, *, id: str | None = None) -> None: ...
    @overload
    async def send(self, signal: str, value: Any = None, *, id: str | None = None) -> None: ...
    async def send(self, signal: Signal[Any] | str, value: Any = None, *, id: str | None = None) -> None:
        """The signal is durable. With an ``id`` it takes effect once however often it is sent; the same id with another value raises
        `SignalConflict`, also before a node has read the first one. (Away from the run's node, an id costs one more read.)
        Raises `RunNotFound`, `RunEnded`, `InvalidValue`, `Overloaded`; `TooManySignals` where the run is on this node.
        """
        channel = signal if isinstance(signal, str) else signal.name
        content = self._serializer.encode(value, f"the signal {channel!r}")
        if not isinstance(signal, str):
            self._serializer.decode(content, signal.type, f"the signal {channel!r}")
        digest = "" if id is None else self._serializer.digest((value,), {})
        await self._gateway().signal(self.id, Signalled(id or self._token(), channel, content, id is not None, digest))

    @overload
    async def update(self, update: Update[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def update(self, update: Update[..., T], /, *args: Any, update_id: str, **kwargs: Any) -> T: ...
    @overload
    async def update(self, update: str, /, *args: Any, update_id: str | None = None, **kwargs: Any) -> Any: ...
    async def update(self, update: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Give the update's answer; raises what it or its validator raised. The same ``update_id`` takes effect once, and
        gives the same answer; with another method or other arguments it raises `UpdateConflict`.
        """
        update_id: str | None = kwargs.pop("update_id", None)
        name: str = update if isinstance(update, str) else update.function.__name__
        what = f"an argument of the update {name!r}"
        contents = tuple(self._serializer.encode(value, what) for value in args)
        keywords = {key: self._serializer.encode(value, what) for key, value in kwargs.items()}
        digest = "" if update_id is None else self._serializer.digest((name, len(args), *args), kwargs)
        asked = Updated(update_id or self._token(), name, contents, keywords, update_id is not None, digest)
        answer = await self._gateway().update(self.id, asked)
        return self._serializer.decode(answer)

    @overload
    async def query(self, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def query(self, query: str, /, *args: Any, **kwargs: Any) -> Any: ...
    async def query(self, query: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Give the answer of a query method; the run does not move."""
        name: str = query if isinstance(query, str) else query.function.__name__
        what = f"an argument of the query {name!r}"
        contents = [self._serializer.encode(value, what) for value in args]
        keywords = {key: self._serializer.encode(value, what) for key, value in kwargs.items()}
        return self._serializer.decode(await self._gateway().query(self.id, name, contents, keywords))

    async def cancel(self, reason: str = "") -> bool:
        """The run has been asked to end: its code sees ``CancelledError`` and may clean up. ``False`` if it has ended already."""
        return await self._gateway().cancel(self.id, reason)

    async def resume(self) -> Status | None:
        """A stalled run is tried again with the code that is registered now; gives its status after that."""
        return await self._gateway().resume(self.id)

    async def retry(
        self,
        call: str | None = None,
        *,
        action: str | Action[..., Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> list[CallName]:
        """Failed calls of the run are made again, all or those of this name or action, with a new sequence of attempts; gives their names,
        none if they are under way already.

        A run that failed because of them is reopened and goes on. In an open run, whose code has taken the failure, a call gets its later
        status, and the code is not told. ``args`` and ``kwargs`` take the place of those of a run's only call, as in a standalone task.
        Raises `NotRetryable` and says why: the code went on after the failure, or failed by itself, or the run has ended otherwise.
        """
        asked = Asked(call=call, action=name_of(action))
        if args is not None or kwargs is not None:
            contents = tuple(self._serializer.encode(value, "an argument") for value in args or ())
            keywords = {name: self._serializer.encode(value, "an argument") for name, value in (kwargs or {}).items()}
            asked = Asked(call=asked.call, action=asked.action, args=contents, kwargs=keywords)
        return await self._gateway().retry(self.id, asked)

    async def journal(self) -> AsyncIterator[Entry]:
        """Give the facts so far, oldest first."""
        async for entry in insight.entries(self._gateway().store, self.id):
            yield entry

    async def watch(self) -> AsyncIterator[Entry]:
        """Give the facts so far and then each new one, until the run has ended."""
        after = 0
        while True:
            # The wait begins before the read: a row that comes in between ends it at once.
            change = asyncio.ensure_future(self._gateway().change_of(self.id))
            await asyncio.sleep(0)
            try:
                is_final = (await insight.row_of(self._gateway().store, self.id)).status.is_final
                async for entry in insight.entries(self._gateway().store, self.id, after):
                    after = entry.number
                    yield entry
                if is_final:
                    return
                await change
            finally:
                change.cancel()

    def __repr__(self) -> str:
        return f"<run {self.id}>"


@overload
def name_of(action: str | Action[..., Any]) -> str: ...
@overload
def name_of(action: str | Action[..., Any] | None) -> str | None: ...
def name_of(action: str | Action[..., Any] | None) -> str | None:
    """Give the name of an action, which may be given by it."""
    return action.spec.name if isinstance(action, Action) else action


def _failed(failure: Failure) -> BaseException:
    return exception_of(failure, RunFailed)
