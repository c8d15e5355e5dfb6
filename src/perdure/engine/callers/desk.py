"""What clients ask of the node in their own process. Protects callers: an answer comes after the commit, never before (G2)."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from perdure.deciders.decider import BranchPlace, Definition
from perdure.deciders.ledger import OpenCall
from perdure.engine import news
from perdure.engine.callers.admission import Admission
from perdure.engine.calls.dispatcher import retried_outcome
from perdure.engine.runs.ended import asked_of, recall
from perdure.engine.runs.live import Arrival, LiveRun, Phase
from perdure.engine.runs.record import Told
from perdure.model.call import ActionSpec
from perdure.model.errors import (
    CallClosed,
    CallNotFound,
    DefinitionNotFound,
    EngineClosed,
    InvalidValue,
    RunElsewhere,
    RunEnded,
    RunNotFound,
    Unavailable,
)
from perdure.model.ids import CallName, RunId, call_key
from perdure.model.payload import Content
from perdure.model.run import RunRow, Status
from perdure.model.stimulus import Begun, CancelAsked, Failed, Signalled, Stimulus, Succeeded, Updated

if TYPE_CHECKING:
    from perdure.engine.node import Node


class Desk:
    def __init__(self, node: "Node") -> None:
        self._node = node
        self._starts: dict[RunId, asyncio.Future[RunRow | None]] = {}
        self._tells: set[asyncio.Future[Any]] = set()
        self.admission = Admission(node.around.tools.limits, node.around.clock)
        node.pump.on_refused = self._on_refused
        node.pump.on_commit = self._on_commit

    async def start(self, row: RunRow, begun: Begun, *, is_checked: bool, replaces: bool = False) -> RunRow | None:
        """The run is durable; gives the row that was there before if its id was taken. ``replaces``: one that has ended gives way.

        Raises `RunElsewhere` while this node has no partition to put it in, and `Overloaded`.
        """
        entered_us = self.admission.enter(f"the start of {row.definition!r}")
        try:
            return await self._start(row, begun, is_checked=is_checked, replaces=replaces)
        finally:
            self.admission.leave(entered_us)

    async def _start(self, row: RunRow, begun: Begun, *, is_checked: bool, replaces: bool) -> RunRow | None:
        self._require_open(f"the start of {row.definition!r}")
        row.partition = self._pick_partition(row.id)
        while (under_way := self._starts.get(row.id)) is not None:
            await asyncio.shield(under_way)
            if (known := await self._node.around.store.row(row.id)) is not None:
                return known
        # Claimed before the first wait, so that of many starts of one id only one looks and begins.
        future: asyncio.Future[RunRow | None] = asyncio.get_running_loop().create_future()
        self._starts[row.id] = future
        try:
            if is_checked and (known := await self._known(row.id, replaces=replaces)) is not None:
                return known
            self._require_open(f"the start of {row.definition!r}")
            row.partition = self._pick_partition(row.id)  # The one of before may be another node's by now.
            if replaces and (reopened := self._node.roster.get(row.id)) is not None and reopened.phase is not Phase.LOADING:
                return reopened.row
            self._begin(row, begun, is_checked=is_checked, replaces=replaces)
            return await future
        finally:
            self._starts.pop(row.id, None)
            if not future.done():
                future.set_result(None)

    def _pick_partition(self, run: RunId) -> int:
        partition = self._node.share.pick(run)
        if partition is None:
            raise RunElsewhere(run=run)
        return partition

    async def _known(self, run: RunId, *, replaces: bool) -> RunRow | None:
        known = await self._node.around.store.row(run)
        # Started by way of the store, it may be on its way into memory, and must not be there twice.
        while known is None and self._node.roster.get(run) is not None:
            with suppress(RunNotFound):
                await self._node.fetcher.live(run)
            known = await self._node.around.store.row(run)
        return None if known is None or (replaces and known.status.is_final) else known

    def _begin(self, row: RunRow, begun: Begun, *, is_checked: bool, replaces: bool) -> None:
        node, pump = self._node, self._node.pump
        if replaces:
            pump.committer.batch.replaced.add(row.id)
        try:
            definition: Definition = node.around.definitions.definition(row.definition, row.version or None)
        except DefinitionNotFound as error:
            self._node.starter.park_start(row, begun, str(error), is_checked=is_checked)
        else:
            row.version = definition.version
            self._node.starter.begin(row, definition, begun, is_checked=is_checked, now_us=node.around.clock.now_us())
        pump.schedule()

    async def tell(self, run: RunId, stimulus: Stimulus) -> Any:
        """The stimulus is durable; for an update, gives the content of its answer. Raises `RunNotFound`, `RunEnded`, or its refusal."""
        live = await self._node.fetcher.live(run)
        self.admission.check(live, stimulus)
        done = self.promise()
        self._node.pump.tell(live, Arrival(stimulus, done=done))
        try:
            return await done
        except RunEnded:
            # An update may raise it as well; that run goes on.
            if live.phase is not Phase.ENDED:
                raise
        await self.written(live)
        if live.is_refused:
            return await self.tell(run, stimulus)
        return await recall(self._node.around.store, live.row, stimulus)

    async def written(self, run: LiveRun) -> None:
        """What a run was given is durable, or refused."""
        while run.is_committing:
            await self._node.waits.change_of(run.row.id)

    def promise(self) -> asyncio.Future[Any]:
        """Give a future that is told if the node ends first; nobody would tell it if it has ended."""
        self._require_open("the request")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tells.add(done)
        done.add_done_callback(self._tells.discard)
        return done

    async def signal(self, run: RunId, signal: Signalled) -> None:
        """As `tell`; raises `Overloaded` too."""
        await self._tell_admitted(run, signal)

    async def update(self, run: RunId, update: Updated) -> Content:
        """As `tell`; raises `Overloaded` too."""
        answer: Content = await self._tell_admitted(run, update)
        return answer

    async def _tell_admitted(self, run: RunId, stimulus: Signalled | Updated) -> Any:
        entered_us = self.admission.enter(asked_of(stimulus))
        try:
            return await self.tell(run, stimulus)
        finally:
            self.admission.leave(entered_us)

    async def cancel(self, run: RunId, reason: str) -> bool:
        """The run has been asked to end; ``False`` if it has ended already."""
        live = await self._node.fetcher.live(run)
        if live.phase is Phase.STOPPED:
            self._node.pump.cancel_stopped(live, reason)
            await self._node.committer.idle()
            return True
        try:
            await self.tell(run, CancelAsked(reason))
        except RunEnded:
            return False
        return True

    async def resume(self, run: RunId) -> Status:
        """A stalled run was replayed anew; gives its status after that. Raises `RunEnded`."""
        live = await self._node.fetcher.live(run)
        if live.phase is Phase.ENDED:
            raise RunEnded(run=run, status=live.row.status, asked="the resume")
        if live.phase is Phase.STOPPED:
            live = await self._node.fetcher.reload(live)
            await self._node.committer.idle()
        return live.row.status

    async def query(self, run: RunId, method: str, args: Sequence[Content], kwargs: dict[str, Content]) -> Content:
        return await self.ask(await self._node.fetcher.live(run), method, args, kwargs)

    async def ask(self, run: LiveRun, method: str, args: Sequence[Content], kwargs: dict[str, Content]) -> Content:
        """Answer from the state that is durable or about to be; raises `Unavailable` for a run without a mind."""
        while run.phase is Phase.ACTIVE and run.number < run.row.base:
            await self._node.waits.change_of(run.row.id)  # It was started elsewhere a moment ago; its start may still be to be read.
        if run.decider is None:
            raise Unavailable(f"The run {run.row.id!r} is {run.row.status}; its state is not in memory. Read what it published instead.")
        return run.decider.query(method, args, kwargs)

    async def places(self, run: RunId) -> list[BranchPlace]:
        """Tell where the branches of a run stand; empty for one that cannot run here."""
        live = await self._node.fetcher.live(run)
        return live.decider.places() if live.decider is not None else []

    async def give_outcome(self, run: RunId, base: int, outcome: Stimulus) -> None:
        """The open call has this outcome, even if its attempt is under way. A value of the wrong type raises `InvalidValue`, and the call
        stays open (I32).
        """
        assert isinstance(outcome, Succeeded | Failed)
        live = await self._node.fetcher.live(run)
        key = call_key(run, base, outcome.call)
        open_call = live.ledger.calls.get(outcome.call)
        if live.phase is Phase.ENDED or live.row.base != base:
            raise CallNotFound(key=key)
        if live.journal_error is not None:
            raise Unavailable(f"The outcome of {key} cannot be taken: {live.journal_error}")
        if open_call is None:
            raise CallClosed(key=key, found="it has an outcome already, or was cancelled")
        # The word from outside may be quicker than the action's return of `pending`: the call is open, so the first outcome wins (G4).
        if isinstance(outcome, Succeeded):
            self._check_type(live, outcome, key)
        await self._tell_outcome(live, outcome, open_call)

    def _check_type(self, run: LiveRun, outcome: Succeeded, key: str) -> None:
        wanted = Any if run.decider is None else run.decider.returns(outcome.call)
        if wanted is Any:
            wanted = self._declared_type(run, outcome.call)
        try:
            self._node.around.tools.serializer.decode(outcome.content, wanted, f"the outcome of {key}")
        except InvalidValue as error:
            raise InvalidValue(what=f"the outcome of {key}", problem=f"{error} The call stays open") from error

    def _declared_type(self, run: LiveRun, call: CallName) -> Any:
        """A stopped run has no code to say what it expects, and a call by name need not say it; the action's declaration does."""
        spec: ActionSpec | None = self._node.around.definitions.action(run.ledger.calls[call].fact.action)
        return Any if spec is None or spec.signature is None else spec.signature.returns

    async def _tell_outcome(self, run: LiveRun, outcome: Succeeded | Failed, open_call: OpenCall) -> None:
        told, done = Told(open_call.attempt), self.promise()
        arrival = retried_outcome(run, outcome, told) if open_call.is_taken else Arrival(outcome, told=told)
        arrival.done = done
        self._node.pump.tell(run, arrival)
        await done

    def _require_open(self, asked: str) -> None:
        if not self._node.is_open:
            raise EngineClosed(state="closed", asked=asked)

    def _on_refused(self, run: LiveRun, known: RunRow) -> None:
        future = self._starts.pop(run.row.id, None)
        if future is not None and not future.done():
            future.set_result(known)
        self._node.waits.tell_change(run.row.id)
        self._node.postroom.take_back(run)

    def _on_commit(self, run: RunId) -> None:
        if news.is_told(logging.INFO):
            news.tell_start(self._node.roster.get(run))
        future = self._starts.pop(run, None)
        if future is not None and not future.done():
            future.set_result(None)
        self._node.waits.tell_change(run)

    def close(self, *, is_lost: bool) -> None:
        """Whoever still waits is told that the engine has closed; a start, if the node was fenced, that it may be asked for elsewhere."""
        error = EngineClosed(state="closed", asked="the wait")
        for run, future in self._starts.items():
            if not future.done():
                future.set_exception(RunElsewhere(run=run) if is_lost else error)
        for told in self._tells:
            if not told.done():
                told.set_exception(error)
