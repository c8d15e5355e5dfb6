"""The heart of a node: dirty runs in, transitions, one commit, and what follows from it. Protects the order: write first, then act (G2)."""

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from perdure.deciders.decider import Definition
from perdure.engine.committer import Committer
from perdure.engine.dispatcher import Dispatcher
from perdure.engine.ending import cancel_run, identity_of
from perdure.engine.live import Arrival, LiveRun, Phase, answer_update
from perdure.engine.record import Told, fact_of_stimulus
from perdure.engine.roster import Roster
from perdure.engine.stalling import keep_arrivals
from perdure.engine.transition import Transitions
from perdure.engine.wakes import Wakes
from perdure.engine.writing import Piece, change_row, post
from perdure.model import command as commands
from perdure.model.call import ActionSpec
from perdure.model.errors import DefinitionNotFound, RunConflict, RunEnded
from perdure.model.failure import failure_of
from perdure.model.ids import CallName, RunId
from perdure.model.limits import Limits
from perdure.model.message import EndChild, RecordFact
from perdure.model.run import HELD, RunRow, Status
from perdure.model.stimulus import Begun, Fired
from perdure.ports.clock import Clock, Entropy
from perdure.ports.definitions import Definitions
from perdure.ports.store import InboxItem

TRANSITIONS_MAX = 128
"""Transitions in one round: what has waited behind a burst gets its turn, and its commit, in between."""


