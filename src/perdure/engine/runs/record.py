"""Stimuli and commands to facts, and facts back to stimuli."""

from collections.abc import Callable, Sequence
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from perdure.model import command as commands
from perdure.model import fact as facts
from perdure.model.command import Command
from perdure.model.fact import AnyFact
from perdure.model.payload import Attachments, Content, Payload
from perdure.model.stimulus import Begun, CancelAsked, Failed, Fired, Signalled, Stimulus, Succeeded, Updated

ContentOf = Callable[[Payload], Content]


class Told(Struct, frozen=True, gc=False):
    """What the engine knows of an outcome beyond the stimulus."""

    attempt: int = 1
    took_us: int = 0
    is_child: bool = False
    definition: str = ""
    version: int = 1


PLAIN = Told()


def fact_of_stimulus(stimulus: Stimulus, attachments: Attachments, told: Told = PLAIN) -> AnyFact:
    """Write a stimulus down."""
    match stimulus:  # The commonest come first.
        case Succeeded():
            value = attachments.place(stimulus.content)
            if told.is_child:
                return facts.ChildCompleted(stimulus.call, value)
            return facts.ActionCompleted(stimulus.call, value, told.attempt, told.took_us)
        case Failed():
            if told.is_child:
                return facts.ChildFailed(stimulus.call, stimulus.failure)
            return facts.ActionFailed(stimulus.call, stimulus.failure, told.attempt, told.took_us)
        case Fired():
            return facts.TimerFired(stimulus.call)
        case Signalled():
            return _signal_fact(stimulus, attachments)
        case Begun():
            return facts.RunStarted(
                definition=told.definition,
                args=_place_all(stimulus.args, attachments),
                kwargs=_place_named(stimulus.kwargs, attachments),
                version=told.version,
                seed=stimulus.seed,
                carried=tuple(_signal_fact(signal, attachments) for signal in stimulus.carried),
                seen=stimulus.seen,
                end_us=stimulus.end_us,
                answered=tuple([_answer(answer, attachments) for answer in stimulus.answered]),
                asked=stimulus.asked,
            )
        case Updated():
            return facts.UpdateAccepted(
                stimulus.id,
                stimulus.method,
                _place_all(stimulus.args, attachments),
                _place_named(stimulus.kwargs, attachments),
                stimulus.is_named,
                stimulus.digest,
            )
        case CancelAsked():
            return facts.CancelRequested(stimulus.reason)
        case _:
            assert_never(stimulus)


def _signal_fact(signal: Signalled, attachments: Attachments) -> facts.SignalReceived:
    return facts.SignalReceived(signal.id, signal.channel, attachments.place(signal.content), signal.is_named, signal.digest)


def _place_all(contents: Sequence[Content], attachments: Attachments) -> tuple[Payload, ...]:
    return tuple([attachments.place(content) for content in contents])


def _place_named(contents: dict[str, Content], attachments: Attachments) -> dict[str, Payload]:
    return {name: attachments.place(content) for name, content in contents.items()} if contents else {}


def fact_of_command(command: Command, attachments: Attachments) -> AnyFact:
    """Write a command down."""
    writer = _COMMAND_WRITERS[type(command)]
    fact: AnyFact = writer(command, attachments)
    return fact


def _action(command: commands.RunAction, attachments: Attachments) -> AnyFact:
    return facts.ActionScheduled(
        command.call,
        command.spec.name,
        _place_all(command.args, attachments),
        _place_named(command.kwargs, attachments),
        command.line,
    )


def _answer(command: commands.AnswerUpdate, attachments: Attachments) -> facts.UpdateCompleted | facts.UpdateFailed:
    if command.failure is not None:
        return facts.UpdateFailed(command.id, command.failure)
    assert command.content is not None
    return facts.UpdateCompleted(command.id, attachments.place(command.content))


_COMMAND_WRITERS: dict[type, Callable[[Any, Attachments], AnyFact]] = {
    commands.RunAction: _action,
    commands.StartTimer: lambda command, _: facts.TimerStarted(command.call, command.due_us, command.line),
    commands.CancelTimer: lambda command, _: facts.TimerCancelled(command.call),
    commands.CancelCall: lambda command, _: facts.CallCancelled(command.call),
    commands.AwaitSignal: lambda command, _: facts.SignalAwaited(command.call, command.channel, command.line),
    commands.TakeSignal: lambda command, _: facts.SignalTaken(command.call, command.id, command.channel),
    commands.DiscardSignal: lambda command, _: facts.SignalDiscarded(command.id, command.channel),
    commands.StartChild: lambda command, _: facts.ChildStarted(
        command.call, command.run, command.definition, command.is_detached, command.line
    ),
    commands.SendSignal: lambda command, _: facts.SignalSent(command.call, command.run, command.channel, command.line),
    commands.Record: lambda command, attachments: facts.Recorded(command.call, attachments.place(command.content), command.line),
    commands.MarkPatch: lambda command, _: facts.Patched(command.id),
    commands.Publish: lambda command, _: facts.StatePublished(command.state),
    commands.AnswerUpdate: _answer,
    commands.Complete: lambda command, attachments: facts.RunCompleted(attachments.place(command.content)),
    commands.Fail: lambda command, _: facts.RunFailed(command.failure),
    commands.Cancel: lambda command, _: facts.RunCancelled(command.reason),
    commands.ContinueAsNew: lambda command, _: facts.RunContinued(command.line),
}


