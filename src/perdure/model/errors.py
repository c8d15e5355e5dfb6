"""Every error Perdure raises.

PerdureError
├── NotFound ............ the thing named does not exist          RunNotFound CallNotFound DefinitionNotFound DefinitionAmbiguous
│                                                                 NamespaceNotFound
├── Conflict ............ it exists in another state        RunConflict SignalConflict UpdateConflict RunEnded NotRetryable CallClosed
│                                                                 DefinitionConflict NodeIsLive NamespaceExists NamespaceNotEmpty
├── Invalid ............. the input is wrong; do not try again    InvalidOption InvalidArguments InvalidValue InvalidExport CorruptJournal
├── Unavailable ......... try again later                         StoreUnavailable EngineClosed AnswerOverdue Overloaded
├── LeaseLost ........... another node has the runs now
├── NonDeterministic .... workflow code cannot be replayed        ForbiddenInWorkflow ReplayMismatch
├── Unsupported ......... this product or version cannot do it
├── TooLarge ............ a limit was reached                     PayloadTooLarge JournalTooLong TooManyCalls TooManySignals TooManySteps
├── Internal ............ our mistake
└── Ended badly ......... how user code ended          ActionFailed ActionTimedOut AttemptsLost RunFailed RunTimedOut RunCancelled
"""

from typing import Any


class PerdureError(Exception):
    """The root. ``kind`` tells what the caller should do; the text says what was asked, what was found and what to do next."""

    kind = "internal"
    text = "{}"

    # Positional only: `message` is also the name of a field.
    def __init__(self, message: str | None = None, /, **fields: Any) -> None:
        self.fields = fields
        super().__init__(message if message is not None else self.text.format(**fields))

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")


class NotFound(PerdureError):
    kind = "not found"


class RunNotFound(NotFound):
    text = "There is no run {run!r}. List the runs to see their ids; a run that ended long ago may have been pruned."


class CallNotFound(NotFound):
    text = "No open call has the key {key!r}. It may be misspelt, or its run has ended."


class DefinitionNotFound(NotFound):
    text = "{what} {name!r} is not registered here. Known: {known}. Import the module that declares it before the engine starts."


class DefinitionAmbiguous(DefinitionNotFound):
    text = "Two workflows are named {name!r} (version {version}): {first} and {second}. Give one of them name=… or version=…, then resume."


class NamespaceNotFound(NotFound):
    text = "There is no namespace {namespace!r} on {store}. Known: {known}. 'perdure ns create {namespace}' makes it."


class Conflict(PerdureError):
    kind = "conflict"


class RunConflict(Conflict):
    text = (
        "A run {run!r} exists already ({definition}, {status}) with other input. "
        "Use another id, or pass on_ended='restart' to replace a run that has ended."
    )


class RunEnded(Conflict):
    text = "The run {run!r} has ended ({status}); {asked} has no effect on it."


class NotRetryable(Conflict):
    text = "The run {run!r} cannot be retried: {found}. {instead}"


class SignalConflict(Conflict):
    text = "A signal with id {id!r} was sent to run {run!r} before with other content. Use a new id for a new signal."


class UpdateConflict(Conflict):
    text = (
        "An update with id {id!r} was sent to run {run!r} before with another method or other arguments; "
        "this one ({method!r}) was not done. Use a new id for a new update."
    )


class CallClosed(Conflict):
    text = "The call {key!r} is not waiting for an outside outcome: {found}. The first outcome stands; this one was dropped."


class DefinitionConflict(Conflict):
    text = "Two {what} are named {name!r} (version {version}): {first} and {second}. Give one of them name=… or version=…."


class NamespaceExists(Conflict):
    text = "There is a namespace {namespace!r} on {store} already."


class NamespaceNotEmpty(Conflict):
    text = "The namespace {namespace!r} has runs. Prune or export them first, or delete it with --force."


class NodeIsLive(Conflict):
    text = (
        "{nodes} moves the runs of {store}; {asked} of open runs needs them at rest. Stop every node of it first, or leave open runs out."
    )


class Invalid(PerdureError):
    kind = "invalid"


