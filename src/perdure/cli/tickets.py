"""``perdure tickets``: what people are asked, and their answers."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from msgspec import UNSET

from perdure import Engine
from perdure.cli.connection import PatientPlace, ask
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.output import Paper
from perdure.cli.values import as_json
from perdure.cli.wording import age_of, when
from perdure.client.tickets import LINK_VALID, Tickets
from perdure.config import settings
from perdure.model.duration import instant
from perdure.model.ticket import Ticket, TicketState
from perdure.ports.system import SystemClock

_PATIENT = PatientPlace()
Json = Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")]
Person = Annotated[str, Parameter(name="--as", help="One of the ticket's assignees. Believed: who can open the store can be anyone.")]
HEADINGS = ("TICKET", "STATE", "AGE", "FOR", "TITLE")


def list_all(
    *,
    mine: Annotated[str | None, Parameter(name=["--mine", "--assignee"], help="Only tickets that this person may answer.")] = None,
    state: Annotated[TicketState | None, Parameter(help="Only tickets of this state. Default: open.")] = None,
    all: Annotated[bool, Parameter(negative="", show_default=False, help="Closed ones too.")] = False,
    limit: Annotated[int, Parameter(help="At most so many.")] = 50,
    after: Annotated[str, Parameter(show_default=False, help="Those that follow a page; its last line says how.")] = "",
    json: Json = False,
    place: PatientPlace = _PATIENT,
) -> None:
    """List tickets, the oldest first: those that are open, unless others are asked for."""
    wanted = state if state is not None else None if all else TicketState.OPEN
    page = ask(place, lambda engine: _tickets(engine).list(assignee=mine, state=wanted, after=after, limit=limit))
    found = page.tickets
    if json:
        print(as_json([_shown(ticket) for ticket in found], indent=2))
        return
    rows = [
        (ticket.id, ticket.state.value, age_of(instant(ticket.opened_us)), ", ".join(ticket.assignees), ticket.title) for ticket in found
    ]
    Paper().print([*_table(rows), *([] if page.next is None else [f"More: --after {page.next}"])] if rows else ["No tickets."])


def show(id: str, /, *, json: Json = False, place: PatientPlace = _PATIENT) -> None:
    """Print a ticket with its form and, if it has one, its answer.

    Parameters
    ----------
    id
        The ticket.
    """
    ticket = ask(place, lambda engine: _tickets(engine).get(id))
    if json:
        print(as_json(_shown(ticket), indent=2))
        return
    lines = [f"{ticket.title}  ({ticket.id}, {ticket.state})", *ticket.details.splitlines(), f"run   {ticket.run}"]
    lines += [f"for   {', '.join(ticket.assignees)}", *_until(ticket), f"form  {as_json(ticket.form)}"]
    if ticket.data is not UNSET:
        lines.append(f"{ticket.by} answered {age_of(instant(ticket.closed_us))} ago: {as_json(ticket.data)}")
    Paper().print(lines)


def answer(
    id: str,
    /,
    *,
    person: Person,
    data: Annotated[str, Parameter(help="The answer, as JSON that fits the form.")],
    place: PatientPlace = _PATIENT,
) -> None:
    """Answer a ticket; the run that waits for it goes on. The first answer stands, a second one is refused with exit code 4.

    Parameters
    ----------
    id
        The ticket.
    """
    value = _json_of(data)
    ticket = ask(place, lambda engine: _tickets(engine).answer(id, value, by=person))
    print(f"Ticket {ticket.id} is answered.")


def link(
    id: str,
    /,
    *,
    person: Person,
    valid: Annotated[str, Parameter(help="How long the link is valid.")] = LINK_VALID,
    place: PatientPlace = _PATIENT,
) -> None:
    """Print a link by which one person can answer a ticket once, at the HTTP API (PERDURE_API_URL). Whoever has the link is that person.

    Parameters
    ----------
    id
        The ticket.
    """
    token = ask(place, lambda engine: _tickets(engine).link(id, person=person, valid=valid))
    print(f"{settings().api_url.rstrip('/')}/v1/tickets/answer/{token}")


def _tickets(engine: Engine) -> Tickets:
    return Tickets(engine, SystemClock())


def _shown(ticket: Ticket) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(ticket, name) for name in ("id", "run", "title", "details", "state", "assignees", "form")}
    told |= {"opened": instant(ticket.opened_us), "deadline": None if ticket.deadline_us is None else instant(ticket.deadline_us)}
    closed = None if ticket.is_open else instant(ticket.closed_us)
    return {**told, "closed": closed, "by": ticket.by or None, "data": None if ticket.data is UNSET else ticket.data}


def _until(ticket: Ticket) -> Sequence[str]:
    return [] if ticket.deadline_us is None or not ticket.is_open else [f"due   {when(instant(ticket.deadline_us))}"]


def _json_of(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise CommandEnds(Exit.USAGE, f"perdure: --data is no JSON: {error}") from error


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(HEADINGS, *rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (HEADINGS, *rows)]
