"""How runs begin: a row and a first transition, or a row that waits for its code.

Protects from a child without the decision that asked for it, or the decision without the child: both are in one commit (G3).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.deciders.decider import Definition, Tools
from perdure.engine.runs.ending import identity_of
from perdure.engine.runs.live import Arrival, LiveRun, Phase
from perdure.engine.runs.record import Told, fact_of_stimulus
from perdure.engine.runs.writing import Piece, post
from perdure.engine.sharing.share import Share
from perdure.model import command as commands
from perdure.model.errors import DefinitionNotFound, RunConflict
from perdure.model.failure import failure_of
from perdure.model.ids import CallName, RunId
from perdure.model.message import EndChild, RecordFact, encode_message
from perdure.model.run import RunRow, Status
from perdure.model.stimulus import Begun
from perdure.ports.clock import Entropy
from perdure.ports.definitions import Definitions
from perdure.ports.store import Consequences, InboxItem, start_id

if TYPE_CHECKING:
    from perdure.engine.pump import Pump


class Starter:
    """``on_parked`` is told of runs whose code is not here."""

    def __init__(self, pump: "Pump", *, entropy: Entropy, definitions: Definitions, tools: Tools, share: Share) -> None:
        self._pump = pump
        self._entropy = entropy
        self._definitions = definitions
        self._tools = tools
        self._share = share
        self.on_parked: Callable[[RunId], None] = lambda run: None

    def begin_child(self, parent: LiveRun, command: commands.StartChild, now_us: int) -> None:
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
            partition=parent.row.partition if (partition := self._share.pick(command.run)) is None else partition,
            durability=parent.row.durability,
        )
        if (known := self._pump.roster.get(row.id)) is not None:
            self._refuse_known(row, known.row)
            return
        batch = self._pump.committer.batch
        if (refusal := self._refusal(row)) is not None:
            batch.refusals[row.id] = refusal
        if parent.row.id in batch.checked:
            batch.led_to.setdefault(parent.row.id, Consequences()).starts.append(row.id)
        # A seed of its own at each try: where the commit was lost and the parent decides again, nobody has seen what came of the first.
        begun = Begun(command.args, command.kwargs, self._entropy.seed(), end_us=command.end_us)
        try:
            definition = self._definitions.definition(command.definition, command.version)
        except DefinitionNotFound as error:
            self.park_start(row, begun, str(error), is_checked=True)
            return
        self.begin(row, definition, begun, is_checked=True, now_us=now_us)

    def _refuse_known(self, row: RunRow, known: RunRow) -> None:
        """The id of a child is that of a run in memory: its parent's commit has the refusal, and the start is not even tried."""
        refusal = self._refusal(row)
        if refusal is None or (known.parent, known.parent_call) == (row.parent, row.parent_call):
            return
        self._pump.committer.batch.posts.append(refusal)
        self._pump.committer.pieces.append(Piece(LiveRun(row, Phase.ENDED), posts=[refusal]))
        self._pump.schedule()

    def tell_refused(self, row: RunRow) -> None:
        """A child's id was found taken by the commit, which has posted the refusal: its parent hears of it, wherever it is by then."""
        if (refusal := self._refusal(row)) is not None:
            self._pump.on_post([refusal])

    def _refusal(self, row: RunRow) -> InboxItem | None:
        """Give what a parent is told if the id of its child is taken; ``None`` for a run that has nobody to tell."""
        if row.parent is None or row.parent_call is None:
            return None
        base, _, call = row.parent_call.partition("#")
        error = RunConflict(f"A run {row.id!r} exists already, and is not the child of this call. Give the child another id.", run=row.id)
        message = EndChild(int(base), CallName(call), error=failure_of(error, is_final=True))
        return InboxItem(row.parent, f"{row.id}#{row.parent_call}#refused", row.created_us, encode_message(message))

    def park_start(self, row: RunRow, begun: Begun, reason: str, *, is_checked: bool) -> None:
        """A run whose code is not here is in the batch; its start waits in its inbox until the code comes."""
        batch, told = self._pump.committer.batch, Told(definition=row.definition, version=row.version)
        parked = _copy(row)
        parked.status, parked.reason = Status.WAITING, reason
        batch.starts.append(parked)
        if is_checked:
            batch.checked.add(row.id)
        item = post(
            batch,
            row.id,
            start_id(row.id),
            row.created_us,
            lambda attachments: RecordFact(fact_of_stimulus(begun, attachments, told)),
            inline_max=self._tools.limits.payload_inline_max,
        )
        run = LiveRun(parked, Phase.STOPPED)
        run.is_committing = True
        self._pump.roster.add(run)
        self.on_parked(row.id)
        self._pump.committer.pieces.append(Piece(run, posts=[item]))
        self._pump.schedule()

    def begin(self, row: RunRow, definition: Definition, begun: Begun, *, is_checked: bool, now_us: int) -> LiveRun:
        """A new run is in the batch with its first transition; ``is_checked`` where its id may be taken."""
        run = LiveRun(row, Phase.ACTIVE)
        run.decider = definition.decider(identity_of(run), self._tools)
        self._pump.roster.add(run)
        batch = self._pump.committer.batch
        # The start is written as it was asked for; what the first transition makes of the row comes as a change of its own.
        batch.starts.append(_copy(row))
        if is_checked:
            batch.checked.add(row.id)
        run.arrivals.append(Arrival(begun, told=Told(definition=row.definition, version=row.version)))
        self._pump.advance(run, now_us)
        return run


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
        partition=row.partition,
        durability=row.durability,
    )
