"""One transition: what waits for a run goes in, one journal row comes out. Protects from half a change being written (G3, M31)."""

import logging
from collections.abc import Sequence

from perdure.deciders.decider import Tools
from perdure.engine.inbox.intake import Intake
from perdure.engine.runs.ending import continue_run, end_run
from perdure.engine.runs.live import Arrival, LiveRun
from perdure.engine.runs.record import fact_of_command, fact_of_stimulus
from perdure.engine.runs.stalling import stall_run
from perdure.engine.runs.writing import Piece, append_row, change_row, post
from perdure.model import command as commands
from perdure.model import fact as facts
from perdure.model.command import Command
from perdure.model.errors import JournalTooLong
from perdure.model.fact import AnyFact
from perdure.model.message import RequestCancel, SendSignal
from perdure.model.payload import Attachments
from perdure.model.run import HELD, Status
from perdure.model.stimulus import Begun, Updated
from perdure.ports.definitions import Definitions
from perdure.ports.store import Batch

logger = logging.getLogger("perdure.engine")

SHORT_WAIT_US = 1_000_000
"""A wait shorter than this is not worth a change of the run's row."""


class Transitions:
    """Turns arrivals into rows of a batch; touches nothing but the batch and the run."""

    def __init__(self, tools: Tools, definitions: Definitions, intake: Intake) -> None:
        self.tools = tools
        self._definitions = definitions
        self._intake = intake

    def advance(self, run: LiveRun, batch: Batch, now_us: int) -> Piece:
        """Take in all that waits for the run. Whatever goes wrong in the run's own code stalls that run and nothing else (G6)."""
        arrivals, run.arrivals = _share(run)
        now_us = run.last_us = max(now_us, run.last_us)
        accepted = self._intake.sift(run, arrivals)
        for arrival in arrivals:
            if arrival.inbox_id is not None:
                batch.consumed.append((run.row.id, arrival.inbox_id))
        if not accepted:
            return Piece(run)
        stimuli = [arrival.stimulus for arrival in accepted if arrival.stimulus is not None]
        try:
            assert run.decider is not None
            decided = run.decider.react(stimuli, run.number + 1, now_us) if stimuli else []
            self._check_length(run)
            attachments = Attachments(self.tools.limits.payload_inline_max)
            entries = [_fact_of(arrival, attachments) for arrival in accepted]
            entries += [fact_of_command(command, attachments) for command in decided]
        except Exception as error:
            if accepted[0].is_retaken:
                raise  # It is not reopened then, and stays as it had ended.
            return stall_run(run, accepted, error, batch, self.tools.limits)
        return self._write(Piece(run, decided, accepted, facts=entries), attachments, batch)

    def _check_length(self, run: LiveRun) -> None:
        size, limits = run.ledger.facts_count, self.tools.limits
        if size > limits.journal_facts_max:
            raise JournalTooLong(size=size, limit=limits.journal_facts_max)
        if size > limits.journal_facts_warn and not run.is_warned:
            run.is_warned = True
            logger.warning(
                "run %s has a journal of %d facts; consider perdure.continue_as_new or child runs",
                run.row.id,
                size,
                extra={"run": run.row.id},
            )

    def _write(self, piece: Piece, attachments: Attachments, batch: Batch) -> Piece:
        run, kinds = piece.run, set(map(type, piece.commands))
        if commands.CancelCall in kinds:
            piece.stopped = [command.call for command in piece.commands if type(command) is commands.CancelCall]
            self._cancel_children(piece, batch)
        if commands.SendSignal in kinds:
            self._send_signals(piece, batch)
        append_row(run, piece.facts, attachments, batch, run.last_us)
        if any(arrival.make is not None for arrival in piece.settled):
            piece.dispatch = [fact.call for fact in piece.facts if isinstance(fact, facts.AttemptLost | facts.CallRetried)]
        last = piece.commands[-1] if piece.commands else None
        state = _published(piece.commands) if commands.Publish in kinds else None
        if isinstance(last, commands.Complete | commands.Fail | commands.Cancel):
            end_run(piece, last, state, batch, self.tools.limits)
        elif isinstance(last, commands.ContinueAsNew):
            continue_run(piece, last, state, batch, self.tools, self._definitions)
            self._begin_again(piece, batch)
        else:
            self._settle_row(run, state, batch)
        return piece

    def _begin_again(self, piece: Piece, batch: Batch) -> None:
        """The first transition of the next incarnation rides in the same commit, so that there is never a run without a beginning."""
        more = self.advance(piece.run, batch, piece.run.last_us)
        # What the incarnation before said to others still holds; what it had under way has ended with it.
        kept = [command for command in piece.commands if _outlives(command)]
        piece.commands = [*kept, *more.commands]
        piece.posts += more.posts
        piece.has_ended, piece.has_stalled = more.has_ended, more.has_stalled
        piece.facts = more.facts

    def _send_signals(self, piece: Piece, batch: Batch) -> None:
        run, limit = piece.run, self.tools.limits.payload_inline_max
        for command in piece.commands:
            if type(command) is commands.SendSignal:
                id = f"{run.row.id}#{run.row.base}#{command.call}"

                def message(attachments: Attachments, command: commands.SendSignal = command) -> SendSignal:
                    return SendSignal(command.channel, attachments.place(command.content), is_named=True)

                piece.posts.append(post(batch, command.run, id, run.last_us, message, inline_max=limit))

    def _cancel_children(self, piece: Piece, batch: Batch) -> None:
        """Children whose end nobody awaits any more are asked to end; a cascade goes on from there (I24)."""
        run = piece.run
        begun = {command.call: command.run for command in piece.commands if type(command) is commands.StartChild}
        request, limit = RequestCancel(f"its parent {run.row.id} stopped waiting"), self.tools.limits.payload_inline_max
        for call in piece.stopped:
            child = run.ledger.children[call].run if call in run.ledger.children else begun.get(call)
            if child is not None:
                id = f"{run.row.id}#{run.row.base}#{call}#cancel"
                piece.posts.append(post(batch, child, id, run.last_us, lambda _: request, inline_max=limit))

    def _settle_row(self, run: LiveRun, state: bytes | None, batch: Batch) -> None:
        status, wake_us = standing(run)
        held_us = run.row.wake_us
        if held_us == HELD and wake_us is not None and wake_us - run.last_us < SHORT_WAIT_US:
            status, wake_us = run.row.status, HELD
        if state is not None or wake_us != held_us:
            change_row(run, status, wake_us, batch, state=state, reason=run.row.reason and run.missing_action())


