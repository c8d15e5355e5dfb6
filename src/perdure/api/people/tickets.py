"""Tickets over HTTP: what people are asked, and their answers; for those who have a token, and for those who have only a link."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

import msgspec
from msgspec import UNSET, Meta, Struct, field

from perdure.api.endpoint import FORM, Answer, Asked, Nothing, Sent
from perdure.api.people.forms import FormFields, message_page, question_page
from perdure.api.problems import Refusal, problem_of
from perdure.api.runs.reads import Limit, Name
from perdure.client.tickets import Tickets
from perdure.control.tokens import Scope
from perdure.model.duration import instant
from perdure.model.errors import PerdureError
from perdure.model.ticket import Ticket, TicketState

FIELDS_MAX: Final = 1_000


class TicketsQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which tickets, the oldest first. ``state``: ``all`` for every one. ``after``: the ``next`` of the page before."""

    assignee: Name | None = None
    state: str = TicketState.OPEN.value
    after: Name | None = None
    limit: Limit = 100


class TicketView(Struct, kw_only=True):
    """A ticket as it stands. ``form``: the JSON Schema of its answer. ``data``, ``by``: the answer and who gave it, once there is one."""

    id: str
    run: str
    title: str
    details: str
    state: TicketState
    assignees: list[str]
    form: dict[str, Any]
    opened: datetime
    deadline: datetime | None
    closed: datetime | None
    by: str | None
    data: Any


class TicketPage(Struct, kw_only=True):
    """``next``: what to give as ``after`` for the page after this one; ``null`` if there is none."""

    tickets: list[TicketView]
    next: str | None


class AnswerBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """``as``: who answers, whom a token may name only as it is called itself, unless it has the scope ``people``; without it, the name of
    the token. ``data``: the answer, which fits the ticket's form.
    """

    by: Name | None = field(name="as", default=None)
    data: Any


class LinkBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """``as``: whom the link is for, as in an answer. ``valid``: how long, such as ``"2d"``."""

    by: Name | None = field(name="as", default=None)
    valid: str = "7d"


class LinkMade(Struct, kw_only=True):
    """``path``: where the ticket can be answered, below the address of this server."""

    path: str


Token = Annotated[str, Meta(min_length=1)]
_PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
}


class TicketDesk:
    """Endpoints for tickets."""

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    async def list(self, asked: Asked[Nothing, TicketsQuery]) -> Answer:
        """Give a page of tickets."""
        query = asked.query
        state = None if query.state == "all" else _state_of(query.state)
        page = await self._tickets.list(assignee=query.assignee, state=state, after=query.after or "", limit=query.limit)
        return Answer(body=TicketPage(tickets=[view_of(ticket) for ticket in page.tickets], next=page.next))

    async def get(self, asked: Asked[Nothing, Nothing]) -> Answer:
        """Give a ticket."""
        return Answer(body=view_of(await self._tickets.get(asked.path["ticket"])))

    async def answer(self, asked: Asked[AnswerBody, Nothing]) -> Answer:
        """The ticket is answered."""
        return Answer(body=view_of(await self._tickets.answer(asked.path["ticket"], asked.body.data, by=_person(asked))))

    async def link(self, asked: Asked[LinkBody, Nothing]) -> Answer:
        """Give a link."""
        token = await self._tickets.link(asked.path["ticket"], person=_person(asked), valid=asked.body.valid)
        return Answer(status=201, body=LinkMade(path=path_of(token)))

    # For those who have a link.

    async def page(self, asked: Asked[Nothing, Nothing]) -> Answer:
        """Give the question as a page."""

        async def show() -> Answer:
            ticket, person = await self._tickets.open_link(asked.path["token"])
            if not ticket.is_open:
                return _page(409, message_page(ticket.title, f"This question is closed: {ticket.found()}."))
            return _page(200, question_page(ticket, person))

        return await _as_page(show)

    async def answer_page(self, asked: Asked[Sent, Nothing]) -> Answer:
        """The ticket is answered: by a form that a page has sent, or by JSON."""
        token, sent = asked.path["token"], asked.body
        if sent.media_type != FORM:
            return Answer(body=view_of(await self._tickets.answer_link(token, _json_of(sent.data))))

        async def take() -> Answer:
            ticket, _ = await self._tickets.open_link(token)
            fields = parse_qs(sent.data.decode(errors="replace"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
            answered = await self._tickets.answer_link(token, FormFields(ticket.form).read(fields))
            return _page(200, message_page(answered.title, "Thank you. Your answer was taken."))

        return await _as_page(take)


def _person(asked: Asked[AnswerBody, Nothing] | Asked[LinkBody, Nothing]) -> str:
    """Give who acts: with a token nobody is who they say, but who the token is."""
    named, token = asked.body.by, asked.token
    if token is None:
        if named is None:
            raise Refusal(422, "invalid-body", "The body does not fit: without a token, 'as' says who answers.")
        return named
    if named not in (None, token.name) and not token.allows(Scope.PEOPLE):
        detail = f"The token {token.name!r} speaks for {token.name!r} alone, not for {named!r}; with the scope {Scope.PEOPLE.value} it may."
        raise Refusal(403, "person-not-yours", detail)
    return named or token.name


def path_of(token: str) -> str:
    """Give the path of a link."""
    return f"/v1/tickets/answer/{token}"


def view_of(ticket: Ticket) -> TicketView:
    """Give a ticket as it is shown."""
    return TicketView(
        id=ticket.id,
        run=ticket.run,
        title=ticket.title,
        details=ticket.details,
        state=ticket.state,
        assignees=list(ticket.assignees),
        form=ticket.form,
        opened=instant(ticket.opened_us),
        deadline=None if ticket.deadline_us is None else instant(ticket.deadline_us),
        closed=None if ticket.is_open else instant(ticket.closed_us),
        by=ticket.by or None,
        data=None if ticket.data is UNSET else ticket.data,
    )


def _state_of(text: str) -> TicketState:
    try:
        return TicketState(text)
    except ValueError:
        known = ", ".join([*TicketState, "all"])
        raise Refusal(422, "invalid-query", f"The query does not fit: state is {text!r}, expected one of {known}.") from None


def _json_of(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "malformed-body", f"The body is no JSON: {error}.") from error


async def _as_page(work: Callable[[], Awaitable[Answer]]) -> Answer:
    """A person reads the problem, too."""
    try:
        return await work()
    except PerdureError as error:
        problem, headers = problem_of(error)
        return _page(problem.status, message_page(problem.title, problem.detail), headers)
    except ValueError as error:
        return _page(400, message_page("The request cannot be read", str(error)))


def _page(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status=status, page=text, headers={**_PAGE_HEADERS, **(headers or {})})
