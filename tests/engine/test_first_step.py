"""What arrives together with a start is judged by a run that has taken its first step."""

import asyncio

import perdure
from perdure import Engine, signal, workflow
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore

word = signal("first_step_word", str)


@workflow(name="first_step_cart")
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = ["gift"]

    async def run(self) -> list[str]:
        self.items.append(await word.receive())
        return self.items

    @perdure.update
    def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @add.validator
    def check(self, item: str) -> None:
        if item in self.items:
            raise ValueError(f"{item} is there")

    @perdure.query
    def look(self) -> list[str]:
        return self.items


async def posted(store: AnyStore, count: int) -> None:
    """Wait for so many messages."""
    for _ in range(10_000):
        if len(await store.addressed([0], 100)) == count:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"never were there {count} messages")


async def test_an_update_a_query_and_a_signal_that_wait_with_the_start_find_the_run_begun(store: AnyStore) -> None:
    async with Environment(store) as env:
        await env.kill()
        async with Engine(store, is_client=True) as client:
            run = await client.start(Cart)
            adding = asyncio.ensure_future(run.update(Cart.add, "book"))
            looking = asyncio.ensure_future(run.query(Cart.look))
            await posted(store, 3)
            await run.send(word, "end")
            await env.revive()
            assert await adding == 2
            assert (await looking)[0] == "gift"
            assert await run.result() == ["gift", "book", "end"]


async def test_a_query_that_comes_before_the_start_could_be_read_waits_for_the_first_step() -> None:
    """Seeds 485 and 817 of the simulation: a store in trouble gives the node a run, and later what is in its inbox."""
    async with Environment() as env:
        run = await env.start(Cart)
        node = env.engine.node
        live = node.roster.get(run.id)
        first, live.number = live.number, live.row.base - 1
        asked = asyncio.ensure_future(node.desk.ask(live, "look", [], {}))
        await env.settle()
        assert (asked.done(), live.arrivals) == (False, [])
        live.number = first
        node.waits.tell_change(run.id)
        assert (await asked).data == b'["gift"]'
