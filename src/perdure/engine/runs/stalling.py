"""Stops a run that cannot go on, keeping all it was given. Protects from a bug destroying work (G6)."""

import logging
from collections.abc import Sequence
from hashlib import sha256

from perdure.engine.runs.live import Arrival, LiveRun, Phase
from perdure.engine.runs.record import fact_of_stimulus
from perdure.engine.runs.writing import Piece, append_row, change_row, post
from perdure.model import fact as facts
from perdure.model.errors import PerdureError, Unavailable
from perdure.model.fact import AnyFact, encode_facts
from perdure.model.failure import failure_of
from perdure.model.limits import Limits
from perdure.model.message import RecordFact
from perdure.model.payload import Attachments
from perdure.model.run import Status
from perdure.model.stimulus import Updated
from perdure.ports.store import Batch

logger = logging.getLogger("perdure.engine")


def stall_run(run: LiveRun, arrivals: Sequence[Arrival], error: BaseException, batch: Batch, limits: Limits) -> Piece:
    """The run is stalled with the reason in its journal; its stimuli lie in its inbox and are taken in when it is resumed."""
    reason = reason_of(error)
    logger.error("run %s (%s) is stalled: %s", run.row.id, run.row.definition, reason, extra={"run": run.row.id})
    run.drop_mind()
    run.phase = Phase.STOPPED
    keep_arrivals(run, arrivals, batch, limits)
    append_row(run, [facts.RunStalled(reason)], Attachments(limits.payload_inline_max), batch, run.last_us)
    change_row(run, Status.STALLED, None, batch, reason=reason)
    settled = [arrival for arrival in arrivals if not isinstance(arrival.stimulus, Updated)]
    return Piece(run, settled=settled, has_stalled=True)


def keep_arrivals(run: LiveRun, arrivals: Sequence[Arrival], batch: Batch, limits: Limits) -> None:
    """What a stopped run is given waits in its inbox. Updates are refused: their callers wait for an answer that cannot come."""
    for arrival in arrivals:
        if isinstance(arrival.stimulus, Updated):
            arrival.refuse(
                Unavailable(f"The run {run.row.id!r} is stopped ({run.row.reason or run.row.status}); resume it, then try again.")
            )
        elif arrival.inbox_id is not None:
            batch.consumed = [entry for entry in batch.consumed if entry != (run.row.id, arrival.inbox_id)]
        else:
            _keep(run, arrival, batch, limits)


def _keep(run: LiveRun, arrival: Arrival, batch: Batch, limits: Limits) -> None:
    attachments = Attachments(limits.payload_inline_max)
    fact = _fact_of(arrival, attachments)
    # Named by what it is, not counted: a count would begin again with each load of the run and hit upon a name that is taken.
    digest = sha256(encode_facts([fact]) + bytes(attachments.data or b"")).hexdigest()[:32]
    id = f"{run.row.id}#kept#{run.row.base}#{digest}"
    post(batch, run.row.id, id, run.last_us, lambda places: RecordFact(_fact_of(arrival, places)), inline_max=limits.payload_inline_max)


def _fact_of(arrival: Arrival, attachments: Attachments) -> AnyFact:
    if arrival.stimulus is not None:
        return fact_of_stimulus(arrival.stimulus, attachments, arrival.told)
    assert arrival.make is not None
    return arrival.make(attachments)


def reason_of(error: BaseException) -> str:
    """Write an error as the reason of a stall: ours speak for themselves, others need their class and place."""
    if isinstance(error, PerdureError):
        return str(error)
    failure = failure_of(error)
    place = failure.traceback.strip().splitlines()[-2:] if failure.traceback else []
    return f"{failure.type.rpartition(':')[2]}: {failure.message} ({' '.join(part.strip() for part in place)})"