class Pump:
    """``on_post`` takes messages that are durable now; ``on_end`` is told of ended runs with their last command."""

    def __init__(self, *, clock: Clock, entropy: Entropy, definitions: Definitions, limits: Limits, transitions: Transitions) -> None:
        self._clock = clock
        self._entropy = entropy
        self._definitions = definitions
        self._limits = limits
        self._transitions = transitions
        self._dirty: deque[LiveRun] = deque()
        self._is_scheduled = False
        self.committer: Committer
        self.dispatcher: Dispatcher
        self.roster: Roster
        self.wakes: Wakes
        self.on_post: Callable[[Sequence[InboxItem]], None] = lambda items: None
        self.on_end: Callable[[LiveRun, Any], None] = lambda run, last: None
        self.on_commit: Callable[[RunId], None] = lambda run: None
        self.on_parked: Callable[[RunId], None] = lambda run: None
        self.on_refused: Callable[[LiveRun, RunRow], None] = lambda run, row: None

    # Towards the commit.

    def tell(self, run: LiveRun, arrival: Arrival) -> None:
        """The arrival goes into the run's next transition, or wherever it is safe."""
        match run.phase:
            case Phase.ACTIVE:
                run.arrivals.append(arrival)
                self.mark(run)
            case Phase.LOADING:
                run.arrivals.append(arrival)
            case Phase.STOPPED:
                self._keep(run, arrival)
            case Phase.ENDED:
                arrival.refuse(RunEnded(run=run.row.id, status=run.row.status, asked="this"))

    def _keep(self, run: LiveRun, arrival: Arrival) -> None:
        run.last_us = max(run.last_us, self._clock.now_us())
        keep_arrivals(run, [arrival], self.committer.batch, self._limits)
        self.committer.pieces.append(Piece(run, settled=[arrival]))
        self.schedule()

    def mark(self, run: LiveRun) -> None:
        """The run gets a transition in the next round, unless it has one under way: then after its commit."""
        if not run.is_dirty and not run.is_committing and run.phase is Phase.ACTIVE:
            run.is_dirty = True
            self.roster.touch(run)
            self._dirty.append(run)
            self.schedule()

    def schedule(self) -> None:
        """A round comes with the event loop's next turn."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self.run_once)

    def run_once(self) -> int:
        """Advance what is dirty, hand the batch over; gives the number of transitions."""
        self._is_scheduled = False
        if self.committer.is_dead:
            return 0
        with _without_collection():
            count = self._advance_dirty(self._clock.now_us())
        self.committer.flush()
        if self._dirty:
            self.schedule()
        return count

    def _advance_dirty(self, now_us: int) -> int:
        count = 0
        while self._dirty and count < TRANSITIONS_MAX:
            run = self._dirty.popleft()
            run.is_dirty = False
            if run.phase is Phase.ACTIVE and run.arrivals:
                self._advance(run, now_us)
                count += 1
        return count

    def _advance(self, run: LiveRun, now_us: int) -> None:
        piece = self._transitions.advance(run, self.committer.batch, now_us)
        run.is_committing = True
        self.committer.pieces.append(piece)
        for command in piece.commands:
            if type(command) is commands.StartChild:
                self._begin_child(run, command, now_us)

    def _begin_child(self, parent: LiveRun, command: commands.StartChild, now_us: int) -> None:
        """A child's row and first transition ride in its parent's commit."""
        row = RunRow(
            id=command.run,
            definition=command.definition,
            version=command.version,
            parent=None if command.is_detached else parent.row.id,
            parent_call=None if command.is_detached else CallName(f"{parent.row.base}#{command.call}"),
            tags=command.tags,
            created_us=now_us,
            updated_us=now_us,
        )
        if (known := self.roster.get(row.id)) is not None:
            self._refuse_child(row, known.row)
            return
        begun = Begun(command.args, command.kwargs, self._entropy.seed(), end_us=command.end_us)
        try:
            definition = self._definitions.definition(command.definition, command.version)
        except DefinitionNotFound as error:
            self.park_start(row, begun, str(error), is_checked=True)
            return
        self.begin(row, definition, begun, is_checked=True, now_us=now_us)

    def _refuse_child(self, row: RunRow, known: RunRow) -> None:
        """The id of a child was taken: its parent hears of it, wherever it is by then. A detached child has nobody to tell."""
        if row.parent is None or row.parent_call is None or (known.parent, known.parent_call) == (row.parent, row.parent_call):
            return
        base, _, call = row.parent_call.partition("#")
        error = RunConflict(run=known.id, definition=known.definition, status=known.status)
        message = EndChild(int(base), CallName(call), error=failure_of(error, is_final=True))
        id, now_us = f"{row.id}#{row.parent_call}#refused", self._clock.now_us()
        item = post(self.committer.batch, row.parent, id, now_us, lambda _: message, inline_max=self._limits.payload_inline_max)
        self.committer.pieces.append(Piece(LiveRun(row, Phase.ENDED), posts=[item]))
        self.schedule()

    def park_start(self, row: RunRow, begun: Begun, reason: str, *, is_checked: bool) -> None:
        """A run whose code is not here is in the batch; its start waits in its inbox until the code comes."""
        batch, told = self.committer.batch, Told(definition=row.definition, version=row.version)
        parked = _copy(row)
        parked.status, parked.reason = Status.WAITING, reason
        batch.starts.append(parked)
        if is_checked:
            batch.checked.add(row.id)
        item = post(
            batch,
            row.id,
            f"{row.id}#start",
            row.created_us,
            lambda attachments: RecordFact(fact_of_stimulus(begun, attachments, told)),
            inline_max=self._limits.payload_inline_max,
        )
        run = LiveRun(parked, Phase.STOPPED)
        run.is_committing = True
        self.roster.add(run)
        self.on_parked(row.id)
        self.committer.pieces.append(Piece(run, posts=[item]))
        self.schedule()

    def begin(self, row: RunRow, definition: Definition, begun: Begun, *, is_checked: bool, now_us: int) -> LiveRun:
        """A new run is in the batch with its first transition; ``is_checked`` where its id may be taken."""
        run = LiveRun(row, Phase.ACTIVE)
        run.decider = definition.decider(identity_of(run), self._transitions.tools)
        self.roster.add(run)
        batch = self.committer.batch
        # The start is written as it was asked for; what the first transition makes of the row comes as a change of its own.
        batch.starts.append(_copy(row))
        if is_checked:
            batch.checked.add(row.id)
        run.arrivals.append(Arrival(begun, told=Told(definition=row.definition, version=row.version)))
        self._advance(run, now_us)
        return run

    def cancel_stopped(self, run: LiveRun, reason: str) -> None:
        """A run that cannot run its code is ended without it."""
        if run.phase is not Phase.STOPPED:
            return
        run.last_us = max(run.last_us, self._clock.now_us())
        run.is_committing = True
        self.committer.pieces.append(cancel_run(run, reason, self.committer.batch, self._limits))
        self.schedule()

    # After the commit.

    def settle(self, pieces: Sequence[Piece], refused: dict[RunId, RunRow]) -> None:
        """What the transitions asked for is carried out: it is durable now."""
        with _without_collection():
            for piece in pieces:
                self._settle(piece, refused)

    def _settle(self, piece: Piece, refused: dict[RunId, RunRow]) -> None:
        run = piece.run
        run.is_committing = False
        if refused and run.row.id in refused and run.number <= run.row.base:
            self._discard(run, refused[run.row.id])
            return
        for arrival in piece.settled:
            arrival.settle()
        self._carry_out(piece)
        if piece.posts:
            self.on_post(piece.posts)
        if piece.facts or run.phase is Phase.STOPPED:
            self.on_commit(run.row.id)
        if piece.has_ended:
            self._end(piece)
        else:
            self.rest(run)

    def _carry_out(self, piece: Piece) -> None:
        run, dispatch = piece.run, self.dispatcher.dispatch
        for call in piece.stopped:
            self.dispatcher.cancel(run, call)
        for command in piece.commands:
            if type(command) is commands.RunAction:
                if command.call in run.ledger.calls and not piece.has_ended:
                    run.specs[command.call] = command
                    self._dispatch_known(run, command.spec, command.call)
            elif type(command) is commands.AnswerUpdate:
                self._answer(run, command)
        for call in piece.dispatch:
            dispatch(run, call)

    def _dispatch_known(self, run: LiveRun, spec: ActionSpec, call: CallName) -> None:
        if spec.function is None:
            known = self._definitions.action(spec.name)
            if known is None:
                self._tell_unknown(run)
                return
            run.adopt(call, known)
        self.dispatcher.dispatch(run, call)

    def _tell_unknown(self, run: LiveRun) -> None:
        """The run waits for an action that nobody here knows; its row says so."""
        if run.row.reason != (reason := run.missing_action()):
            self.change(run, run.row.status, run.row.wake_us, reason=reason)

    def change(
        self, run: LiveRun, status: Status, wake_us: int | None, *, reason: str | None = None, dispatch: Sequence[CallName] = ()
    ) -> None:
        """The run's row changes without a transition; the ``dispatch`` calls begin once that is durable."""
        run.last_us = max(run.last_us, self._clock.now_us())
        run.is_committing = True
        change_row(run, status, wake_us, self.committer.batch, reason=reason)
        self.committer.pieces.append(Piece(run, dispatch=dispatch))
        self.schedule()

    def _answer(self, run: LiveRun, command: commands.AnswerUpdate) -> None:
        run.answers[command.id] = command
        for arrival in run.update_waiters.pop(command.id, ()):
            answer_update(arrival, command)

    def _end(self, piece: Piece) -> None:
        run = piece.run
        self.roster.forget(run)
        run.drop_mind()
        for waiters in run.update_waiters.values():
            for arrival in waiters:
                arrival.refuse(RunEnded(run=run.row.id, status=run.row.status, asked="the update"))
        for arrival in run.arrivals:
            arrival.refuse(RunEnded(run=run.row.id, status=run.row.status, asked="this"))
        self.on_end(run, piece.commands[-1])

    def _discard(self, run: LiveRun, known: RunRow) -> None:
        """The id of a start was taken: what was decided for it in memory never happened."""
        run.phase = Phase.ENDED
        self.roster.forget(run)
        run.drop_mind()
        self._refuse_child(run.row, known)
        self.on_refused(run, known)

    def rest(self, run: LiveRun) -> None:
        """See whether there is more to do for the run, and when it must be woken if not."""
        if self.roster.get(run.row.id) is not run:
            return
        if run.phase is Phase.ACTIVE:
            self.wakes.set(run.row.id, run.ledger.next_us())
            if run.arrivals:
                self.mark(run)
        if run.is_idle():
            self.roster.rest(run)

    def fire(self, run: LiveRun, now_us: int) -> None:
        """Timers of the run that are due fire, and retries that are due begin."""
        retries: list[CallName] = []
        for call in run.ledger.take_due(now_us):
            if call in run.ledger.timers:
                self.tell(run, Arrival(Fired(call)))
            else:
                run.ledger.calls[call].retry_us = 0
                retries.append(call)
        if retries:
            # Written down even if the row says nothing new but the instant: after a crash it tells which attempts may have begun.
            self.change(run, Status.RUNNING, HELD, reason=run.row.reason, dispatch=retries)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Hold the garbage collector back for a bounded burst: it would walk through the thousands of young objects of a burst again and again,
    and find nothing, because they live until the next commit. Costs nothing in memory: the burst is bounded, and collection follows it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _copy(row: RunRow) -> RunRow:
    return RunRow(
        id=row.id,
        definition=row.definition,
        version=row.version,
        input_hash=row.input_hash,
        parent=row.parent,
        parent_call=row.parent_call,
        tags=row.tags,
        created_us=row.created_us,
        updated_us=row.updated_us,
    )
