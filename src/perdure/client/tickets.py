"""Tickets, as people answer them. Protects an answer from getting lost between the ticket and the run that waits for it, and a ticket from
whoever is not asked.

The ticket's record is marked first, then the waiting call is completed. Whoever dies in between leaves a ticket that is answered and not
delivered: the node that has the run finds it there within seconds (`deliver_left`).
"""

import builtins
import hmac
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from perdure.model.duration import Span, instant, span_us
from perdure.model.errors import (
    CallClosed,
    CallNotFound,
    Invalid,
    LinkExpired,
    LinkForged,
    NotAssignee,
    RunElsewhere,
    RunEnded,
    RunNotFound,
    TicketClosed,
    TicketNotFound,
    Unavailable,
)
from perdure.model.ids import RunId
from perdure.model.ticket import TICKETS, Ticket, TicketState, read_ticket
from perdure.ports.clock import Clock
from perdure.ports.secrets import store_secret
from perdure.ports.store import Store
from perdure.ports.ticketing import find_tickets, revise_ticket, tickets_left
from perdure.wire.forms import check_value

logger = logging.getLogger("perdure")

LINKS: Final = "ticket-links"
"""The purpose of the key that links are signed with."""
LINK_VALID: Final = "7d"
LINK_BYTES_MAX: Final = 4_096
_MARK: Final = b"perdure ticket link 1\0"


class Completes(Protocol):
    """What is asked of an engine."""

    @property
    def store(self) -> Store: ...

    async def complete(self, key: str, value: Any = None) -> None: ...


class Link(Struct, frozen=True, array_like=True):
    """What a link says: this person may answer this ticket until then."""

    ticket: str
    person: str
    expires_us: int


class Page(Struct, frozen=True):
    """``next``: what to give as ``after`` for the page after this one; ``None`` if there is none."""

    tickets: Sequence[Ticket]
    next: str | None


class Tickets:
    """The tickets of an engine's store."""

    def __init__(self, engine: Completes, clock: Clock) -> None:
        self._engine = engine
        self._records = engine.store
        self._clock = clock

    async def list(
        self, *, assignee: str | None = None, state: TicketState | None = TicketState.OPEN, after: str = "", limit: int = 1_000
    ) -> Page:
        """Give tickets, the oldest first, at most ``limit``: of this state, any if ``None``, and for this person. ``after``: the ``next``
        of the page before.
        """
        return Page(*await find_tickets(self._records, state=state, assignee=assignee, after=after, limit=limit))

    async def get(self, id: str) -> Ticket:
        """Give a ticket. Raises `TicketNotFound`."""
        found = (await self._records.read(TICKETS, [id])).get(id)
        if found is None:
            raise TicketNotFound(ticket=id)
        return read_ticket(found.value)

    async def answer(self, id: str, data: Any, *, by: str) -> Ticket:
        """The ticket is answered, and the call that waits for it has the answer or will have it within seconds. Gives the ticket.

        Raises `TicketNotFound`, `NotAssignee`, `TicketClosed` if it was answered before or nobody waits any more, and `FormRefused` for
        data that does not fit: the ticket stays open.
        """
        ticket = await self.get(id)
        _check_assignee(ticket, by)
        _check_open(ticket)
        check_value(f"the answer to the ticket {id!r}", ticket.form, data)
        await self._check_run(ticket)
        now_us = self._clock.now_us()

        def answered(known: Ticket) -> Ticket:
            _check_open(known)
            _check_assignee(known, by)
            return known.answered(data, by, now_us)

        taken = await self._revise(id, answered)
        try:
            return await self._deliver(taken)
        except Unavailable:
            return taken  # It is marked, so it stands: whoever has the run delivers it.

    async def link(self, id: str, *, person: str, valid: Span = LINK_VALID) -> str:
        """Give the token of a link by which this person can answer the ticket once, until it expires. Raises as `answer`."""
        ticket = await self.get(id)
        _check_assignee(ticket, person)
        _check_open(ticket)
        link = Link(id, person, self._clock.now_us() + span_us(valid))
        body = msgspec.json.encode(link)
        return f"{_text(body)}.{_text(await self._signature(body))}"

    async def open_link(self, token: str) -> tuple[Ticket, str]:
        """Give the ticket of a link and the person it was made for. Raises `LinkForged`, `LinkExpired`, `TicketNotFound`."""
        body, signature = _parts(token)
        if not hmac.compare_digest(await self._signature(body), signature):
            raise LinkForged
        link = msgspec.json.decode(body, type=Link)
        if self._clock.now_us() >= link.expires_us:
            raise LinkExpired(until=f"{instant(link.expires_us):%Y-%m-%d %H:%M:%S} UTC")
        return await self.get(link.ticket), link.person

    async def answer_link(self, token: str, data: Any) -> Ticket:
        """As `answer`, by the person of the link. Raises as `open_link` and `answer`."""
        ticket, person = await self.open_link(token)
        return await self.answer(ticket.id, data, by=person)

    # How an answer reaches its call.

    async def deliver_left(self, *, after: str = "", limit: int) -> builtins.list[Ticket]:
        """Answers whose givers died before they had delivered them are delivered, if this engine has their runs; gives those found.

        Looks at up to ``limit`` of them, by id from ``after`` on. Safe to call at any time: the call that waits takes the first outcome.
        """
        found = await tickets_left(self._records, after=after, limit=limit)
        for ticket in found:
            try:
                await self._deliver(ticket)
            except RunElsewhere:
                continue
            except (Unavailable, Invalid) as error:
                logger.warning("the answer to the ticket %s is not delivered yet: %s", ticket.id, error)
        return found

    async def _deliver(self, ticket: Ticket) -> Ticket:
        if not ticket.call:
            # The call has not come so far as to wait: it finds the answer when it does.
            return ticket
        # Where it is not found or closed, the call has the answer, or nobody waits for it any more.
        with suppress(CallNotFound, CallClosed, RunNotFound, RunEnded):
            await self._engine.complete(ticket.call, ticket.outcome())
        return await self._revise(ticket.id, lambda known: msgspec.structs.replace(known, is_delivered=True))

    async def _check_run(self, ticket: Ticket) -> None:
        """A run that has ended takes no answers: its ticket is withdrawn."""
        row = await self._engine.store.row(RunId(ticket.run))
        if row is None or row.status.is_final:
            now_us = self._clock.now_us()
            closed = await self._revise(ticket.id, lambda known: known.closed(TicketState.WITHDRAWN, now_us))
            raise TicketClosed(ticket=ticket.id, found=f"its run {ticket.run!r} has ended, and {closed.found()}")

    async def _revise(self, id: str, change: Callable[[Ticket], Ticket]) -> Ticket:
        found = await revise_ticket(self._records, id, change)
        if found is None:
            raise TicketNotFound(ticket=id)
        return found

    async def _signature(self, body: bytes) -> bytes:
        return hmac.digest(await store_secret(self._records, LINKS), _MARK + body, "sha256")


def _check_assignee(ticket: Ticket, person: str) -> None:
    if person not in ticket.assignees:
        raise NotAssignee(person=person, ticket=ticket.id, assignees=", ".join(ticket.assignees))


def _check_open(ticket: Ticket) -> None:
    if not ticket.is_open:
        raise TicketClosed(ticket=ticket.id, found=ticket.found())


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _parts(token: str) -> tuple[bytes, bytes]:
    body, _, signature = token.partition(".")
    if len(token) > LINK_BYTES_MAX:
        raise LinkForged
    try:
        return _bytes(body), _bytes(signature)
    except ValueError:
        raise LinkForged from None


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
