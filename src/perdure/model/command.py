"""Commands: what a transition asks for, imperative. The engine writes each down as a fact before it carries it out."""

from msgspec import Raw, Struct

from perdure.model.call import ActionSpec
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Content


class RunAction(Struct, frozen=True, gc=False):
    call: CallName
    spec: ActionSpec
    args: tuple[Content, ...]
    kwargs: dict[str, Content]
    line: str = ""


class StartTimer(Struct, frozen=True, gc=False):
    call: CallName
    due_us: int
    line: str = ""


class CancelTimer(Struct, frozen=True, gc=False):
    call: CallName


class CancelCall(Struct, frozen=True, gc=False):
    """The code waits no longer for this action, child or signal."""

    call: CallName


class AwaitSignal(Struct, frozen=True, gc=False):
    call: CallName
    channel: str
    line: str = ""


class TakeSignal(Struct, frozen=True, gc=False):
    call: CallName
    id: str
    channel: str


class DiscardSignal(Struct, frozen=True, gc=False):
    id: str
    channel: str


class StartChild(Struct, frozen=True, gc=False):
    """Start a run below this one. ``is_detached``: nobody waits for its end and a cancel does not reach it."""

    call: CallName
    run: RunId
    definition: str
    version: int
    args: tuple[Content, ...]
    kwargs: dict[str, Content]
    tags: tuple[str, ...] = ()
    end_us: int | None = None
    is_detached: bool = False
    line: str = ""


class SendSignal(Struct, frozen=True, gc=False):
    """Give a signal to another run, once."""

    call: CallName
    run: RunId
    channel: str
    content: Content
    line: str = ""


class Record(Struct, frozen=True, gc=False):
    call: CallName
    content: Content
    line: str = ""


class MarkPatch(Struct, frozen=True, gc=False):
    id: str


class Publish(Struct, frozen=True, gc=False):
    state: Raw


class AnswerUpdate(Struct, frozen=True, gc=False):
    """Reply to an accepted update: with a value or with an error."""

    id: str
    content: Content | None = None
    failure: Failure | None = None


class Complete(Struct, frozen=True, gc=False):
    content: Content


class Fail(Struct, frozen=True, gc=False):
    failure: Failure


class Cancel(Struct, frozen=True, gc=False):
    """End the run as cancelled."""

    reason: str = ""


class ContinueAsNew(Struct, frozen=True, gc=False):
    args: tuple[Content, ...]
    kwargs: dict[str, Content]
    line: str = ""


Command = (
    RunAction
    | StartTimer
    | CancelTimer
    | CancelCall
    | AwaitSignal
    | TakeSignal
    | DiscardSignal
    | StartChild
    | SendSignal
    | Record
    | MarkPatch
    | Publish
    | AnswerUpdate
    | Complete
    | Fail
    | Cancel
    | ContinueAsNew
)