def _share(run: LiveRun) -> tuple[list[Arrival], list[Arrival]]:
    """Part what goes into this transition from what waits for the next.

    An update is judged before it is taken in, so what is to change the state that it must be judged by goes before it: the run's first
    step, and whatever came earlier than an update that has a validator. What a reopened run takes in again was parted before, and stays in
    one row: the row that had it counts no more.
    """
    arrivals = run.arrivals
    for place in range(1, len(arrivals)):
        stimulus = arrivals[place].stimulus
        if type(arrivals[place - 1].stimulus) is Begun or (
            type(stimulus) is Updated and not arrivals[place].is_retaken and _has_validator(run, stimulus)
        ):
            return arrivals[:place], arrivals[place:]
    return arrivals, []


def _has_validator(run: LiveRun, update: Updated) -> bool:
    return run.decider is not None and run.decider.has_validator(update.method)


def _outlives(command: Command) -> bool:
    return isinstance(command, commands.AnswerUpdate) or (isinstance(command, commands.StartChild) and command.is_detached)


def standing(run: LiveRun) -> tuple[Status, int | None]:
    """Give status and ``wake_us`` of a run that can react: held while attempts are due or under way, else when time moves it next."""
    for call in run.ledger.calls.values():
        if not call.is_pending and call.retry_us == 0:
            return Status.RUNNING, HELD
    return Status.WAITING, run.ledger.next_us()


def _fact_of(arrival: Arrival, attachments: Attachments) -> AnyFact:
    if arrival.stimulus is not None:
        return fact_of_stimulus(arrival.stimulus, attachments, arrival.told)
    assert arrival.make is not None
    return arrival.make(attachments)


def _published(decided: Sequence[Command]) -> bytes | None:
    for command in decided:
        if type(command) is commands.Publish:
            return bytes(command.state)
    return None
