"""A node that is asked for more than its store takes says so at once, and does what it took in (M34)."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from perdure import Limits, Run, signal, update, workflow
from perdure.model.errors import Overloaded, PerdureError
from perdure.testing.env import Environment
from perdure.testing.faults import FaultyStore
from tests.engine.stores import AnyStore

pytestmark = pytest.mark.covers("M34")

word = signal("overload_word", str)


@workflow(name="overload_echo")
async def echo(number: int) -> int:
    return number


@workflow(name="overload_reads")
class Reads:
    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def run(self, count: int) -> list[str]:
        return [await word.receive() for _ in range(count)]

    @update
    async def pass_gate(self) -> str:
        await self.gate.wait()
        return "passed"

    @update
    def open_gate(self) -> str:
        self.gate.set()
        return "open"


def excess(outcomes: Sequence[Any], limit: str) -> list[Overloaded]:
    """Those that were refused, each with what its caller must know."""
    found = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for error in found:
        assert isinstance(error, Overloaded)
        assert error.kind == "unavailable"
        assert error.limit == limit
        assert error.retry_after > timedelta(0)
        assert f"the limit {limit} is {error.allowed}. Nothing of it was done; try again in " in str(error)
    return found


async def test_a_flood_of_starts_on_a_slow_store_is_refused_beyond_the_limit_and_the_rest_finishes(store: AnyStore) -> None:
    async with Environment(FaultyStore(store, slow_turns=200), limits=Limits(requests_waiting_max=20)) as env:
        flood = (env.engine.start(echo.options(id=str(number)), number) for number in range(200))
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        assert len(excess(outcomes, "requests_waiting_max")) == 180
        taken = [outcome for outcome in outcomes if isinstance(outcome, Run)]
        assert [await run.result() for run in taken] == list(range(20))
        assert {row.id for row in await env.engine.list(limit=1000)} == {run.id for run in taken}
        again = await asyncio.gather(*(env.engine.start(echo.options(id=f"again-{number}"), number) for number in range(20)))
        assert [await run.result() for run in again] == list(range(20))
        assert env.engine.node.desk.admission.waiting == 0


async def test_a_run_that_is_sent_too_much_at_once_takes_what_it_can_and_refuses_the_rest(store: AnyStore) -> None:
    async with Environment(FaultyStore(store, slow_turns=200), limits=Limits(arrivals_waiting_max=5)) as env:
        run = await env.start(Reads.options(id="r"), 6)
        outcomes = await asyncio.gather(*(run.send(word, str(number)) for number in range(50)), return_exceptions=True)
        refused = excess(outcomes, "arrivals_waiting_max")
        taken = [str(number) for number, outcome in enumerate(outcomes) if outcome is None]
        assert (len(taken), len(refused)) == (5, 45)
        await run.send(word, "after")
        assert await run.result() == [*taken, "after"]


async def test_updates_wait_for_their_answer_within_the_limit_and_a_cancel_is_never_refused() -> None:
    async with Environment(limits=Limits(requests_waiting_max=2)) as env:
        run = await env.start(Reads.options(id="r"), 1)
        waiting = [asyncio.ensure_future(run.update(Reads.pass_gate)) for _ in range(2)]
        await env.settle()
        with pytest.raises(Overloaded, match="the update 'open_gate' was not taken: 2 requests wait"):
            await run.update(Reads.open_gate)
        with pytest.raises(Overloaded, match="the signal 'overload_word' was not taken"):
            await run.send(word, "late")
        assert await run.cancel()
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(answer, PerdureError)
        assert env.engine.node.desk.admission.waiting == 0


async def test_the_hint_when_to_try_again_grows_while_the_store_takes_nothing() -> None:
    store = FaultyStore()
    async with Environment(store, limits=Limits(requests_waiting_max=1)) as env:
        store.refuse_commits(1_000_000)
        first = asyncio.ensure_future(env.engine.start(echo.options(id="first"), 1))
        await env.settle()
        with pytest.raises(Overloaded) as soon:
            await env.engine.start(echo, 2)
        await env.advance("20s")
        with pytest.raises(Overloaded, match=r"the start of 'overload_echo' was not taken: 1 requests wait.*in 20\.00s") as late:
            await env.engine.start(echo, 2)
        assert soon.value.retry_after < timedelta(seconds=1) < timedelta(seconds=20) <= late.value.retry_after
        await env.advance("1h")
        with pytest.raises(Overloaded) as last:
            await env.engine.start(echo, 2)
        assert last.value.retry_after == timedelta(minutes=1)
        store.refuse_commits(0)
        await env.advance("10s")
        assert await (await first).result() == 1
        assert len(await env.engine.list()) == 1
