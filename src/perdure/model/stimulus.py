"""Stimuli: what a run reacts to, with their values at hand. The journal keeps each as a fact."""

from msgspec import Struct

from perdure.model.command import AnswerUpdate
from perdure.model.failure import Failure
from perdure.model.ids import CallName
from perdure.model.payload import Content


class Signalled(Struct, frozen=True, gc=False):
    """A signal arrived. ``is_named`` tells that its sender chose the id; ``digest`` is then the hash of its value before any codec."""

    id: str
    channel: str
    content: Content
    is_named: bool = False
    digest: str = ""


class Begun(Struct, frozen=True, gc=False):
    """The run, or its next incarnation, begins. ``end_us``: when it must have ended. ``answered``: updates that take no effect again;
    ``asked``: their digests, by id.
    """

    args: tuple[Content, ...]
    kwargs: dict[str, Content]
    seed: int
    carried: tuple[Signalled, ...] = ()
    seen: dict[str, str] = {}
    end_us: int | None = None
    answered: tuple[AnswerUpdate, ...] = ()
    asked: dict[str, str] = {}


class Succeeded(Struct, frozen=True, gc=False):
    """A call (of an action or a child) ended with a value."""

    call: CallName
    content: Content


class Failed(Struct, frozen=True, gc=False):
    """A call (of an action or a child) ended with an error."""

    call: CallName
    failure: Failure


class Fired(Struct, frozen=True, gc=False):
    """A timer is due."""

    call: CallName


class Updated(Struct, frozen=True, gc=False):
    """A client asks a running instance to change itself and to answer. ``is_named`` tells that the client chose the id; ``digest`` is then
    the hash of method and arguments before any codec.
    """

    id: str
    method: str
    args: tuple[Content, ...]
    kwargs: dict[str, Content]
    is_named: bool = False
    digest: str = ""


class CancelAsked(Struct, frozen=True, gc=False):
    """Someone asks the run to end."""

    reason: str = ""


Stimulus = Begun | Succeeded | Failed | Fired | Signalled | Updated | CancelAsked
