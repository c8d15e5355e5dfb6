"""What one client asks of one run takes effect in the order in which it was asked."""

from perdure import Engine, Registry, signal, update, workflow
from perdure.stores.memory import MemoryStore

registry = Registry()
words = signal("words", int)
COUNT = 20


class Listener:
    def __init__(self) -> None:
        self.heard: list[int] = []

    async def run(self) -> list[int]:
        while len(self.heard) < COUNT:
            self.heard.append(await words.receive())
        return self.heard

    @update
    def hear(self) -> int:
        return len(self.heard)


listener = workflow(registry=registry)(Listener)


async def test_messages_do_not_overtake_the_start_nor_each_other_while_the_run_is_loaded() -> None:
    store = MemoryStore(partitions=2)
    async with Engine(store, registry=registry), Engine(store, registry=registry, is_client=True) as client:
        for number in range(20):
            run = await client.start(listener.options(id=f"run-{number}"))
            if number % 2:
                assert await run.update(Listener.hear) == 0
            for word in range(COUNT):
                await run.send(words, word)
            assert await run.result() == list(range(COUNT))
            names = [entry.name async for entry in run.journal()]
            assert names[0] == "RunStarted"