class InvalidOption(Invalid):
    text = "{option}: found {found}, expected {expected}."


class InvalidArguments(Invalid):
    text = "{what} cannot be called with these arguments: {problem}. It takes {signature}."


class InvalidValue(Invalid):
    text = "{what}: the value does not have the declared type: {problem}."


class InvalidExport(Invalid):
    text = "Line {line} of the export cannot be taken: {problem}. What was whole before it may be there; mend the file and import it again."


class CorruptJournal(Invalid):
    text = "The journal cannot be read: {what}. The row is left as it is; repair it or restore a backup, then resume the run."


class Unavailable(PerdureError):
    kind = "unavailable"


class StoreUnavailable(Unavailable):
    text = "The store {store} did not answer: {problem}. Nothing was lost; the work goes on when it is back."


class EngineClosed(Unavailable):
    text = "The engine is {state}; {asked} was not done. Open it with 'async with Engine(…)' first."


class AnswerOverdue(Unavailable):
    text = "No node answered {asked} within {span}. Is 'perdure serve' running on this store? The request may still be carried out."


class Overloaded(Unavailable):
    """Fields: ``retry_after`` (`timedelta`), ``limit`` (its name), ``found`` and ``allowed``."""

    text = (
        "{asked} was not taken: {found} requests wait for the store already; the limit {limit} is {allowed}. "
        "Nothing of it was done; try again in {span}."
    )


class LeaseLost(PerdureError):
    kind = "lease lost"
    text = "This node (epoch {epoch}) no longer holds the runs: {found}. It has stopped writing; whoever holds them goes on."


class NonDeterministic(PerdureError):
    kind = "non-deterministic"


class ForbiddenInWorkflow(NonDeterministic):
    text = "{where}: {what} cannot be replayed inside a workflow. Use {instead}."


class ReplayMismatch(NonDeterministic):
    text = (
        "Replay disagrees with the journal at row {position}. The journal has: {recorded}. The code did: {done}. "
        "Restore the code path (see perdure.patched) and resume the run; nothing was lost."
    )


class Unsupported(PerdureError):
    kind = "unsupported"
    text = "{what} is not supported here: {why}."


class TooLarge(PerdureError):
    kind = "too large"


class PayloadTooLarge(TooLarge):
    text = "{what} takes {size} bytes; the limit payload_bytes_max is {limit}. Store it elsewhere and pass a reference."


class JournalTooLong(TooLarge):
    text = (
        "The journal has {size} facts; the limit journal_facts_max is {limit}. Raise it and resume; use perdure.continue_as_new(…) before."
    )


class TooManyCalls(TooLarge):
    text = (
        "{size} calls are open at once; the limit calls_open_max is {limit}. Start fewer at a time (asyncio.Semaphore) or raise the limit."
    )


class TooManySignals(TooLarge):
    text = (
        "{size} signals wait unread on channel {channel!r} of run {run!r}; the limit signals_buffered_max is {limit}. Send it again later."
    )


class TooManySteps(TooLarge):
    text = "The code went through {limit} callbacks without waiting for anything durable. Is there an endless loop around asyncio.sleep(0)?"


class RunElsewhere(Unavailable):
    text = "The run {run!r} is moved by another node; this one has no part in it. Ask through the store."


class Internal(PerdureError):
    kind = "internal"
    text = "{what}. This is a mistake in Perdure; please report it with the run's journal."


class EndedBadly(PerdureError):
    """How user code ended, where its own exception class cannot be rebuilt."""

    kind = "failed"


class ActionFailed(EndedBadly):
    text = "{type}: {message}"
    """Fields: ``type`` (module:QualName), ``message``, ``traceback`` (text of the place where it was raised)."""


class ActionTimedOut(ActionFailed, TimeoutError):
    text = "{message}"


class AttemptsLost(ActionFailed):
    text = "{message}"


class RunFailed(EndedBadly):
    text = "{type}: {message}"


class RunTimedOut(EndedBadly, TimeoutError):
    text = "The run {run!r} did not end within the timeout it was started with."


class RunCancelled(EndedBadly):
    text = "The run {run!r} was cancelled."
