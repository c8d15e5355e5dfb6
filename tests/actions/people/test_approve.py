"""Questions to people: answered once, by who was asked, however long it takes and whatever crashes meanwhile (F14)."""

import asyncio
from typing import Any

import msgspec
import pytest

from perdure import Engine, actions, errors, workflow
from perdure.client import tickets as tickets_module
from perdure.model.ticket import TICKETS, TicketState, read_ticket
from perdure.ports.store import Store
from perdure.ports.system import SystemClock
from perdure.stores.memory import MemoryStore
from perdure.testing import Environment
from tests.actions.people.desk import YES, asked, asking, desk, result
from tests.actions.service import Said, Service
from tests.stores import Room


@pytest.mark.covers("F14")
async def test_a_question_waits_a_day_over_a_restart_and_a_crash_and_the_answer_goes_on(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env)
        assert (ticket.title, ticket.assignees, ticket.run) == ("Pay 3?", ("ann",), "r")
        await env.advance("12h")
        await env.restart()
        await env.advance("12h")
        await env.crash()
        assert "outside" in str([type(reason).__name__.lower() for reason in await env.get("r").why()])
        await desk(env).answer(ticket.id, {**YES, "comment": "fine"}, by="ann")
        (found,) = await result(env)
        assert found.pop("at").startswith("2030-01-02T00:00:0"), "a store that takes its time lets some of it pass"
        assert found == {"ticket": ticket.id, "data": {"approved": True, "comment": "fine"}, "by": "ann"}


@pytest.mark.covers("F14")
async def test_while_people_think_no_action_is_under_way(any_store: Store) -> None:
    async with Room(any_store) as env:
        await asked(env)
        assert env.engine.here is not None
        assert not env.engine.here._running


@pytest.mark.covers("F14")
async def test_a_second_answer_is_a_conflict_that_names_the_first(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env, assignees=["ann", "bob"])
        await desk(env).answer(ticket.id, YES, by="ann")
        for person in ("bob", "ann"):
            with pytest.raises(errors.TicketClosed, match="ann answered it"):
                await desk(env).answer(ticket.id, {"approved": False}, by=person)
        assert (await result(env))[0]["data"] == YES


async def test_of_two_answers_at_once_one_stands() -> None:
    class Slow(MemoryStore):
        """Others come in between at every step."""

        async def read(self, *args: Any, **options: Any) -> Any:
            found = await super().read(*args, **options)
            await asyncio.sleep(0)
            return found

    async with Environment(Slow()) as env:
        ticket = await asked(env, assignees=["ann", "bob"])
        answers = [desk(env).answer(ticket.id, {"approved": person == "ann"}, by=person) for person in ("ann", "bob")]
        told = await asyncio.gather(*map(asyncio.ensure_future, answers), return_exceptions=True)
        assert [type(entry).__name__ for entry in told].count("TicketClosed") == 1
        (found,) = await result(env)
        assert found["data"] == {"approved": found["by"] == "ann"}


@pytest.mark.covers("F14")
@pytest.mark.parametrize("data", [{"approved": "yes"}, {}, [], None, {"approved": True, "more": 1}])
async def test_an_answer_that_does_not_fit_the_form_is_refused_and_the_ticket_stays_open(data: Any) -> None:
    async with Environment() as env:
        ticket = await asked(env)
        with pytest.raises(errors.FormRefused):
            await desk(env).answer(ticket.id, data, by="ann")
        assert (await desk(env).get(ticket.id)).is_open
        await desk(env).answer(ticket.id, YES, by="ann")
        assert (await result(env))[0]["by"] == "ann"


async def test_an_answers_value_is_in_no_error() -> None:
    async with Environment() as env:
        ticket = await asked(env)
        with pytest.raises(errors.FormRefused) as refused:
            await desk(env).answer(ticket.id, {"approved": "hush-hush"}, by="ann")
        assert "hush" not in str(refused.value)
        assert "approved" in str(refused.value)


@pytest.mark.covers("F14")
async def test_who_was_not_asked_is_refused_and_a_ticket_that_is_not_there_is_not_found(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env)
        with pytest.raises(errors.NotAssignee, match="it is for ann"):
            await desk(env).answer(ticket.id, YES, by="eve")
        with pytest.raises(errors.TicketNotFound):
            await desk(env).answer("nothing", YES, by="ann")
        with pytest.raises(errors.TicketNotFound):
            await desk(env).get("nothing")
        assert (await desk(env).get(ticket.id)).is_open


