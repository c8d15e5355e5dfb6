"""What a run that has ended still knows. Protects whoever asks again from another answer than the first (G5)."""

from collections.abc import Iterator, Sequence

import msgspec

from perdure.engine.inbox import mail
from perdure.engine.inbox.intake import differs, signal_digest
from perdure.model import fact as facts
from perdure.model import message as messages
from perdure.model.command import AnswerUpdate
from perdure.model.errors import RunEnded, SignalConflict, UpdateConflict
from perdure.model.fact import decode_facts
from perdure.model.failure import exception_of
from perdure.model.ids import RunId
from perdure.model.payload import Content, content_of, digest_of
from perdure.model.run import RunRow, Transition
from perdure.model.stimulus import CancelAsked, Failed, Signalled, Stimulus, Succeeded, Updated
from perdure.ports.store import Loaded, Reader

PAGE = 500


async def recall(store: Reader, row: RunRow, stimulus: Stimulus) -> Content | None:
    """Give the answer that an update had, ``None`` for a signal that was taken: both sent again, under the id that their sender chose.

    Raises what the update raised, `SignalConflict` or `UpdateConflict` for other content, and `RunEnded` for all that the journal does
    not know.
    """
    if isinstance(stimulus, Signalled) and stimulus.is_named and await knows_signal(store, row.id, stimulus):
        return None
    if isinstance(stimulus, Updated) and stimulus.is_named and (answer := await _answer(store, row, stimulus)) is not None:
        if answer.failure is not None:
            raise exception_of(answer.failure)
        return answer.content
    raise RunEnded(run=row.id, status=row.status, asked=asked_of(stimulus))


def asked_of(stimulus: Stimulus | None) -> str:
    """Name a stimulus as whoever sent it knows it."""
    match stimulus:
        case Signalled():
            return f"the signal {stimulus.channel!r}"
        case Updated():
            return f"the update {stimulus.method!r}"
        case CancelAsked():
            return "the cancel"
        case Succeeded() | Failed():
            return f"the outcome of call {stimulus.call!r}"
        case _:
            return "the message"


async def knows_signal(store: Reader, run: RunId, signal: Signalled) -> bool:
    """Tell whether the run has taken a signal of this id, or has one before it; raises `SignalConflict` if that has other content."""
    loaded = await store.mentions(run, msgspec.json.encode(signal.id))
    known = None if loaded is None else next(_digests(loaded, signal.id), None)
    if known is not None and known != signal_digest(signal):
        raise SignalConflict(id=signal.id, run=run)
    return known is not None


def _digests(loaded: Loaded, signal: str) -> Iterator[str]:
    """Give the digest of each signal of this id, that of the one that counts first: what the journal has, then what arrived first."""
    for transition in loaded.transitions:
        for fact in decode_facts(transition.facts):
            yield from _digest_of_signal(fact, signal, transition.data)
    for item in loaded.inbox:
        match mail.read(item).message:
            case messages.SendSignal() as message if message.id == signal and message.is_named:
                yield message.digest or digest_of(message.value, item.data)
            case messages.RecordFact() as message:
                yield from _digest_of_signal(message.fact, signal, item.data)
            case _:
                continue


def _digest_of_signal(fact: facts.AnyFact, signal: str, data: bytes | None) -> Iterator[str]:
    match fact:
        case facts.RunStarted() if signal in fact.seen:
            yield fact.seen[signal]
        case facts.SignalReceived() if fact.is_named and fact.id == signal:
            yield fact.digest or digest_of(fact.value, data)
        case _:
            return


async def _answer(store: Reader, row: RunRow, update: Updated) -> AnswerUpdate | None:
    for transition, fact in await _facts(store, row):
        if differs(update, _digest_in(fact, update.id)):
            raise UpdateConflict(id=update.id, run=row.id, method=update.method)
        for answer in fact.answered if isinstance(fact, facts.RunStarted) else (fact,):
            if isinstance(answer, facts.UpdateFailed) and answer.id == update.id:
                return AnswerUpdate(update.id, failure=answer.error)
            if isinstance(answer, facts.UpdateCompleted) and answer.id == update.id:
                blobs = await store.blobs([answer.value.blob]) if answer.value.blob else {}
                return AnswerUpdate(update.id, content=content_of(answer.value, transition.data, blobs))
    return None


def _digest_in(fact: facts.AnyFact, update: str) -> str:
    match fact:
        case facts.RunStarted():
            return fact.asked.get(update, "")
        case facts.UpdateAccepted() if fact.id == update:
            return fact.digest
        case _:
            return ""


async def _facts(store: Reader, row: RunRow) -> Sequence[tuple[Transition, facts.AnyFact]]:
    """Give the journal of the last incarnation: its start has what those before it knew."""
    found, after = [], row.base - 1
    while page := await store.transitions(row.id, after, PAGE):
        found += [(transition, fact) for transition in page for fact in decode_facts(transition.facts)]
        after = page[-1].number
    return found
