"""An answer reaches the run that waits for it, whoever dies on the way and wherever (F14)."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from perdure import errors
from perdure.app.left_answers import TOGETHER, LeftAnswers
from perdure.client.tickets import Tickets
from perdure.model.codec import Serializer
from perdure.model.errors import AnswerOverdue, RunElsewhere, RunEnded, StoreUnavailable
from perdure.model.ticket import TICKETS_LEFT, Ticket, TicketState
from perdure.ports.store import Store
from perdure.ports.ticketing import add_ticket, revise_ticket
from perdure.stores.memory import MemoryStore
from perdure.testing.clock import VirtualClock
from tests.actions.people.desk import YES, asked, desk, result
from tests.stores import Room

SECONDS = "15s"
"""In which an answer that was left is delivered on any store."""


class Died(BaseException):
    """The process is gone: nothing catches it."""


class Mortal:
    """An engine, and its store, seen from a process that dies at its step number ``dies_at``: before it has any effect, or just after."""

    def __init__(self, env: Room, *, dies_at: int, is_after: bool) -> None:
        self._env = env
        self._left = dies_at
        self._is_after = is_after
        self.store: Any = self

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self._step(lambda: getattr(self._env.store, name)(*args, **options))

    async def complete(self, key: str, value: Any = None) -> None:
        await self._step(lambda: self._env.engine.complete(key, value))

    async def _step(self, work: Callable[[], Awaitable[Any]]) -> Any:
        self._left -= 1
        if self._left == 0 and not self._is_after:
            raise Died
        found = await work()
        if self._left == 0:
            raise Died
        return found


class Refused:
    """An engine that takes no outcome."""

    def __init__(self, env: Room, error: BaseException) -> None:
        self.store = env.store
        self._error = error

    async def complete(self, key: str, value: Any = None) -> None:
        raise self._error


async def mark_only(env: Room, id: str) -> None:
    """Answer as who dies between the mark and the call's completion."""
    with pytest.raises(Died):
        await Tickets(Refused(env, Died()), env.clock).answer(id, YES, by="ann")
    assert (await desk(env).get(id)).is_left


@pytest.mark.covers("F14")
@pytest.mark.parametrize("has_crashed", [False, True], ids=["the node lives", "another node takes over"])
async def test_an_answer_whose_giver_died_is_delivered_within_seconds_by_the_node(any_store: Store, *, has_crashed: bool) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env)
        await mark_only(env, ticket.id)
        if has_crashed:
            await env.crash()
        await env.settle()
        assert not (await env.get("r").status()).is_final
        await env.advance("2s" if has_crashed else SECONDS)
        assert (await result(env))[0]["data"] == YES
        assert (await desk(env).get(ticket.id)).is_delivered
        assert await env.store.scan(TICKETS_LEFT) == []


@pytest.mark.covers("F14")
@pytest.mark.parametrize("is_after", [False, True], ids=["before a step", "after a step"])
async def test_whoever_answers_and_at_whatever_step_he_dies_the_answer_counts_or_can_be_given_again(
    any_store: Store, *, is_after: bool
) -> None:
    kept = 0
    async with Room(any_store) as env:
        for step in range(1, 20):
            ticket = await asked(env, run=f"r{step}")
            try:
                await Tickets(Mortal(env, dies_at=step, is_after=is_after), env.clock).answer(ticket.id, YES, by="ann")
            except Died:
                await env.crash()
            else:
                break
            await env.advance(SECONDS)
            if (await desk(env).get(ticket.id)).is_open:
                await desk(env).answer(ticket.id, YES, by="ann")
            else:
                kept += 1
            assert (await result(env, f"r{step}"))[0]["data"] == YES
        assert 3 < step < 19
        assert kept >= 3, "marked; given to the run; noted as delivered"
        assert await env.store.scan(TICKETS_LEFT) == []


