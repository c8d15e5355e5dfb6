"""What the engine asks of every way to describe a process."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from perdure.model.codec import Serializer
from perdure.model.command import Command
from perdure.model.errors import DefinitionNotFound
from perdure.model.fact import AnyFact
from perdure.model.failure import Failure
from perdure.model.ids import CallName, RunId
from perdure.model.limits import Limits
from perdure.model.payload import Content, Payload
from perdure.model.stimulus import Signalled, Stimulus, Updated


class RunIdentity(Struct, frozen=True):
    """Who a decider decides for. ``base``: first row number of the incarnation. Started at ``created_us``."""

    id: RunId
    base: int
    definition: str
    version: int
    created_us: int
    parent: RunId | None = None
    tags: tuple[str, ...] = ()


class RecordedRow(Struct, frozen=True):
    """A journal row to react to again: its stimuli, the facts that its commands became, and a way to the contents of their payloads."""

    number: int
    at_us: int
    stimuli: Sequence[Stimulus]
    facts: Sequence[AnyFact]
    content: Callable[[Payload], Content]


class BranchPlace(Struct, frozen=True):
    """Where one branch of a live run stands: its path (``""`` is the root) and the innermost user line as ``file:line``."""

    branch: str
    line: str
    function: str


class Decider(Protocol):
    """The mind of one run. Never called from two places at once. After any exception from it, it is of no more use."""

    def react(self, stimuli: Sequence[Stimulus], number: int, now_us: int) -> list[Command]:
        """Give the commands that follow from the stimuli, as journal row ``number`` at ``now_us``. Any exception stalls the run."""
        ...

    def replay(self, row: RecordedRow) -> list[Command]:
        """React again to what the row recorded and give the commands; raises `ReplayMismatch` if the commands differ from its facts."""
        ...

    def has_validator(self, method: str) -> bool:
        """Tell whether the answer of `refusal` for this update method depends on the state of the run."""
        ...

    def refusal(self, update: Updated) -> Failure | None:
        """Tell why an update cannot be taken now; ``None`` if it can."""
        ...

    def query(self, method: str, args: Sequence[Content], kwargs: dict[str, Content]) -> Content:
        """Answer from the present state without changing it. Whatever user code raises comes out."""
        ...

    def unread_signals(self) -> list[Signalled]:
        """Give the signals that arrived and were not read, in order of arrival."""
        ...

    def returns(self, call: CallName) -> Any:
        """Give the declared type of an open call's value; ``Any`` if it has none."""
        ...

    def places(self) -> list[BranchPlace]:
        """Tell where each branch stands."""
        ...

    def close(self) -> None:
        """The run is put down: its code is dropped without a command or an effect. Safe to call twice."""
        ...


def _find_nothing(name: str, version: int | None) -> "Definition":
    raise DefinitionNotFound(what="workflow", name=name, known="none")


class Tools(Struct, frozen=True):
    """What every decider of an engine shares. ``bind`` tells the engine which definition a name means; raises `DefinitionConflict`.
    ``find`` gives the definition of a name and version (``None``: the newest) that is known here now; raises `DefinitionNotFound`.
    """

    serializer: Serializer
    limits: Limits
    bind: Callable[["Definition"], None] = lambda definition: None
    find: Callable[[str, int | None], "Definition"] = _find_nothing


class Definition(Protocol):
    """A template of runs, known by name and version."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def source(self) -> str:
        """Where it is declared, as ``file:line``."""
        ...

    def encode_arguments(
        self, serializer: Serializer, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[tuple[Content, ...], dict[str, Content]]:
        """Give the contents of a call's arguments; raises `InvalidArguments` or `InvalidValue` if they do not fit the signature."""
        ...

    def decider(self, identity: RunIdentity, tools: Tools) -> Decider:
        """Give the decider of one run."""
        ...

    @property
    def returns(self) -> Any:
        """The declared type of the result."""
        ...