class Answer(msgspec.Struct):
    amount: int
    why: str = ""


async def test_the_form_may_be_a_type() -> None:
    async with Environment() as env:
        ticket = await asked(env, form=Answer)
        with pytest.raises(errors.FormRefused, match="amount"):
            await desk(env).answer(ticket.id, {"amount": "3"}, by="ann")
        await desk(env).answer(ticket.id, {"amount": 3}, by="ann")
        (found,) = await result(env)
        assert msgspec.convert(found["data"], Answer) == Answer(3)


# Deadlines and escalation.


@pytest.mark.covers("F14")
async def test_after_the_deadline_the_ticket_is_overdue_and_the_outcome_an_error(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env, deadline="2d")
        await env.advance("47h")
        assert (await desk(env).get(ticket.id)).is_open
        await env.advance("1h")
        with pytest.raises(errors.TicketOverdue, match=f"{ticket.id} within 2d"):
            await result(env)
        assert (await desk(env).get(ticket.id)).state is TicketState.OVERDUE
        with pytest.raises(errors.TicketClosed, match="it is overdue"):
            await desk(env).answer(ticket.id, YES, by="ann")


async def test_an_overdue_question_may_have_a_default() -> None:
    async with Environment() as env:
        await asked(env, deadline="2d", default_value={"data": {"approved": False}})
        await env.advance("2d")
        assert await result(env) == [{"data": {"approved": False}}]


async def test_an_overdue_error_is_a_timeout_that_code_can_catch() -> None:
    @workflow(name="catching")
    async def catching() -> str:
        try:
            await actions.approve(title="?", assignees=["ann"], deadline="1h")()
        except TimeoutError:
            return "late"
        return "in time"

    async with Environment() as env:
        assert await env.run(catching) == "late"


@pytest.mark.covers("F14")
async def test_a_question_that_nobody_answers_goes_to_others_too_who_are_told(service: Service) -> None:
    service.route("/hook", Said(204))
    hook = actions.Notify(webhook=actions.Webhook(url=f"{service.url}/hook", json={"text": "{{ title }} for {{ assignees | join(', ') }}"}))
    escalation = [actions.Escalation(after="50ms", assignees=["bob"], notify=hook)]
    # In real time: the message goes over a real socket.
    async with Engine(MemoryStore()) as engine:
        question = asking(notify=hook, escalation=escalation).options(id="r")
        run, tickets = await engine.start(question, [{"amount": 3}]), tickets_module.Tickets(engine, SystemClock())
        await wait_for(service, 2)
        (ticket,) = (await tickets.list(assignee="bob")).tickets
        assert ticket.assignees == ("ann", "bob")
        await tickets.answer(ticket.id, YES, by="bob")
        assert (await run.result())[0]["by"] == "bob"
    assert [got.body for got in service.got] == [b'{"text":"Pay 3? for ann"}', b'{"text":"Pay 3? for ann, bob"}']


@pytest.mark.covers("F14")
async def test_others_may_answer_only_when_the_escalation_has_come(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env, escalation=[actions.Escalation(after="4h", assignees=["bob"])])
        await env.advance("3h")
        with pytest.raises(errors.NotAssignee):
            await desk(env).answer(ticket.id, YES, by="bob")
        await env.advance("1h")
        await desk(env).answer(ticket.id, YES, by="bob")
        assert (await result(env))[0]["by"] == "bob"


async def wait_for(service: Service, count: int) -> None:
    async with asyncio.timeout(20):
        while len(service.got) < count:
            await asyncio.to_thread(lambda: None)


async def test_a_question_that_was_answered_is_not_escalated(service: Service) -> None:
    hook = actions.Notify(webhook=actions.Webhook(url=f"{service.url}/hook"))
    async with Environment() as env:
        ticket = await asked(env, deadline="2d", escalation=[actions.Escalation(after="4h", notify=hook)])
        await desk(env).answer(ticket.id, YES, by="ann")
        await env.advance("2d")
        assert (await result(env))[0]["by"] == "ann"
    assert service.got == []


# Runs that end while people think.


