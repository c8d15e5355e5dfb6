"""The heart of a node: dirty runs in, transitions, one commit, and what follows from it. Protects the order: write first, then act (G2)."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from perdure.deciders.undisturbed import WithoutCollection, WithoutHooks
from perdure.engine.calls.dispatcher import Dispatcher
from perdure.engine.committer import Committer
from perdure.engine.runs.ended import asked_of
from perdure.engine.runs.ending import cancel_run
from perdure.engine.runs.live import Arrival, LiveRun, Phase, answer_update
from perdure.engine.runs.roster import Roster
from perdure.engine.runs.stalling import keep_arrivals
from perdure.engine.runs.starter import Starter
from perdure.engine.runs.transition import Transitions
from perdure.engine.runs.writing import Piece, change_row
from perdure.engine.wakes import Wakes
from perdure.model import command as commands
from perdure.model.call import ActionSpec
from perdure.model.errors import RunEnded
from perdure.model.ids import CallName, RunId
from perdure.model.limits import Limits
from perdure.model.run import HELD, RunRow, Status
from perdure.model.stimulus import Begun, Fired
from perdure.ports.clock import Clock
from perdure.ports.definitions import Definitions
from perdure.ports.store import Consequences, InboxItem

TRANSITIONS_MAX = 256
"""Transitions in one round: what has waited behind a burst gets its turn, and its commit, in between. Fewer would be dearer: where the
commit before is done in time, each round is a commit of its own."""


class Pump:
    """``on_post`` takes messages that are durable now; ``on_end`` is told of ended runs with their last command."""

    def __init__(self, *, clock: Clock, definitions: Definitions, limits: Limits, transitions: Transitions) -> None:
        self._clock = clock
        self._definitions = definitions
        self._limits = limits
        self._transitions = transitions
        self._dirty: deque[LiveRun] = deque()
        self._is_scheduled = False
        self.committer: Committer
        self.dispatcher: Dispatcher
        self.roster: Roster
        self.starter: Starter
        self.wakes: Wakes
        self.on_post: Callable[[Sequence[InboxItem]], None] = lambda items: None
        self.on_end: Callable[[LiveRun, Any], None] = lambda run, last: None
        self.on_commit: Callable[[RunId], None] = lambda run: None
        self.on_refused: Callable[[LiveRun, RunRow], None] = lambda run, row: None

    # Towards the commit.

    def tell(self, run: LiveRun, arrival: Arrival) -> None:
        """The arrival goes into the run's next transition, or wherever it is safe."""
        match run.phase:
            case Phase.ACTIVE:
                _add(run, arrival)
                self.mark(run)
            case Phase.LOADING:
                _add(run, arrival)
            case Phase.STOPPED:
                self._keep(run, arrival)
            case Phase.ENDED:
                arrival.refuse(RunEnded(run=run.row.id, status=run.row.status, asked=asked_of(arrival.stimulus)))

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
        with WithoutCollection(), WithoutHooks():
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
            if run.can_advance():
                self.advance(run, now_us)
                count += 1
        return count

    def advance(self, run: LiveRun, now_us: int) -> None:
        """The run's transition is in the batch, and with it the children that it starts."""
        batch = self.committer.batch
        piece = self._transitions.advance(run, batch, now_us)
        run.is_committing = True
        if piece.posts and run.row.id in batch.checked:
            batch.led_to.setdefault(run.row.id, Consequences()).posts += [(item.run, item.id) for item in piece.posts]
        self.committer.pieces.append(piece)
        for command in piece.commands:
            if type(command) is commands.StartChild:
                self.starter.begin_child(run, command, now_us)

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
        with WithoutCollection():
            for piece in pieces:
                self._settle(piece, refused)

    def _settle(self, piece: Piece, refused: dict[RunId, RunRow]) -> None:
        run = piece.run
        run.is_committing = False
        if refused and run.row.id in refused and run.number <= run.row.base:
            self._discard(run, refused)
            return
        for arrival in piece.settled:
            arrival.settle()
        self._carry_out(piece)
        if posts := [item for item in piece.posts if item.run not in refused] if refused else piece.posts:
            self.on_post(posts)
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
            if known is not None:
                run.adopt(call, known)
                spec = run.specs[call].spec
        if (spec.function is None or spec.queue is not None) and not self.dispatcher.sift(run, [call]):
            self._tell_unknown(run)
        else:
            self.dispatcher.dispatch(run, call)

    def _tell_unknown(self, run: LiveRun) -> None:
        """The run waits for an action that nobody performs; its row says so."""
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
                arrival.refuse(RunEnded(run=run.row.id, status=run.row.status, asked=asked_of(arrival.stimulus)))
        for arrival in run.arrivals:
            arrival.refuse(RunEnded(run=run.row.id, status=run.row.status, asked=asked_of(arrival.stimulus)))
        self.on_end(run, piece.commands[-1])

    def _discard(self, run: LiveRun, refused: dict[RunId, RunRow]) -> None:
        """The id of a start was taken: what was decided for it in memory never happened."""
        run.phase, run.is_refused = Phase.ENDED, True
        self.roster.forget(run)
        run.drop_mind()
        if run.row.parent not in refused:
            self.starter.tell_refused(run.row)
        self.on_refused(run, refused[run.row.id])

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


def _add(run: LiveRun, arrival: Arrival) -> None:
    """The start comes first, even if something else was quicker through the inbox."""
    if type(arrival.stimulus) is Begun:
        run.arrivals.insert(0, arrival)
    else:
        run.arrivals.append(arrival)
