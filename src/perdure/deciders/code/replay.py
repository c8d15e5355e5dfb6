"""Does the code still do what the journal says it did?"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from perdure.model import command as commands
from perdure.model import fact as facts
from perdure.model.errors import ReplayMismatch
from perdure.model.fact import AnyFact
from perdure.model.payload import Content, Payload

Key = tuple[type, str, str]

_FACT_KEYS: dict[type, Callable[[Any], Key]] = {
    facts.ActionScheduled: lambda fact: (facts.ActionScheduled, fact.call, fact.action),
    facts.TimerStarted: lambda fact: (facts.TimerStarted, fact.call, ""),
    facts.TimerCancelled: lambda fact: (facts.TimerCancelled, fact.call, ""),
    facts.CallCancelled: lambda fact: (facts.CallCancelled, fact.call, ""),
    facts.SignalAwaited: lambda fact: (facts.SignalAwaited, fact.call, fact.channel),
    facts.SignalTaken: lambda fact: (facts.SignalTaken, fact.call, fact.id),
    facts.SignalDiscarded: lambda fact: (facts.SignalDiscarded, fact.id, fact.channel),
    facts.ChildStarted: lambda fact: (facts.ChildStarted, fact.call, fact.definition),
    facts.SignalSent: lambda fact: (facts.SignalSent, fact.call, fact.channel),
    facts.Recorded: lambda fact: (facts.Recorded, fact.call, ""),
    facts.Patched: lambda fact: (facts.Patched, fact.id, ""),
    facts.UpdateCompleted: lambda fact: (facts.UpdateCompleted, fact.id, ""),
    facts.UpdateFailed: lambda fact: (facts.UpdateFailed, fact.id, ""),
    facts.RunCompleted: lambda fact: (facts.RunCompleted, "", ""),
    facts.RunFailed: lambda fact: (facts.RunFailed, "", fact.error.type),
    facts.RunCancelled: lambda fact: (facts.RunCancelled, "", ""),
    facts.RunContinued: lambda fact: (facts.RunContinued, "", ""),
}

_COMMAND_KEYS: dict[type, Callable[[Any], Key]] = {
    commands.RunAction: lambda command: (facts.ActionScheduled, command.call, command.spec.name),
    commands.StartTimer: lambda command: (facts.TimerStarted, command.call, ""),
    commands.CancelTimer: lambda command: (facts.TimerCancelled, command.call, ""),
    commands.CancelCall: lambda command: (facts.CallCancelled, command.call, ""),
    commands.AwaitSignal: lambda command: (facts.SignalAwaited, command.call, command.channel),
    commands.TakeSignal: lambda command: (facts.SignalTaken, command.call, command.id),
    commands.DiscardSignal: lambda command: (facts.SignalDiscarded, command.id, command.channel),
    commands.StartChild: lambda command: (facts.ChildStarted, command.call, command.definition),
    commands.SendSignal: lambda command: (facts.SignalSent, command.call, command.channel),
    commands.Record: lambda command: (facts.Recorded, command.call, ""),
    commands.MarkPatch: lambda command: (facts.Patched, command.id, ""),
    commands.AnswerUpdate: lambda command: (
        facts.UpdateCompleted if command.failure is None else facts.UpdateFailed,
        command.id,
        "",
    ),
    commands.Complete: lambda command: (facts.RunCompleted, "", ""),
    commands.Fail: lambda command: (facts.RunFailed, "", command.failure.type),
    commands.Cancel: lambda command: (facts.RunCancelled, "", ""),
    commands.ContinueAsNew: lambda command: (facts.RunContinued, "", ""),
}

_NAMES: dict[type, str] = {
    facts.ActionScheduled: "a call of the action",
    facts.TimerStarted: "a timer or sleep",
    facts.TimerCancelled: "the end of a timer",
    facts.CallCancelled: "a cancelled call",
    facts.SignalAwaited: "waiting for the signal",
    facts.SignalTaken: "reading the signal",
    facts.SignalDiscarded: "dropping the signal",
    facts.ChildStarted: "a child run of",
    facts.SignalSent: "sending the signal",
    facts.Recorded: "perdure.record",
    facts.Patched: "perdure.patched",
    facts.UpdateCompleted: "the answer to an update",
    facts.UpdateFailed: "a failed update",
    facts.RunCompleted: "the end of the run with a value",
    facts.RunFailed: "the end of the run with the error",
    facts.RunCancelled: "the end of the run by a cancel",
    facts.RunContinued: "perdure.continue_as_new",
}


def verify(done: Sequence[commands.Command], recorded: Sequence[AnyFact], position: int) -> None:
    """Raise `ReplayMismatch` unless the commands are those that the facts of row ``position`` came from, in any order."""
    done = [command for command in done if type(command) is not commands.Publish]
    recorded = [fact for fact in recorded if type(fact) is not facts.StatePublished]
    if len(done) == len(recorded) and all(
        _COMMAND_KEYS[type(command)](command) == _FACT_KEYS[type(fact)](fact) for command, fact in zip(done, recorded, strict=True)
    ):
        return
    _verify_as_sets(done, recorded, position)


def _verify_as_sets(done: Sequence[commands.Command], recorded: Sequence[AnyFact], position: int) -> None:
    expected = {_FACT_KEYS[type(fact)](fact): fact for fact in recorded}
    found = {_COMMAND_KEYS[type(command)](command): command for command in done}
    missing = [fact for key, fact in expected.items() if key not in found]
    surplus = [command for key, command in found.items() if key not in expected]
    if missing or surplus:
        raise ReplayMismatch(
            position=position,
            recorded=_describe(*_first(missing)) if missing else "nothing more",
            done=_describe(*_first_done(surplus)) if surplus else "nothing there",
        )


def _first(missing: Sequence[AnyFact]) -> tuple[Key, str]:
    return _FACT_KEYS[type(missing[0])](missing[0]), getattr(missing[0], "line", "")


def _first_done(surplus: Sequence[commands.Command]) -> tuple[Key, str]:
    return _COMMAND_KEYS[type(surplus[0])](surplus[0]), getattr(surplus[0], "line", "")


def _describe(key: Key, line: str) -> str:
    kind, call, name = key
    words = [_NAMES[kind], repr(name) if name else "", f"(call {call})" if call else "", f"at {line}" if line else ""]
    return " ".join(word for word in words if word)


def verify_arguments(
    done: Sequence[commands.Command],
    recorded: Sequence[AnyFact],
    position: int,
    content: Callable[[Payload], Content],
    plain: Callable[[Content], bytes],
) -> None:
    """In strict mode: raise `ReplayMismatch` where a call was given other arguments than the journal has.

    ``plain`` gives bytes before any codec, so that a rotated key changes nothing. What lies in the blob store is compared by its hash.
    """
    calls = {fact.call: fact for fact in recorded if isinstance(fact, facts.ActionScheduled)}
    for command in done:
        if not isinstance(command, commands.RunAction) or command.call not in calls:
            continue
        fact = calls[command.call]
        before = (*fact.args, *fact.kwargs.values())
        now = (*command.args, *command.kwargs.values())
        if len(before) != len(now) or not all(_is_same(*pair, content, plain) for pair in zip(before, now, strict=True)):
            raise ReplayMismatch(
                position=position,
                recorded=f"other arguments of {fact.action!r} (call {fact.call}) at {fact.line}",
                done=f"a call of {fact.action!r} with changed arguments at {command.line}",
            )


def _is_same(before: Payload, now: Content, content: Callable[[Payload], Content], plain: Callable[[Content], bytes]) -> bool:
    if not before.blob:
        return plain(content(before)) == plain(now)
    # Under another key the same value has another hash: then there is no telling, and nothing is claimed.
    return before.blob == sha256(now.data).hexdigest() or "+" in before.codec
