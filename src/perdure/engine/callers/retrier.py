"""Retries by hand: failed calls get a new sequence of attempts (I20). Protects from two retries at once, and from a tree half reopened."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec.structs import replace

from perdure.engine.inbox import mail
from perdure.engine.runs.ending import tell_parent
from perdure.engine.runs.live import Arrival, LiveRun, Phase
from perdure.engine.runs.loader import Journal
from perdure.engine.runs.recovery import adopt_actions
from perdure.engine.runs.reopening import RESTART, Asked, Reopening, reopening_of
from perdure.engine.runs.writing import Piece, change_row
from perdure.model import command as commands
from perdure.model import fact as facts
from perdure.model.call import ActionSpec
from perdure.model.errors import EngineClosed, InvalidOption, LeaseLost, NotRetryable, RunElsewhere, RunNotFound
from perdure.model.fact import decode_facts
from perdure.model.ids import CallName, RunId
from perdure.model.message import ReopenChild, RequestCancel, encode_message
from perdure.model.payload import Attachments, Content, content_of
from perdure.model.run import HELD, Status
from perdure.ports.clock import pause
from perdure.ports.store import InboxItem, Loaded

if TYPE_CHECKING:
    from perdure.engine.node import Node

ELSEWHERE_LOOK_US = 200_000


class Retrier:
    def __init__(self, node: "Node") -> None:
        self._node = node
        self._claims: dict[RunId, asyncio.Future[None]] = {}

    async def retry(self, run: RunId, asked: Asked, *, inbox_id: str | None = None) -> list[CallName]:
        """The failed calls that were asked for are made again, and that is durable; gives their names, none if they are under way already.

        A failed run is reopened; in an open run, calls whose failure the code has taken get their later status. ``inbox_id``: consumed by
        the same commit. Raises `NotRetryable`, `RunNotFound`, and whatever keeps the run from being replayed.
        """
        async with self._claim(run):
            while True:
                live = await self._node.fetcher.live(run)
                if live.phase is Phase.STOPPED:
                    raise NotRetryable(run=run, found=f"it is {live.row.status}: {live.row.reason}", instead="Resume it first.")
                if live.phase is Phase.ACTIVE:
                    return await self._retry_taken(live, asked, inbox_id)
                if live.row.status is not Status.FAILED:
                    raise NotRetryable(run=run, found=f"it is {live.row.status}", instead=RESTART)
                reopened = await self._reopen(run, asked, inbox_id)
                if reopened is not None:
                    return reopened

    @asynccontextmanager
    async def _claim(self, run: RunId) -> AsyncIterator[None]:
        while (other := self._claims.get(run)) is not None:
            await asyncio.shield(other)
        claim = self._claims[run] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._claims[run]
            claim.set_result(None)

    # Runs that have failed.

    async def _plan(self, run: RunId, asked: Asked) -> tuple[Reopening, bool]:
        """Give how the run can be reopened, with all children that it waits for, and whether anything in it is what was asked for."""
        reopening = reopening_of(await self._load(run))
        calls = reopening.journal.ledger.calls
        is_meant = asked.is_all or any(asked.means(call, calls[call].fact.action) for call in reopening.failed)
        below = Asked(action=asked.action)
        for call, child in reopening.children.items():
            reopening.ends_known[call], is_child_meant = await self._plan_child(child, below)
            is_meant |= is_child_meant and asked.call in (None, call)
        return reopening, is_meant

    async def _load(self, run: RunId) -> Loaded:
        found = await self._node.around.store.load([run])
        if not found:
            raise RunNotFound(run=run)
        return found[0]

    async def _plan_child(self, child: RunId, asked: Asked) -> tuple[int, bool]:
        """Give the last row whose news are old, and whether the child has what was asked for."""
        while True:
            loaded = await self._load(child)
            number = _last_number(loaded)
            if loaded.row.status is Status.COMPLETED:
                return number - 1, asked.action is None
            if loaded.row.status.is_final:
                return number, (await self._plan(child, asked))[1]
            ledger = Journal(loaded).ledger
            if not (ledger.is_cancelling or any(isinstance(mail.read(item).message, RequestCancel) for item in loaded.inbox)):
                return number, asked.action is None or any(
                    call.sequence > 1 and asked.action == call.fact.action for call in ledger.calls.values()
                )
            # It was asked to end when its parent failed; how it ends decides whether it can be reopened.
            await self._until_ended(child)

    async def _until_ended(self, run: RunId) -> None:
        try:
            await self._node.waits.end_of(run)
        except RunElsewhere:
            # Nobody tells this node; the store does, sooner or later.
            await pause(self._node.around.clock, ELSEWHERE_LOOK_US)

    async def _reopen(self, run: RunId, asked: Asked, inbox_id: str | None) -> list[CallName] | None:
        """The run is reopened; gives the calls that are retried, ``None`` if somebody else has the run in hand by now."""
        reopening, is_meant = await self._plan(run, asked)
        if not is_meant:
            _refuse_asked(run, asked, reopening.failed)
        if asked.args is not None:
            self._check_input(reopening, asked)
        blobs = await self._node.around.store.blobs(reopening.blobs) if reopening.blobs else {}
        if self._node.roster.get(run) is not None:
            return None
        done = self._node.desk.promise()
        self._begin(reopening, asked, blobs, Arrival(inbox_id=inbox_id, done=done))
        await done
        return [*reopening.failed, *(call for call in reopening.children if call in _failed_children(reopening))]

    def _check_input(self, reopening: Reopening, asked: Asked) -> None:
        """New arguments fit the one call that there is."""
        calls = reopening.calls()
        if len(calls) != 1 or reopening.children:
            found = f"{len(calls) + len(reopening.children)} calls that are made again"
            raise InvalidOption(option="new input", found=found, expected="a run with a single call, such as a standalone task")
        name = reopening.journal.ledger.calls[next(iter(calls))].fact.action
        spec: ActionSpec | None = self._node.around.definitions.action(name)
        if spec is not None and spec.signature is not None:
            spec.signature.decode(self._node.around.tools.serializer, asked.args, asked.kwargs)

    def _begin(self, reopening: Reopening, asked: Asked, blobs: dict[str, bytes], letter: Arrival) -> None:
        """The reopened run is in the batch, with what its children must be told. Whatever its code raises leaves it as it had ended."""
        node = self._node
        run, batch = LiveRun(reopening.row, Phase.ACTIVE), node.committer.batch
        node.loader.restore(run, reopening.journal, blobs)
        adopt_actions(node, run)
        _take_input(run, reopening, asked)
        run.number, run.last_us = reopening.last.number, max(reopening.last.at_us, node.around.clock.now_us())
        first = reopening.first(asked)
        first.inbox_id, first.done = letter.inbox_id, letter.done
        run.arrivals = [first, *reopening.retaken(lambda payload: content_of(payload, reopening.last.data, blobs))]
        node.dispatcher.sift(run, reopening.calls())
        place, changes = len(node.committer.pieces), len(batch.changes)
        change_row(run, Status.RUNNING, HELD, batch, reason=run.missing_action(), state=reopening.state())
        node.roster.add(run)
        try:
            node.pump.advance(run, run.last_us)
        except BaseException:
            del batch.changes[changes:]
            node.roster.forget(run)
            run.drop_mind()
            raise
        piece = node.committer.pieces[place]
        piece.dispatch = [*piece.dispatch, *reopening.calls()]
        piece.posts += self._ask_children(run, reopening)
        node.pump.schedule()

    def _ask_children(self, run: LiveRun, reopening: Reopening) -> list[InboxItem]:
        """Each child that is waited for again finds in its inbox that its end is wanted once more."""
        posts = []
        for call, child in reopening.children.items():
            body = encode_message(ReopenChild(reopening.ends_known[call]))
            posts.append(InboxItem(child, f"{run.row.id}#{run.number}#{call}#reopen", run.last_us, body))
        self._node.committer.batch.posts += posts
        return posts

    # Children whose parent was reopened.

    async def reopen_child(self, child: RunId, known: int, inbox_id: str) -> None:
        """The child goes on, or its parent is told once more how it ended. ``known``: its last row that the parent has seen."""
        async with self._claim(child):
            while (await self._node.fetcher.live(child)).phase is Phase.ENDED:
                loaded = await self._load(child)
                number = _last_number(loaded)
                if loaded.row.status is Status.COMPLETED or number > known:
                    return await self._tell_parent(loaded, inbox_id, number)
                try:
                    if await self._reopen(child, Asked(), inbox_id) is not None:
                        return None
                except (EngineClosed, LeaseLost):
                    raise
                except Exception:
                    # It was possible when the parent looked. If it is not any more, the parent must not wait for ever.
                    return await self._tell_parent(loaded, inbox_id, number + 1)
            return None

    async def _tell_parent(self, loaded: Loaded, inbox_id: str, number: int) -> None:
        """The child's end is in its parent's inbox again, as that of row ``number``."""
        node, row = self._node, loaded.row
        last = loaded.transitions[-1]
        entries = decode_facts(last.facts)
        values = [fact.value for fact in entries if isinstance(fact, facts.RunCompleted)]
        blobs = await node.around.store.blobs([value.blob for value in values if value.blob])
        run = LiveRun(row, Phase.ENDED)
        run.number, run.last_us = number, node.around.clock.now_us()
        piece = Piece(run, posts=[])
        for fact in entries:
            end: commands.Complete | commands.Fail | commands.Cancel
            match fact:
                case facts.RunCompleted():
                    end = commands.Complete(content_of(fact.value, last.data, blobs))
                case facts.RunFailed():
                    end = commands.Fail(fact.error)
                case facts.RunCancelled():
                    end = commands.Cancel(fact.reason)
                case _:
                    continue
            tell_parent(piece, end, node.committer.batch, node.around.tools.limits)
        node.committer.batch.consumed.append((row.id, inbox_id))
        node.committer.pieces.append(piece)
        node.pump.schedule()

    # Calls whose failure the code has taken.

    async def _retry_taken(self, run: LiveRun, asked: Asked, inbox_id: str | None) -> list[CallName]:
        if asked.args is not None:
            raise InvalidOption(option="new input", found="a run that is open", expected="a run that has failed")
        if any(call.sequence > 1 and asked.means(name, call.fact.action) for name, call in run.ledger.calls.items()):
            return []
        scheduled = await self._scheduled(run)
        wanted = [call for call in run.ledger.failed if call in scheduled and asked.means(call, scheduled[call][0].action)]
        if not wanted:
            _refuse_asked(run.id, asked, list(run.ledger.failed))
        done = self._node.desk.promise()
        for place, call in enumerate(wanted):
            arrival = self._taken_arrival(run, *scheduled[call])
            if place == len(wanted) - 1:
                arrival.inbox_id, arrival.done = inbox_id, done
            self._node.pump.tell(run, arrival)
        await done
        return wanted

    def _taken_arrival(self, run: LiveRun, fact: facts.ActionScheduled, args: tuple[Content, ...], kwargs: dict[str, Content]) -> Arrival:
        call, sequence = fact.call, run.ledger.failed[fact.call] + 1
        under_way = run.performances.pop(call, None)
        if under_way is not None:
            under_way.cancel()  # It was ended from outside while its attempt ran; what that says is dropped.
        spec = run.failed_specs.get(call) or ActionSpec(name=fact.action)
        run.specs[call] = commands.RunAction(call, spec, args, kwargs, fact.line)
        known: ActionSpec | None = self._node.around.definitions.action(spec.name)
        if spec.function is None and known is not None:
            run.adopt(call, known)

        def make(attachments: Attachments) -> facts.CallRetried:
            placed = tuple(attachments.place(content) for content in args)
            named = {name: attachments.place(content) for name, content in kwargs.items()}
            return facts.CallRetried(call, fact.action, placed, named, sequence, fact.line)

        return Arrival(make=make)

    async def _scheduled(self, run: LiveRun) -> dict[CallName, tuple[facts.ActionScheduled, tuple[Content, ...], dict[str, Content]]]:
        """Give the calls whose failure the code has taken, with their arguments, as the journal has them."""
        journal = Journal(await self._load(run.id))
        found = []
        for row, entries in journal.rows:
            found += [(row, fact) for fact in entries if isinstance(fact, facts.ActionScheduled) and fact.call in run.ledger.failed]
        wanted = {payload.blob for _, fact in found for payload in (*fact.args, *fact.kwargs.values()) if payload.blob}
        blobs = await self._node.around.store.blobs(wanted) if wanted else {}
        told: dict[CallName, Any] = {}
        for row, fact in found:
            args = tuple(content_of(payload, row.data, blobs) for payload in fact.args)
            told[fact.call] = (fact, args, {name: content_of(payload, row.data, blobs) for name, payload in fact.kwargs.items()})
        return told


def _take_input(run: LiveRun, reopening: Reopening, asked: Asked) -> None:
    if asked.args is not None:
        for call in reopening.calls():
            run.specs[call] = replace(run.specs[call], args=asked.args, kwargs=asked.kwargs)


def _failed_children(reopening: Reopening) -> set[CallName]:
    return {fact.call for fact in reopening.entries if isinstance(fact, facts.ChildFailed)}


def _last_number(loaded: Loaded) -> int:
    return loaded.transitions[-1].number if loaded.transitions else loaded.row.base - 1


def _refuse_asked(run: RunId, asked: Asked, failed: Sequence[CallName]) -> NoReturn:
    parts = [f"{name} {value!r}" for name, value in (("call", asked.call), ("action", asked.action)) if value is not None]
    found = f"no {' and '.join(parts) or 'call of an action'} has failed in it"
    raise NotRetryable(run=run, found=found, instead=f"Failed calls: {', '.join(failed) or 'none'}.")
