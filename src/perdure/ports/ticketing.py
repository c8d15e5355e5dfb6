"""Tickets among the records of a store. Protects listings from looking at all tickets that ever were, and an answer from being forgotten.

Beside each ticket stand small records, of one kind for each state, that are changed in the same write: so tickets of a state are found in
their order without a look at the others, and so are those whose answer is still to be delivered (`TICKETS_LEFT`).
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from perdure.model.ticket import TICKETS, TICKETS_LEFT, Ticket, TicketState, read_ticket, written_ticket
from perdure.ports.records import ABSENT, PAGE, Record, RecordChange, Records
from perdure.ports.revising import Revision, revise

_STATES: Final = (TicketState.OPEN, *(state for state in TicketState if state is not TicketState.OPEN))
"""Open ones first: a ticket that is closed between two looks is then seen twice, and not missed."""
_assignees = msgspec.json.Decoder(list[str])


async def add_ticket(records: Records, ticket: Ticket) -> None:
    """The ticket is there, as it is now or as it was before. Raises `StoreUnavailable`, which leaves open whether it is."""
    entries = [RecordChange(*place, value, expires_us=ticket.expires_us) for place, value in ticket.entries.items()]
    await records.write([RecordChange(TICKETS, ticket.id, written_ticket(ticket), ABSENT, ticket.expires_us), *entries])


async def revise_ticket(records: Records, id: str, change: Callable[[Ticket], Ticket]) -> Ticket | None:
    """The ticket is what ``change`` makes of it; gives it, ``None`` if there is none. As `perdure.ports.revising.revise`."""

    def revised(value: bytes) -> Revision:
        before = read_ticket(value)
        after = change(before)
        return Revision(written_ticket(after), after.expires_us, _moves(before, after))

    found = await revise(records, TICKETS, id, revised)
    return None if found is None else read_ticket(found)


def _moves(before: Ticket, after: Ticket) -> Sequence[RecordChange]:
    old, new = before.entries, after.entries
    gone = [RecordChange(kind, key, None) for kind, key in old if (kind, key) not in new]
    return [*gone, *(RecordChange(*place, value, expires_us=after.expires_us) for place, value in new.items() if old.get(place) != value)]


async def find_tickets(
    records: Records, *, state: TicketState | None, assignee: str | None, after: str, limit: int
) -> tuple[list[Ticket], str | None]:
    """Give tickets in the order of their `Ticket.place`, at most ``limit``, and the place after which others may follow.

    ``state``, ``assignee``: only of this state, for this person; any if ``None``. One that changes meanwhile may be in no page.
    """
    found: list[Ticket] = []
    seen: set[str] = set()
    while (room := limit - len(found)) > 0:
        wanted = PAGE if assignee is not None else room
        page = await _page(records, _STATES if state is None else (state,), after, wanted)
        matching = [entry for entry in page if assignee is None or assignee in _assignees.decode(entry.value)]
        ids = [id for id in dict.fromkeys(entry.key.partition("/")[2] for entry in matching[:room]) if id not in seen]
        seen.update(ids)
        found += [ticket for ticket in await _read(records, ids) if state in (None, ticket.state)]
        if len(page) < wanted and len(matching) <= room:
            return found, None
        after = matching[room - 1].key if len(matching) > room else page[-1].key
    return found, after or None


async def _read(records: Records, ids: Sequence[str]) -> list[Ticket]:
    known = await records.read(TICKETS, ids) if ids else {}
    return [read_ticket(known[id].value) for id in ids if id in known]


async def _page(records: Records, states: Sequence[TicketState], after: str, limit: int) -> list[Record]:
    pages = [await records.scan(state.kind, after=after, limit=limit) for state in states]
    return sorted((entry for page in pages for entry in page), key=lambda entry: entry.key)[:limit]


async def tickets_left(records: Records, *, after: str = "", limit: int) -> list[Ticket]:
    """Give tickets whose answer is still to be delivered, in the order of their ids from ``after`` on."""
    entries = await records.scan(TICKETS_LEFT, after=after, limit=limit)
    return await _read(records, [entry.key for entry in entries])
