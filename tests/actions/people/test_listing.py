"""Tickets are found by state and person, in pages, without a look at those that are not asked for (F14)."""

from typing import Any

import pytest

from perdure.client.tickets import Tickets
from perdure.model.ticket import TICKETS, Ticket, TicketState, written_ticket
from perdure.ports.records import RecordChange
from perdure.ports.store import Store
from perdure.ports.ticketing import _moves, add_ticket, find_tickets
from perdure.stores.memory import MemoryStore
from perdure.testing.clock import VirtualClock
from tests.actions.people.desk import YES, asking, desk
from tests.stores import Room


@pytest.mark.covers("F14")
async def test_tickets_are_listed_by_person_and_state_the_oldest_first(any_store: Store) -> None:
    async with Room(any_store) as env:
        for person in ("ann", "bob"):
            await env.start(asking(assignees=[person, "all"]), [{"amount": 1}])
            await env.advance("1h")

        async def listed(**options: Any) -> list[str]:
            return [ticket.assignees[0] for ticket in (await desk(env).list(**options)).tickets]

        assert await listed() == ["ann", "bob"]
        (mine,) = (await desk(env).list(assignee="bob")).tickets
        await desk(env).answer(mine.id, YES, by="bob")
        assert await listed(assignee="bob") == []
        assert await listed() == ["ann"]
        assert await listed(state=TicketState.ANSWERED) == ["bob"]
        assert await listed(state=None) == ["ann", "bob"]
        assert await listed(state=None, limit=1) == ["ann"]
        assert await listed(limit=0) == []


def ticket(number: int, *, state: TicketState = TicketState.OPEN, person: str = "ann") -> Ticket:
    closed_us = 0 if state is TicketState.OPEN else 1
    return Ticket(id=f"t{number}", run="r", title="?", form={}, assignees=(person,), opened_us=number, state=state, closed_us=closed_us)


async def filled(store: Store) -> Tickets:
    """Give the tickets t0 to t29: every third is answered, every fifth bob's."""
    for number in range(30):
        state = TicketState.OPEN if number % 3 else TicketState.ANSWERED
        await add_ticket(store, ticket(number, state=state, person="ann" if number % 5 else "bob"))
    engine: Any = Owner(store)
    return Tickets(engine, VirtualClock())


class Owner:
    def __init__(self, store: Store) -> None:
        self.store = store


@pytest.mark.parametrize("state", [None, TicketState.OPEN, TicketState.ANSWERED])
@pytest.mark.parametrize("assignee", [None, "ann", "bob", "eve"])
@pytest.mark.parametrize("limit", [1, 4, 100])
async def test_pages_follow_one_another_without_a_gap_or_a_repetition(
    state: TicketState | None, assignee: str | None, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.ports.ticketing.PAGE", 7)
    tickets = await filled(MemoryStore())
    wanted = [
        f"t{number}"
        for number in range(30)
        if state in (None, TicketState.OPEN if number % 3 else TicketState.ANSWERED) and assignee in (None, "ann" if number % 5 else "bob")
    ]
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await tickets.list(state=state, assignee=assignee, after=after, limit=limit)
        assert len(page.tickets) == limit or page.next is None
        found += [entry.id for entry in page.tickets]
        after = page.next
    assert found == wanted


async def test_a_ticket_that_is_closed_while_it_is_looked_for_is_there_once() -> None:
    class Moving(MemoryStore):
        """The ticket is answered between the looks."""

        async def scan(self, kind: str, **options: Any) -> Any:
            found = await super().scan(kind, **options)
            if kind == TicketState.OPEN.kind:
                before, after = ticket(1), ticket(1, state=TicketState.ANSWERED)
                await self.write([*_moves(before, after), RecordChange(TICKETS, "t1", written_ticket(after))])
            return found

    store = Moving()
    await add_ticket(store, ticket(1))
    found, _ = await find_tickets(store, state=None, assignee=None, after="", limit=10)
    assert [(entry.id, entry.state) for entry in found] == [("t1", TicketState.ANSWERED)]
    found, _ = await find_tickets(store, state=TicketState.OPEN, assignee=None, after="", limit=10)
    assert found == []


async def test_open_tickets_are_found_without_a_look_at_closed_ones() -> None:
    class Counting(MemoryStore):
        given = 0

        async def scan(self, *args: Any, **options: Any) -> Any:
            found = await super().scan(*args, **options)
            self.given += len(found)
            return found

        async def read(self, *args: Any, **options: Any) -> Any:
            found = await super().read(*args, **options)
            self.given += len(found)
            return found

    store = Counting()
    for number in range(1_000):
        await add_ticket(store, ticket(number, state=TicketState.OVERDUE if number else TicketState.OPEN))
    found, _ = await find_tickets(store, state=TicketState.OPEN, assignee="ann", after="", limit=100)
    assert ([entry.id for entry in found], store.given) == (["t0"], 2)


async def test_what_is_forgotten_is_forgotten_with_its_place(any_store: Store) -> None:
    await any_store.open()
    try:
        await add_ticket(any_store, ticket(1, state=TicketState.WITHDRAWN))
        assert await any_store.expire(ticket(1, state=TicketState.WITHDRAWN).expires_us or 0, 10) == 2
        assert await any_store.scan(TICKETS) == await any_store.scan(TicketState.WITHDRAWN.kind) == []
    finally:
        await any_store.close()