@pytest.mark.covers("F14")
@pytest.mark.parametrize(
    "error", [AnswerOverdue(asked="it", span="30s"), StoreUnavailable(store="it", problem="gone")], ids=["late", "away"]
)
async def test_an_answer_that_is_marked_is_taken_although_no_node_confirms_it(error: errors.PerdureError) -> None:
    async with Room() as env:
        ticket = await asked(env)
        answered = await Tickets(Refused(env, error), env.clock).answer(ticket.id, YES, by="ann")
        assert answered.is_left
        await env.advance(SECONDS)
        assert (await result(env))[0]["data"] == YES


async def test_an_answer_to_a_run_that_ended_meanwhile_is_left_no_longer() -> None:
    async with Room() as env:
        ticket = await asked(env)
        answered = await Tickets(Refused(env, RunEnded(run="r", status="cancelled", asked="it")), env.clock).answer(
            ticket.id, YES, by="ann"
        )
        assert not answered.is_left
        other = await asked(env, run="other")
        await mark_only(env, other.id)
        await env.get("other").cancel()
        await env.advance(SECONDS)
        assert await env.store.scan(TICKETS_LEFT) == []


@pytest.mark.covers("F14")
async def test_an_answer_that_was_marked_before_the_deadline_counts_even_if_it_was_not_delivered(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env, deadline="2s")
        await env.advance("1500ms")
        await mark_only(env, ticket.id)
        await env.advance("500ms")
        assert (await result(env))[0]["data"] == YES


async def test_an_answer_that_comes_before_the_run_waits_for_it_is_found_when_it_does(any_store: Store) -> None:
    async with Room(any_store) as env:
        ticket = await asked(env)

        async def rewrite(**changes: Any) -> None:
            await revise_ticket(env.store, ticket.id, lambda known: msgspec.structs.replace(known, **changes))

        await rewrite(call="")
        await desk(env).answer(ticket.id, YES, by="ann")
        await env.crash()
        # The crash makes no new attempt of a call that is open: nobody can deliver it.
        await env.advance(SECONDS)
        assert not (await desk(env).get(ticket.id)).is_delivered
        await rewrite(call=ticket.call)
        await env.advance(SECONDS)
        assert (await result(env))[0]["data"] == YES


# One look.


class Ends:
    """The way to a node that has no run but those of ``here``. ``told``: the runs that got an outcome."""

    def __init__(self, here: Callable[[str], bool]) -> None:
        self.store: Any = None
        self.told: list[str] = []
        self._here = here

    async def give_outcome(self, run: str, base: int, outcome: Any) -> None:
        if not self._here(run):
            raise RunElsewhere(run=run)
        self.told.append(run)


async def left(store: MemoryStore, count: int) -> None:
    """There are tickets whose answers were not delivered, of runs 0000 and on."""
    for number in range(count):
        id = f"{number:04d}"
        await add_ticket(
            store,
            Ticket(
                id=id,
                run=id,
                title="?",
                form={},
                assignees=("ann",),
                opened_us=number,
                state=TicketState.ANSWERED,
                call=f"{id}#1#1",
                data=1,
                closed_us=1,
            ),
        )


async def test_answers_that_cannot_be_delivered_here_hold_up_no_others() -> None:
    store = MemoryStore()
    await left(store, TOGETHER + 2)
    ends: Any = Ends(lambda run: run >= f"{TOGETHER:04d}")
    look = LeftAnswers(ends, Serializer(), store, VirtualClock())
    counts = [await look.run_once() for _ in range(3)]
    assert counts == [TOGETHER, 2, TOGETHER]
    assert ends.told == [f"{TOGETHER:04d}", f"{TOGETHER + 1:04d}"]


async def test_a_look_that_finds_nothing_asks_the_store_one_question() -> None:
    class Counting(MemoryStore):
        asked = 0

        async def scan(self, *args: Any, **options: Any) -> Any:
            self.asked += 1
            return await super().scan(*args, **options)

        async def read(self, *args: Any, **options: Any) -> Any:
            self.asked += 1
            return await super().read(*args, **options)

    store = Counting()
    ends: Any = Ends(lambda run: True)
    assert await LeftAnswers(ends, Serializer(), store, VirtualClock()).run_once() == 0
    assert store.asked == 1
