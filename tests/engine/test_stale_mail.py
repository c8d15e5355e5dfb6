"""A message takes effect once, also where a look at the inboxes was answered before it was taken and heard after (G5)."""

import asyncio
from collections.abc import Collection

from perdure import Engine, Registry, signal, workflow
from perdure.engine.runs.live import Arrival
from perdure.model.stimulus import Begun
from perdure.ports.store import InboxItem
from perdure.stores.memory import MemoryStore
from perdure.testing import Environment

registry = Registry()
words = signal("words", str)


@workflow(registry=registry)
async def listener() -> list[str]:
    heard: list[str] = []
    while not heard or heard[-1] != "end":
        heard.append(await words.receive())
    return heard


class SlowStore(MemoryStore):
    """``hold``: the answer to the next look at the inboxes is given, and comes when this is set."""

    def __init__(self) -> None:
        super().__init__(partitions=2)
        self.hold: asyncio.Event | None = None

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        items = await super().addressed(partitions, limit)
        if (hold := self.hold) is not None:
            self.hold = None
            await hold.wait()
        return items


async def test_an_answer_that_comes_after_its_messages_were_taken_delivers_nothing_again() -> None:
    store = SlowStore()
    async with Environment(store, registry=registry) as env, Engine(store, registry=registry, is_client=True) as client:
        run = await env.start(listener.options(id="l"))
        hold = store.hold = asyncio.Event()
        await client.get("l").send(words, "one")
        await env.settle()
        assert store.hold is None
        await env.engine.node.postroom.look()
        await env.settle()
        hold.set()
        await env.settle()
        await client.get("l").send(words, "end")
        assert await env.finish(run) == ["one", "end"]


async def test_a_run_begins_once_however_often_its_start_comes() -> None:
    async with Environment(registry=registry) as env:
        await env.start(listener.options(id="l"))
        live = env.engine.node.roster.get("l")
        for _ in range(2):
            env.engine.node.pump.tell(live, Arrival(Begun((), {}, 1)))
        await env.settle()
        names = [entry.name async for entry in env.get("l").journal()]
        assert names.count("RunStarted") == 1
