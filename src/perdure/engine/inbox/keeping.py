"""Outcomes that become durable before their run takes them in: as messages in its inbox, where a node finds them after any crash (G4)."""

from perdure.engine.runs.writing import post
from perdure.model import fact as facts
from perdure.model.call import Attempt, Outcome
from perdure.model.fact import AnyFact
from perdure.model.message import RecordFact
from perdure.model.payload import Attachments
from perdure.ports.store import Batch


def kept_outcome(attempt: Attempt, outcome: Outcome, *, epoch: int, now_us: int, inline_max: int) -> Batch:
    """Give the batch that tells the run of an attempt that did not fail; one message, the same whenever it is asked for."""

    def message(attachments: Attachments) -> RecordFact:
        return RecordFact(_fact(attempt, outcome, attachments))

    batch = Batch(epoch)
    post(batch, attempt.run, f"{attempt.key}#outcome#{attempt.sequence}#{attempt.number}", now_us, message, inline_max=inline_max)
    return batch


def _fact(attempt: Attempt, outcome: Outcome, attachments: Attachments) -> AnyFact:
    if outcome.content is None:
        return facts.ActionPending(attempt.call, attempt.number)
    return facts.ActionCompleted(attempt.call, attachments.place(outcome.content), attempt.number, outcome.took_us)
