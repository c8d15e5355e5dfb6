"""The endpoints of tickets, as data (`perdure.api.table` has the others)."""

from typing import Any, Final

from perdure.api.endpoint import Endpoint, Sent
from perdure.api.people.tickets import AnswerBody, LinkBody, LinkMade, TicketDesk, TicketPage, TicketsQuery, TicketView
from perdure.control.tokens import Scope

GONE, CLASH, PAST = 404, 409, 410
LINK: Final = "/v1/tickets/answer/{token}"


def tickets(desk: TicketDesk) -> list[Endpoint]:
    """Give the endpoints by which people are asked."""
    return [*_with_token(desk), *_with_link(desk)]


def _with_token(desk: TicketDesk) -> list[Endpoint]:
    read: dict[str, Any] = {"method": "GET", "tag": "tickets", "scope": Scope.RUNS_READ}
    write: dict[str, Any] = {"method": "POST", "tag": "tickets", "scope": Scope.RUNS_WRITE, "problems": (GONE, CLASH, 501)}
    return [
        Endpoint(
            name="listTickets",
            path="/v1/tickets",
            summary="List tickets, the oldest first.",
            handle=desk.list,
            query=TicketsQuery,
            answers={200: TicketPage},
            **read,
        ),
        Endpoint(
            name="getTicket",
            path="/v1/tickets/{ticket}",
            summary="Look at a ticket.",
            handle=desk.get,
            answers={200: TicketView},
            problems=(GONE,),
            **read,
        ),
        Endpoint(
            name="answerTicket",
            path="/v1/tickets/{ticket}",
            summary="Answer a ticket, once.",
            handle=desk.answer,
            body=AnswerBody,
            answers={200: TicketView},
            **write,
        ),
        Endpoint(
            name="linkTicket",
            path="/v1/tickets/{ticket}/links",
            summary="Make a link by which one person can answer a ticket once.",
            handle=desk.link,
            body=LinkBody,
            answers={201: LinkMade},
            **write,
        ),
    ]


def _with_link(desk: TicketDesk) -> list[Endpoint]:
    """The link says who may, and until when: no token is asked."""
    told: dict[str, Any] = {"tag": "tickets", "scope": None, "problems": (GONE, CLASH, PAST)}
    return [
        Endpoint(
            name="openTicketLink",
            method="GET",
            path=LINK,
            summary="Show the question of a link as a page with a form.",
            handle=desk.page,
            answers={200: str},
            **told,
        ),
        Endpoint(
            name="answerTicketLink",
            method="POST",
            path=LINK,
            summary="Answer the question of a link: with the fields of its page, or with JSON.",
            handle=desk.answer_page,
            body=Sent,
            answers={200: TicketView},
            **told,
        ),
    ]
