"""``approve``: a question to people. Protects a process from a question that is forgotten, or answered twice with different words.

The step of the workflow opens a ticket and waits in an open call, which holds no slot. The ticket's record decides which of the answer and
the deadline came first: both change it under its version, and whichever comes second finds what stands.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import msgspec
from msgspec import UNSET, field

from perdure.actions.configured import Configurable, Configured, Items, Options, Step, check_span, seconds
from perdure.actions.notifying import Notify
from perdure.actions.people.asking import Escalation, Question, close_ticket, escalate_ticket, open_ticket, wait_for_ticket
from perdure.actions.templates import check_template
from perdure.model.errors import InvalidOption, TicketOverdue
from perdure.model.ticket import TicketState
from perdure.wire.forms import check_form

P = ParamSpec("P")
R = TypeVar("R")

ASSIGNEES_MAX: Final = 100
YES_OR_NO: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "comment": {"type": "string"}},
    "required": ["approved"],
    "additionalProperties": False,
}
"""The form of a question that has none of its own."""


class Approve(Options, frozen=True, kw_only=True):
    """``title``, ``details``: templates that see ``items`` and the names of the first one. ``form``: the JSON Schema of the answer, or a
    type such as a `msgspec.Struct`. ``assignees``: who may answer. ``deadline``: after it the ticket is overdue. ``escalation``: what
    happens when there was no answer for a span. ``notify``: a message on opening, whose one item is the ticket.
    """

    title: str
    assignees: list[str]
    details: str = ""
    form: dict[str, Any] = field(default_factory=lambda: dict(YES_OR_NO))
    deadline: str | None = None
    escalation: list[Escalation] = field(default_factory=list)
    notify: Notify | None = None

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("approve")
        check_template("approve.title", self.title)
        check_template("approve.details", self.details)
        check_form("approve.form", self.form)
        _check_names("approve.assignees", self.assignees, least=1)
        if self.deadline is not None:
            check_span("approve.deadline", self.deadline)
        elif self.default_value is not UNSET:
            raise InvalidOption(option="approve.default_value", found="no deadline beside it", expected="a deadline, after which it stands")
        for entry in self.escalation:
            check_span("approve.escalation.after", entry.after)
            _check_names("approve.escalation.assignees", entry.assignees, least=0)


async def perform_approve(items: Items, *, config: Approve) -> Items:
    """Ask people, and pass on one item ``{ticket, data, by, at}``: the answer, who gave it and when.

    Without an answer by the deadline it passes on the default value, or raises `TicketOverdue`. A run that is cancelled withdraws it.
    """
    question = Question(title=config.title, details=config.details, form=config.form, assignees=config.assignees, deadline=config.deadline)
    ticket = await open_ticket(items, config=question, notify=config.notify)
    escalating = [asyncio.create_task(_escalate(ticket, entry)) for entry in config.escalation]
    try:
        async with asyncio.timeout(None if config.deadline is None else seconds(config.deadline)):
            return [await wait_for_ticket(ticket)]
    except TimeoutError:
        late = await close_ticket(ticket, TicketState.OVERDUE)
    except asyncio.CancelledError:
        await close_ticket(ticket, TicketState.WITHDRAWN)
        raise
    finally:
        for task in escalating:
            task.cancel()
    if late is not None:
        return [late]
    return [config.default_value] if config.default_value is not UNSET else _overdue(ticket, config)


def _overdue(ticket: str, config: Approve) -> NoReturn:
    waited = f"nobody answered the ticket {ticket} within {config.deadline}"
    raise TicketOverdue(message=waited, ticket=ticket)


async def _escalate(ticket: str, entry: Escalation) -> None:
    await asyncio.sleep(seconds(entry.after))
    await escalate_ticket(ticket, config=entry)


def _check_names(option: str, names: list[str], *, least: int) -> None:
    if not least <= len(names) <= ASSIGNEES_MAX or not all(names):
        raise InvalidOption(option=option, found=repr(names)[:200], expected=f"{least} to {ASSIGNEES_MAX} names")


class Approvable(Configurable[P, R]):
    """Takes a type as the form, too."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Configured[R]:
        given: Any = kwargs
        form = given.get("form", UNSET)
        if form is not UNSET and not isinstance(form, dict):
            given["form"] = _schema_of(form)
        return super().__call__(*args, **kwargs)


def _schema_of(form: Any) -> dict[str, Any]:
    try:
        return msgspec.json.schema(form)
    except TypeError as error:
        expected = "a JSON Schema, or a type such as a msgspec.Struct"
        raise InvalidOption(option="approve.form", found=f"{form!r}: {error}", expected=expected) from None


approve = Approvable(Step("approve", perform_approve), Approve)
