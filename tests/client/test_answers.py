"""A client that is not the node gets the answer to what it asked, and what it was told is as safe as the run."""

import asyncio
from collections.abc import Mapping, Sequence

from perdure import Engine, Registry, signal, update, workflow
from perdure.engine.sharing.share import slice_of
from perdure.model.durability import Durability
from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.store import Batch
from perdure.stores.memory import MemoryStore

registry = Registry()
go = signal("go", str)


class Purse:
    def __init__(self) -> None:
        self.coins = 0

    async def run(self) -> str:
        return await go.receive()

    @update
    def put(self, coins: int) -> int:
        self.coins += coins
        return self.coins


purse = workflow(registry=registry)(Purse)


class Shelf:
    def __init__(self) -> None:
        self.things: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> str:
        return await self.things.get()

    @update
    async def put(self, thing: str) -> str:
        answer = f"{thing} {await go.receive()}"
        self.things.put_nowait(thing)
        return answer


shelf = workflow(registry=registry)(Shelf)


def id_in(partition: int) -> str:
    """Give an id that lies in that one of two partitions."""
    return next(name for name in map(str, range(100)) if slice_of(name, [0, 1]) == partition)


class MovedStore(MemoryStore):
    """``has_moved``: the second node has a partition."""

    def __init__(self, *, partitions: int) -> None:
        super().__init__(partitions=partitions)
        self.has_moved = asyncio.Event()

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        taken = await super().take_partitions(epoch, wanted, now_us)
        if epoch == 2 and taken:
            self.has_moved.set()
        return taken


class WatchedStore(MemoryStore):
    """Notes the class of every commit of messages by one who is not a node."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: list[Durability | None] = []

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        if batch.epoch is None:
            self.classes.append(batch.durability)
        return await super().commit(batch)


async def test_updates_of_one_id_to_two_runs_each_get_their_own_answer() -> None:
    store = MemoryStore()
    async with Engine(store, registry=registry), Engine(store, registry=registry, is_client=True) as client:
        first, second = [await client.start(purse.options(id=name)) for name in ("first", "second")]
        assert await first.update(Purse.put, 1, update_id="once") == 1
        assert await second.update(Purse.put, 2, update_id="once") == 2
        assert [await run.update(Purse.put, coins, update_id="once") for run, coins in ((first, 1), (second, 2))] == [1, 2]


async def test_an_update_whose_run_moves_to_another_node_is_answered_there_and_not_refused_here() -> None:
    store = MovedStore(partitions=2)
    async with Engine(store, registry=registry, lease="200ms", name="one"), Engine(store, registry=registry, is_client=True) as client:
        run = await client.start(shelf.options(id=id_in(1)))
        asking = asyncio.create_task(run.update(Shelf.put, "book", update_id="once"))
        async for entry in run.watch():
            if entry.name == "UpdateAccepted":
                break
        async with Engine(store, registry=registry, lease="200ms", name="two") as two:
            await asyncio.wait_for(store.has_moved.wait(), 20)
            assert two.is_node
            await run.send(go, "there is room")
            assert await run.result() == "book"
            asking.cancel()
            assert await run.update(Shelf.put, "book", update_id="once") == "book there is room"


async def test_a_signal_is_as_durable_as_the_run_that_it_is_sent_to() -> None:
    store = WatchedStore()
    async with Engine(store, registry=registry), Engine(store, registry=registry, is_client=True) as client:
        run = await client.start(purse.options(id="p", durability=Durability.MEMORY))
        await run.send(go, "x")
        assert await run.result() == "x"
    assert store.classes == [run.durability, run.durability]
    assert run.durability is not None
