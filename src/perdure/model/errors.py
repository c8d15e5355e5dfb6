"""Every error Perdure raises.

PerdureError
├── NotFound ............ the thing named does not exist          RunNotFound CallNotFound DefinitionNotFound DefinitionAmbiguous
│                                                                 NamespaceNotFound ActionNotFound SecretNotFound TokenNotFound
│                                                                 TicketNotFound PersonalDataErased LetterNotFound
├── Conflict ............ it exists in another state        RunConflict SignalConflict UpdateConflict RunEnded NotRetryable CallClosed
│                                                                 DefinitionConflict NodeIsLive NamespaceExists NamespaceNotEmpty
│                                                                 ActionConflict TokenExists TicketClosed
├── Invalid ............. the input is wrong; do not try again    InvalidOption InvalidArguments InvalidValue InvalidExport CorruptJournal
│                                                                 InvalidMessage InvalidDescriptors RequestRefused TemplateFailed
│                                                                 FormRefused PersonalDataUnreadable OriginUnknown
├── NotAllowed .......... someone else may do it                  NotAssignee LinkForged
├── Expired ............. it was possible once                    LinkExpired
├── Unavailable ......... try again later                         StoreUnavailable EngineClosed AnswerOverdue Overloaded
│                                                                 TransportUnavailable NoHandlers ServiceUnavailable RequestFailed
├── LeaseLost ........... another node has the runs now
├── NonDeterministic .... workflow code cannot be replayed        ForbiddenInWorkflow ReplayMismatch
├── Unsupported ......... this product or version cannot do it    NoReflection
├── TooLarge ............ a limit was reached                     PayloadTooLarge PacketTooLarge JournalTooLong TooManyCalls
│                                                                 TooManySignals TooManySteps TooManyMessages MessageTooLarge
│                                                                 PatternTooSlow
├── Internal ............ our mistake
└── Ended badly ......... how user code ended          ActionFailed ActionTimedOut AttemptsLost ProcessDied
                                                     OutputMissing TicketOverdue RunFailed RunTimedOut RunCancelled
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


class ActionNotFound(NotFound):
    text = (
        "No action {name!r} was ever seen{where}. Known: {known}. Start a worker that announces it, or register its service "
        "('perdure grpc register HOST:PORT'); after that it may be offline."
    )


class NamespaceNotFound(NotFound):
    text = "There is no namespace {namespace!r} on {store}. Known: {known}. 'perdure ns create {namespace}' makes it."


class SecretNotFound(NotFound):
    text = "The secret {reference!r} cannot be read here: {found}. Set it where the action runs, then retry the call."


class TokenNotFound(NotFound):
    text = "There is no API token {name!r} on {store}. 'perdure token list' shows them."


class LetterNotFound(NotFound):
    text = "There is no dead letter {letter!r} on {transport}. 'perdure dead list' shows them; they are kept for a while only."


class TicketNotFound(NotFound):
    text = "There is no ticket {ticket!r}. 'perdure tickets list' shows those that are open; closed ones are forgotten after a while."


class PersonalDataErased(NotFound):
    text = "The personal data of the run {run!r} cannot be given back: {found}. The tokens stay tokens."


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


class ActionConflict(Conflict):
    text = (
        "The action {name!r} is registered already: of the service {service!r} at {address}. To move that service, register it with "
        "--name {service}; to take the action from it, with --replace."
    )


class NamespaceNotEmpty(Conflict):
    text = "The namespace {namespace!r} has runs. Prune or export them first, or delete it with --force."


class TokenExists(Conflict):
    text = "There is an API token {name!r} on {store} already. Use another name, or revoke it first."


class TicketClosed(Conflict):
    text = "The ticket {ticket!r} takes no answer any more: {found}. What stands, stands; nothing was changed."


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


class InvalidMessage(Invalid):
    """Fields: ``problem``, which is also the reason that a dead letter carries."""

    text = "The message cannot be taken: {problem}."


class OriginUnknown(Invalid):
    text = "Nobody knows which address the dead letter {letter!r} came from. Name one: 'perdure dead retry ID --to ADDRESS'."


class InvalidDescriptors(Invalid):
    text = (
        "The descriptors of {what} cannot be used: {problem}. A whole set is made with: "
        "protoc --include_imports --include_source_info --descriptor_set_out=FILE service.proto"
    )


class RequestRefused(Invalid):
    text = "{asked} was refused: {found}. The same request would be refused again."


class TemplateFailed(Invalid):
    text = "The template {template!r} cannot be filled in: {problem}."


class FormRefused(Invalid):
    text = "{what} does not fit its form: {problem}. Mend it and send it again; nothing was taken."


class PersonalDataUnreadable(Invalid):
    text = "The personal data of the run {run!r} cannot be read: {problem}. Nothing was sent."


class CorruptJournal(Invalid):
    text = "The journal cannot be read: {what}. The row is left as it is; repair it or restore a backup, then resume the run."


class NotAllowed(PerdureError):
    kind = "not allowed"


class NotAssignee(NotAllowed):
    text = "{person!r} may not answer the ticket {ticket!r}: it is for {assignees}."


class LinkForged(NotAllowed):
    text = "This link was not made here, or was changed on its way. Ask for another."


class Expired(PerdureError):
    kind = "expired"


class LinkExpired(Expired):
    text = "This link was valid until {until}. Ask for another."


class Unavailable(PerdureError):
    kind = "unavailable"


class StoreUnavailable(Unavailable):
    text = "The store {store} did not answer: {problem}. Nothing was lost; the work goes on when it is back."


class EngineClosed(Unavailable):
    text = "The engine is {state}; {asked} was not done. Open it with 'async with Engine(…)' first."


class TransportUnavailable(Unavailable):
    text = "The transport {transport} did not answer: {problem}. The store has what must be done; it is sent again when it is back."


class NoHandlers(Unavailable):
    text = "Nobody handles {address!r} on {transport}: no worker has ever asked for it. Start one that does; the call waits."


class ServiceUnavailable(Unavailable):
    text = "The service {address} did not answer: {problem}. Methods that were registered before stay known; try again when it is up."


class AnswerOverdue(Unavailable):
    text = "No node answered {asked} within {span}. Is 'perdure serve' running on this store? The request may still be carried out."


class Overloaded(Unavailable):
    """Fields: ``retry_after`` (`timedelta`), ``limit`` (its name), ``found`` and ``allowed``."""

    text = (
        "{asked} was not taken: {found} requests wait for the store already; the limit {limit} is {allowed}. "
        "Nothing of it was done; try again in {span}."
    )


class RequestFailed(Unavailable):
    text = "{asked} failed: {found}. It may do better later."


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


class NoReflection(Unsupported):
    text = (
        "The service {address} has no server reflection (neither v1 nor v1alpha): it cannot be asked for its methods. Switch it on, "
        "or give a descriptor set: 'perdure grpc register {address} --descriptor-set FILE', made with "
        "'protoc --include_imports --include_source_info --descriptor_set_out=FILE service.proto'."
    )


class TooLarge(PerdureError):
    kind = "too large"


class PayloadTooLarge(TooLarge):
    text = "{what} takes {size} bytes; the limit payload_bytes_max is {limit}. Store it elsewhere and pass a reference."


class PacketTooLarge(TooLarge):
    text = "A packet for {address!r} takes {size} bytes; {transport} carries {limit}. Store the value elsewhere and pass a reference."


class PatternTooSlow(TooLarge):
    text = "The pattern {pattern!r} took longer than {span} on a text of {size} characters. Give it less to try, or more time."


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


class MessageTooLarge(TooLarge):
    text = "{what} takes {size} bytes or more; the limit message_bytes_max is {limit}. Ask for less, or raise the limit of its service."


class TooManyMessages(TooLarge):
    text = (
        "{method} sent more than {limit} messages; the limit messages_max is {limit}. A stream is recorded as one value: ask for less at a "
        "time, or raise the limit of its service."
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


class ProcessDied(ActionFailed):
    text = "{message}"


class OutputMissing(ActionFailed):
    text = "{message}"


class TicketOverdue(ActionFailed, TimeoutError):
    text = "{message}"


class RunFailed(EndedBadly):
    text = "{type}: {message}"


class RunTimedOut(EndedBadly, TimeoutError):
    text = "The run {run!r} did not end within the timeout it was started with."


class RunCancelled(EndedBadly):
    text = "The run {run!r} was cancelled."
