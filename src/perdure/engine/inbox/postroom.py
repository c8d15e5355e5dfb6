"""Messages of other runs, clients and processes on their way to the runs here.

Protects from taking one twice or leaving one lying (G5, G9).
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence, Set
from typing import TYPE_CHECKING, Any

import msgspec

from perdure.engine.inbox import mail
from perdure.engine.inbox.mail import Letter
from perdure.engine.patience import patiently
from perdure.engine.runs.ended import recall
from perdure.engine.runs.live import Arrival, LiveRun, Phase
from perdure.engine.runs.writing import Piece
from perdure.model import message as messages
from perdure.model.call import Attempt
from perdure.model.errors import EngineClosed, PerdureError, RunElsewhere, RunEnded
from perdure.model.ids import RunId, reply_id
from perdure.model.payload import Attachments, Content
from perdure.ports.store import Batch, Heartbeat, InboxItem

if TYPE_CHECKING:
    from perdure.engine.node import Node

ADDRESSED_MAX = 1_000


class Postroom:
    def __init__(self, node: "Node") -> None:
        self._node = node
        self._seen: set[tuple[RunId, str]] = set()
        self._taken: set[tuple[RunId, str]] = set()
        self._consumed: set[tuple[RunId, str]] = set()
        self._looks = 0
        self._lines: dict[RunId, deque[InboxItem]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def look(self) -> int:
        """Take what lies in the inboxes of all runs; gives the number of new items."""
        self._looks += 1
        try:
            items = await self._node.around.store.addressed(self._node.share.mine, ADDRESSED_MAX + len(self._seen))
        finally:
            self._looks -= 1
        # The answer may be older than a commit that has taken some of them in since.
        self.take([item for item in items if (item.run, item.id) not in self._taken])
        if not self._looks:
            self._taken.clear()
        return len(items)

    def take(self, items: Sequence[InboxItem]) -> None:
        """The items are delivered once their runs are loaded, those of one run in the order in which they were taken."""
        for item in items:
            if (item.run, item.id) in self._seen or (item.run, item.id) in self._consumed:
                continue
            self._seen.add((item.run, item.id))
            if (line := self._lines.get(item.run)) is not None:
                line.append(item)
            elif not self._take_outcome(item):
                self._lines[item.run] = line = deque((item,))
                self._begin(self._deliver(item.run, line))

    def _take_outcome(self, item: InboxItem) -> bool:
        """How an attempt elsewhere ended is told at once, without a task, if its run is here and nothing else is to be read for it."""
        run = self._node.roster.get(item.run)
        if run is None or run.phase is not Phase.ACTIVE:
            return False
        letter = mail.read(item)
        if not isinstance(letter.message, messages.EndAttempt) or letter.error is not None or mail.blobs_wanted([letter]):
            return False
        try:
            self._end_attempt(run, letter, letter.message, {})
        except Exception as error:
            self._reply(letter, _failed(error))
            self._consume(letter)
        return True

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, runs: Set[RunId]) -> None:
        """These runs are about to be loaded anew, here or elsewhere: their items are to be taken again."""
        waiting = {(item.run, item.id) for run in runs for item in self._lines.get(run, ())}
        self._seen = {entry for entry in self._seen if entry[0] not in runs} | waiting

    def take_back(self, refused: LiveRun) -> None:
        """What was given to a run that never was, because its id was taken, goes to the run that has the id."""
        arrivals, refused.arrivals = refused.arrivals, []
        if arrivals:
            self._seen -= {(refused.row.id, arrival.inbox_id) for arrival in arrivals if arrival.inbox_id is not None}
            self._begin(self._tell_again(refused.row.id, [arrival for arrival in arrivals if arrival.inbox_id is None]))

    async def _tell_again(self, run: RunId, arrivals: Sequence[Arrival]) -> None:
        try:
            live = await self._node.fetcher.live(run)  # Its inbox comes with it.
        except PerdureError as error:
            for arrival in arrivals:
                arrival.refuse(error)
        else:
            for arrival in arrivals:
                self._node.pump.tell(live, arrival)

    async def _deliver(self, run: RunId, line: "deque[InboxItem]") -> None:
        """One after the other: what is found while the run is loaded must not overtake what asked for it, least of all its start."""
        try:
            while line:
                await self._deliver_one(mail.read(line.popleft()))
        finally:
            del self._lines[run]

    async def _deliver_one(self, letter: Letter) -> None:
        around, wanted = self._node.around, mail.blobs_wanted([letter])
        blobs = await patiently(around.clock, lambda: around.store.blobs(wanted)) if wanted else {}
        try:
            run = await self._node.fetcher.live(letter.item.run)
        except RunElsewhere:
            self._seen.discard((letter.item.run, letter.item.id))  # Its own node takes it from the store.
        except PerdureError:
            self._consume(letter)
        else:
            await self._hand_over(run, letter, blobs)

    async def _hand_over(self, run: LiveRun, letter: Letter, blobs: dict[str, bytes]) -> None:
        try:
            if letter.error is not None:
                raise letter.error
            arrival = mail.stimulus_arrival(letter, blobs)
            if isinstance(letter.message, messages.RequestRetry | messages.ReopenChild):
                self._begin(self._retry(run, letter, letter.message, blobs))
            elif isinstance(letter.message, messages.EndAttempt):
                self._end_attempt(run, letter, letter.message, blobs)
            elif arrival is None:
                await self._request(run, letter, blobs)
            elif run.phase is Phase.ENDED:
                await self._recall(run, letter, arrival)
            elif run.phase is Phase.STOPPED and not isinstance(letter.message, messages.RequestUpdate):
                await self._leave(run, letter)
            else:
                self._tell(run, letter, arrival)
        except RunElsewhere:
            self._seen.discard((letter.item.run, letter.item.id))
            self.take([letter.item])  # Whoever has the run now, the store knows.
        except Exception as error:
            self._reply(letter, _failed(error))
            self._consume(letter)

    async def _leave(self, run: LiveRun, letter: Letter) -> None:
        """A stopped run's messages stay where they are, but for the wish to end it."""
        if isinstance(letter.message, messages.RequestCancel):
            self._consume(letter)
            self._node.pump.cancel_stopped(run, letter.message.reason)

    async def _recall(self, run: LiveRun, letter: Letter, arrival: Arrival) -> None:
        """A message that comes after the end, or comes again, is answered from the journal."""
        await self._node.desk.written(run)
        if run.is_refused:
            raise RunElsewhere(run=run.row.id)
        answer = None if arrival.stimulus is None else await recall(self._node.around.store, run.row, arrival.stimulus)
        self._reply(letter, _ended(answer))
        self._consume(letter)

    def _tell(self, run: LiveRun, letter: Letter, arrival: Arrival) -> None:
        if isinstance(letter.message, messages.EndChild) and _is_over(run, letter.message):
            self._node.intake.dropped += 1
            self._consume(letter)
            return
        arrival.inbox_id = letter.item.id
        arrival.done = asyncio.get_running_loop().create_future()
        arrival.done.add_done_callback(lambda future: self._done(run, letter, future))
        self._node.pump.tell(run, arrival)

    def _end_attempt(self, run: LiveRun, letter: Letter, ended: messages.EndAttempt, blobs: dict[str, bytes]) -> None:
        """How an attempt elsewhere ended; a stopped run takes it in when it goes on."""
        if run.phase is Phase.STOPPED:
            return
        is_meant = run.phase is Phase.ACTIVE and ended.base == run.row.base
        outcome = mail.attempt_outcome(ended, letter.content(blobs))
        arrival = self._node.dispatcher.end(run, ended, outcome) if is_meant else None
        if arrival is None:
            self._node.intake.dropped += 1
            self._consume(letter)
        else:
            self._tell(run, letter, arrival)

    def _done(self, run: LiveRun, letter: Letter, future: "asyncio.Future[Any]") -> None:
        self._seen.discard((letter.item.run, letter.item.id))
        if run.phase is Phase.ENDED and isinstance(future.exception(), RunEnded):
            self.take([letter.item])  # It came while the end was being written: now the journal can tell what becomes of it.
            return
        self._let_go(letter)
        if isinstance(future.exception(), RunElsewhere):
            self._post_again(run, letter)
            return
        if isinstance(letter.message, messages.RequestUpdate) or future.exception() is not None:
            self._reply(letter, future)

    def _post_again(self, run: LiveRun, letter: Letter) -> None:
        """An update that was accepted here is answered by the node that has the run now, which knows its id."""
        self._node.committer.batch.posts.append(letter.item)
        self._node.committer.pieces.append(Piece(run, posts=[letter.item]))
        self._node.pump.schedule()

    async def _request(self, run: LiveRun, letter: Letter, blobs: dict[str, bytes]) -> None:
        """Requests to the engine itself: they are answered, and no journal has them."""
        desk, content = self._node.desk, letter.content(blobs)
        self._consume(letter)
        match letter.message:
            case messages.AskQuery() as ask:
                kwargs = {name: content(payload) for name, payload in ask.kwargs.items()}
                answer = await desk.ask(run, ask.method, [content(payload) for payload in ask.args], kwargs)
                self._reply(letter, _ended(answer))
            case messages.RequestResume():
                await desk.resume(run.row.id)
                self._reply(letter, _ended(None))
            case messages.GiveOutcome() as give:
                await desk.give_outcome(run.row.id, give.base, mail.outcome(give, content))
                self._reply(letter, _ended(None))

    async def _retry(
        self, run: LiveRun, letter: Letter, message: messages.RequestRetry | messages.ReopenChild, blobs: dict[str, bytes]
    ) -> None:
        """Consumed by the commit that reopens the run: a request of its parent must not be lost between the two."""
        retrier, content = self._node.retrier, letter.content(blobs)
        try:
            if isinstance(message, messages.ReopenChild):
                await retrier.reopen_child(run.row.id, message.number, letter.item.id)
            else:
                calls = await retrier.retry(run.row.id, mail.asked(message, content), inbox_id=letter.item.id)
                self._reply(letter, _ended(Content("json", msgspec.json.encode(calls))))
        except EngineClosed:
            return  # The next node takes it.
        except Exception as error:
            self._reply(letter, _failed(error))
        self._consume(letter)

    def _consume(self, letter: Letter) -> None:
        self._node.committer.batch.consumed.append((letter.item.run, letter.item.id))
        # The store has it until that is written, and each load of the run would bring it again.
        self._consumed.add((letter.item.run, letter.item.id))
        self._let_go(letter)
        self._node.pump.schedule()

    def written(self, batch: Batch) -> None:
        """What the batch consumed is not in the store any more."""
        if self._consumed:
            self._consumed.difference_update(batch.consumed)

    def _let_go(self, letter: Letter) -> None:
        self._seen.discard((letter.item.run, letter.item.id))
        if self._looks:
            self._taken.add((letter.item.run, letter.item.id))

    def _reply(self, letter: Letter, future: "asyncio.Future[Any]") -> None:
        node = self._node
        id, inline_max = reply_id(letter.item.run, letter.item.id), node.around.tools.limits.payload_inline_max
        reply, blobs = mail.reply_of(id, node.around.clock.now_us(), inline_max, future)
        node.committer.batch.replies.append(reply)
        node.committer.batch.blobs.update(blobs)
        node.pump.schedule()

    def write_beat(self, attempt: Attempt, content: Content) -> None:
        """The details of an attempt are in the batch."""
        attachments = Attachments(self._node.around.tools.limits.payload_bytes_max)
        body = msgspec.json.encode(attachments.place(content))
        data = None if attachments.data is None else bytes(attachments.data)
        self._node.committer.batch.heartbeats.append(Heartbeat(attempt.run, attempt.call, attempt.number, body, data))
        self._node.pump.schedule()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _is_over(run: LiveRun, end: messages.EndChild) -> bool:
    """Tell whether a child's end is old news: from before the run was reopened, or of an incarnation that is over, where the call's name
    may mean another one now.
    """
    return end.base != run.row.base or run.ledger.is_old_end(end.call, end.number)


def _failed(error: BaseException) -> "asyncio.Future[Any]":
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _ended(value: Any) -> "asyncio.Future[Any]":
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future