def stimulus_of_fact(fact: AnyFact, content: ContentOf) -> Stimulus | None:
    """Give back the stimulus that a fact recorded; ``None`` for facts that recorded something else."""
    reader = _STIMULUS_READERS.get(type(fact))
    if reader is None:
        return None
    stimulus: Stimulus = reader(fact, content)
    return stimulus


def _signalled(fact: facts.SignalReceived, content: ContentOf) -> Signalled:
    return Signalled(fact.id, fact.channel, content(fact.value), fact.is_named, fact.digest)


def _begun(fact: facts.RunStarted, content: ContentOf) -> Begun:
    return Begun(
        tuple([content(value) for value in fact.args]),
        {name: content(value) for name, value in fact.kwargs.items()},
        fact.seed,
        tuple([_signalled(signal, content) for signal in fact.carried]),
        fact.seen,
        fact.end_us,
        tuple([_answered(answer, content) for answer in fact.answered]),
        fact.asked,
    )


def _answered(fact: facts.UpdateCompleted | facts.UpdateFailed, content: ContentOf) -> commands.AnswerUpdate:
    if isinstance(fact, facts.UpdateFailed):
        return commands.AnswerUpdate(fact.id, failure=fact.error)
    return commands.AnswerUpdate(fact.id, content=content(fact.value))


_STIMULUS_READERS: dict[type, Callable[[Any, ContentOf], Stimulus]] = {
    facts.RunStarted: _begun,
    facts.ActionCompleted: lambda fact, content: Succeeded(fact.call, content(fact.value)),
    facts.ActionFailed: lambda fact, _: Failed(fact.call, fact.error),
    facts.ChildCompleted: lambda fact, content: Succeeded(fact.call, content(fact.value)),
    facts.ChildFailed: lambda fact, _: Failed(fact.call, fact.error),
    facts.TimerFired: lambda fact, _: Fired(fact.call),
    facts.SignalReceived: _signalled,
    facts.UpdateAccepted: lambda fact, content: Updated(
        fact.id,
        fact.method,
        tuple([content(value) for value in fact.args]),
        {name: content(value) for name, value in fact.kwargs.items()},
        fact.is_named,
        fact.digest,
    ),
    facts.CancelRequested: lambda fact, _: CancelAsked(fact.reason),
}

ENGINE_FACTS = (
    facts.AttemptFailed,
    facts.AttemptLost,
    facts.ActionPending,
    facts.CallRetried,
    facts.RetrySucceeded,
    facts.RetryFailed,
    facts.RunStalled,
    facts.RunResumed,
    facts.RunReopened,
)
"""Facts of the engine's own: neither a stimulus of the decider nor a command of it."""


def placed_again(fact: AnyFact, content: ContentOf, attachments: Attachments) -> AnyFact:
    """Give an engine's own fact as it is in another row: what lay beside the old one lies beside the new one."""

    def again(payload: Payload) -> Payload:
        return payload if payload.at < 0 else attachments.place(content(payload))

    match fact:
        case facts.AttemptFailed() if fact.details is not None:
            return replace(fact, details=again(fact.details))
        case facts.RetrySucceeded():
            return replace(fact, value=again(fact.value))
        case facts.CallRetried():
            return replace(fact, args=tuple(map(again, fact.args)), kwargs={name: again(value) for name, value in fact.kwargs.items()})
        case _:
            return fact


def blobs_of(entries: Sequence[AnyFact]) -> set[str]:
    """Give the content hashes that a replay of these facts needs: values fed back, not arguments given out."""
    wanted: set[str] = set()
    for fact in entries:
        for payload in _fed_back(fact):
            if payload.blob:
                wanted.add(payload.blob)
    return wanted


def _fed_back(fact: AnyFact) -> Sequence[Payload]:
    match fact:
        case facts.ActionCompleted() | facts.ChildCompleted() | facts.SignalReceived() | facts.Recorded():
            return (fact.value,)
        case facts.RunStarted():
            answers = [answer.value for answer in fact.answered if isinstance(answer, facts.UpdateCompleted)]
            return (*fact.args, *fact.kwargs.values(), *(signal.value for signal in fact.carried), *answers)
        case facts.UpdateAccepted():
            return (*fact.args, *fact.kwargs.values())
        case _:
            return ()


def arguments_blobs(fact: facts.ActionScheduled) -> set[str]:
    """Give the content hashes of a call's arguments."""
    return {payload.blob for payload in (*fact.args, *fact.kwargs.values()) if payload.blob}
