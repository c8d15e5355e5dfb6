"""The actions that ``approve`` is made of: each does one thing to a ticket's record, and doing it again changes nothing."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from perdure.actions.configured import Item, Items
from perdure.actions.notifying import Notify, perform_notify
from perdure.actions.templates import filler
from perdure.deciders.code.authoring import action
from perdure.model.duration import instant, span_us
from perdure.model.errors import Invalid, TicketNotFound, Unsupported
from perdure.model.pending import pending
from perdure.model.retry import GiveUp, Retry
from perdure.model.ticket import Ticket, TicketState
from perdure.ports.facilities import facilities, records_of
from perdure.ports.ticketing import add_ticket, revise_ticket

WHAT: Final = "approve"
ID_DIGITS: Final = 20
RETRY: Final = Retry(first="200ms", cap="1m", jitter=0.2, never=(Unsupported, Invalid))
"""People are asked however long the store is away."""


class Escalation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happens when there was no answer for the span ``after`` the opening: others may answer too, and a message is sent."""

    after: str
    assignees: list[str] = field(default_factory=list)
    notify: Notify | None = None


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a ticket is made of."""

    title: str
    details: str
    form: dict[str, Any]
    assignees: list[str]
    deadline: str | None = None


@action(name="approve.open", retry=RETRY)
async def open_ticket(items: Items, *, config: Question, notify: Notify | None) -> str:
    """The ticket is open, and those who wait for it were told; gives its id, the same however often the call is made."""
    records, at_hand = records_of(WHAT), facilities(WHAT)
    now_us = at_hand.now_us()
    values = {**(items[0] if items else {}), "items": items}
    ticket = Ticket(
        id=sha256(at_hand.key.encode()).hexdigest()[:ID_DIGITS],
        run=at_hand.run,
        title=_filled(config.title, values),
        details=_filled(config.details, values),
        form=config.form,
        assignees=tuple(dict.fromkeys(config.assignees)),
        opened_us=now_us,
        deadline_us=None if config.deadline is None else now_us + span_us(config.deadline),
    )
    await add_ticket(records, ticket)
    await _tell(notify, ticket)
    return ticket.id


@action(name="approve.wait", retry=RETRY)
async def wait_for_ticket(ticket: str) -> Item:
    """The call is open until the ticket is answered, and has the answer at once if it came before."""
    key = facilities(WHAT).key
    found = await _change(ticket, lambda known: msgspec.structs.replace(known, call=key) if known.is_open else known)
    return found.outcome() if found.state is TicketState.ANSWERED else pending()


@action(name="approve.close", retry=RETRY)
async def close_ticket(ticket: str, state: TicketState) -> Item | None:
    """The ticket takes no answer any more; gives the one that came before."""
    now_us = facilities(WHAT).now_us()
    found = await _change(ticket, lambda known: known.closed(state, now_us))
    return found.outcome() if found.state is TicketState.ANSWERED else None


@action(name="approve.escalate", retry=RETRY)
async def escalate_ticket(ticket: str, *, config: Escalation) -> None:
    """Others may answer too, and were told; a ticket that is closed stays as it is, and nobody is told."""
    more = config.assignees
    found = await _change(
        ticket,
        lambda known: msgspec.structs.replace(known, assignees=tuple(dict.fromkeys([*known.assignees, *more]))) if known.is_open else known,
    )
    if found.is_open:
        await _tell(config.notify, found)


async def _change(ticket: str, change: Callable[[Ticket], Ticket]) -> Ticket:
    found = await revise_ticket(records_of(WHAT), ticket, change)
    if found is None:
        missing = TicketNotFound(ticket=ticket)
        raise GiveUp(str(missing)) from missing
    return found


async def _tell(notify: Notify | None, ticket: Ticket) -> None:
    if notify is None:
        return
    deadline = None if ticket.deadline_us is None else f"{instant(ticket.deadline_us):%Y-%m-%dT%H:%M:%SZ}"
    told = {"ticket": ticket.id, "title": ticket.title, "details": ticket.details, "run": ticket.run, "deadline": deadline}
    await perform_notify.function([{**told, "assignees": list(ticket.assignees)}], config=notify)


def _filled(source: str, values: Mapping[str, Any]) -> str:
    return filler(source).fill(values)
