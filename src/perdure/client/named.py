"""A workflow by its name alone: what a program that has not its code starts."""

from typing import Literal

from msgspec import Struct

from perdure.deciders.code.authoring import StartOptions
from perdure.model.durability import Durability
from perdure.model.duration import Span, span_us
from perdure.model.errors import InvalidOption
from perdure.model.ids import RunId


class NamedWorkflow(Struct, frozen=True, kw_only=True):
    """As `Workflow.options` of a workflow that need not be known here; a node checks the arguments when the run begins."""

    name: str
    id: str | None = None
    tags: tuple[str, ...] = ()
    version: int | None = None
    on_ended: Literal["return", "refuse", "restart"] = "return"
    timeout: Span | None = None
    durability: Durability | None = None

    @property
    def start_options(self) -> StartOptions:
        """The options as a start takes them; raises `InvalidOption`."""
        if not self.name or self.id == "":
            raise InvalidOption(option="name" if not self.name else "id", found="an empty text", expected="a name")
        return StartOptions(
            id=None if self.id is None else RunId(self.id),
            tags=self.tags,
            version=self.version,
            on_ended=self.on_ended,
            timeout_us=None if self.timeout is None else span_us(self.timeout),
            durability=self.durability,
        )