async def test_a_cancelled_run_withdraws_its_question(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env)
        await env.get("r").cancel()
        await env.settle()
        assert (await desk(env).get(ticket.id)).state is TicketState.WITHDRAWN
        with pytest.raises(errors.TicketClosed, match="withdrawn"):
            await desk(env).answer(ticket.id, YES, by="ann")


async def test_a_ticket_whose_run_has_ended_takes_no_answer(any_store: Store) -> None:
    @workflow(name="hasty")
    async def hasty() -> None:
        asyncio.ensure_future(actions.approve(title="?", assignees=["ann"])())  # noqa: RUF006 - the run does not wait for it
        await asyncio.sleep(10)

    async with Room(any_store) as env:
        await env.run(hasty)
        (ticket,) = (await desk(env).list(state=None)).tickets
        if ticket.is_open:
            with pytest.raises(errors.TicketClosed, match="has ended"):
                await desk(env).answer(ticket.id, YES, by="ann")
        assert (await desk(env).get(ticket.id)).state is TicketState.WITHDRAWN


# Links.


@pytest.mark.covers("F14")
async def test_a_link_answers_once_for_the_person_it_was_made_for(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env, assignees=["ann", "bob"])
        token = await desk(env).link(ticket.id, person="bob")
        assert (await desk(env).open_link(token))[1] == "bob"
        await desk(env).answer_link(token, YES)
        with pytest.raises(errors.TicketClosed):
            await desk(env).answer_link(token, YES)
        assert (await result(env))[0]["by"] == "bob"


@pytest.mark.covers("F14")
async def test_a_forged_link_is_refused_wherever_it_was_changed() -> None:
    async with Environment() as env:
        ticket = await asked(env)
        token = await desk(env).link(ticket.id, person="ann")
        body, _, signature = token.partition(".")
        other = "B" if body[10] != "B" else "C"
        forged = [
            f"{body[:10]}{other}{body[11:]}.{signature}",
            f"{body}.",
            body,
            "",
            ".",
            "é.é",
            f"{body}.{'A' * len(signature)}",
            "x" * 9_000,
        ]
        for text in forged:
            with pytest.raises(errors.LinkForged):
                await desk(env).answer_link(text, YES)
    async with Environment() as elsewhere:
        await asked(elsewhere)
        with pytest.raises(errors.LinkForged):
            await desk(elsewhere).answer_link(token, YES)


@pytest.mark.covers("F14")
async def test_an_expired_link_is_refused_and_another_works(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env)
        token = await desk(env).link(ticket.id, person="ann", valid="1h")
        await env.advance("1h")
        with pytest.raises(errors.LinkExpired, match="2030-01-01 01:00:00 UTC"):
            await desk(env).answer_link(token, YES)
        await desk(env).answer_link(await desk(env).link(ticket.id, person="ann"), YES)
        assert (await result(env))[0]["by"] == "ann"


async def test_no_link_is_made_for_who_was_not_asked() -> None:
    async with Environment() as env:
        ticket = await asked(env)
        with pytest.raises(errors.NotAssignee):
            await desk(env).link(ticket.id, person="eve")


# What cannot be asked.


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"assignees": []}, "approve.assignees"),
        ({"assignees": [""]}, "approve.assignees"),
        ({"title": "{{ amount"}, "approve.title"),
        ({"deadline": "soon"}, "approve.deadline"),
        ({"form": {"type": "nonsense"}}, "approve.form"),
        ({"form": object}, "approve.form"),
        ({"default_value": {"data": 1}}, "approve.default_value"),
        ({"default_value": 1, "deadline": "1h"}, "approve.default_value"),
        ({"escalation": [{"after": "-1h"}]}, "approve.escalation.after"),
        ({"unknown": 1}, "approve.unknown"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_when_it_is_written(options: dict[str, Any], field: str) -> None:
    told: dict[str, Any] = {"title": "?", "assignees": ["ann"], **options}
    with pytest.raises(errors.InvalidOption) as refused:
        actions.approve(**told)
    assert str(refused.value).startswith(field)


async def test_a_closed_ticket_is_forgotten_some_weeks_later_and_an_open_one_never(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env)
        assert (await env.store.read(TICKETS, [ticket.id]))[ticket.id].expires_us is None
        await desk(env).answer(ticket.id, YES, by="ann")
        kept = (await env.store.read(TICKETS, [ticket.id]))[ticket.id]
        assert kept.expires_us == read_ticket(kept.value).closed_us + 30 * 86_400_000_000
