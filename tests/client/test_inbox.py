"""What clients leave in a run's inbox is kept apart, whatever ids they choose, and who says two things under one id is told (G5)."""

import msgspec
import pytest

from perdure import Engine, Registry, signal, update, workflow
from perdure.model.errors import RunEnded, SignalConflict
from perdure.model.ids import RunId, update_message
from perdure.model.message import SendSignal, encode_message
from perdure.model.payload import Attachments
from perdure.ports.store import Batch, InboxItem
from perdure.stores.memory import MemoryStore

registry = Registry()
go = signal("go", str)
words = signal("words", str)


class Desk:
    def __init__(self) -> None:
        self.total = 0

    async def run(self) -> list[str]:
        heard = [await words.receive()]
        await go.receive()
        return [*heard, str(self.total)]

    @update
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total


desk = workflow(registry=registry)(Desk)


def client_of(store: MemoryStore) -> Engine:
    return Engine(store, registry=registry, is_client=True)


async def ids_in_inbox(store: MemoryStore, run: str) -> list[str]:
    (loaded,) = await store.load([RunId(run)])
    return [item.id for item in loaded.inbox]


@pytest.mark.covers("I25", "I29")
@pytest.mark.parametrize("id", ["once", "r#start", "r#cancel"])
async def test_a_signal_is_not_lost_whatever_its_id_says(id: str) -> None:
    store = MemoryStore()
    async with client_of(store) as client:
        run = await client.start(desk.options(id="r"))
        await run.cancel()
        taken = await ids_in_inbox(store, "r")
        await run.send(words, "kept", id=id)
        assert len(await ids_in_inbox(store, "r")) == len(taken) + 1


@pytest.mark.covers("I25", "I29")
async def test_a_signal_and_an_update_of_one_id_both_take_effect() -> None:
    store = MemoryStore()
    async with client_of(store) as client:
        run = await client.start(desk.options(id="r"))
        digest = client._serializer.digest(("add", 1, 2), {})
        # Ids by which the inbox knew the update once, and knows it now.
        await run.send(words, "heard", id=f"once~{digest[:16]}")
        await run.send(words, "unread", id=update_message("once", digest))
        async with Engine(store, registry=registry):
            assert await run.update(Desk.add, 2, update_id="once") == 2
            await run.send(go, "on")
            assert await run.result() == ["heard", "2"]


@pytest.mark.covers("I25")
async def test_a_signal_that_was_left_by_the_version_before_is_taken_and_known_by_its_id() -> None:
    store = MemoryStore()
    async with client_of(store) as client:
        run = await client.start(desk.options(id="r"))
        attachments = Attachments(1_000)
        content = client._serializer.encode("old", "the signal")
        body = msgspec.json.decode(encode_message(SendSignal("words", attachments.place(content), is_named=True)))
        assert "id" not in body
        data = None if attachments.data is None else bytes(attachments.data)
        await store.commit(Batch(posts=[InboxItem(run.id, "w", 1, msgspec.json.encode(body), data)]))
        async with Engine(store, registry=registry):
            await run.send(words, "old", id="w")
            await run.send(go, "on")
            assert await run.result() == ["old", "0"]


@pytest.mark.covers("I25")
async def test_a_client_that_sends_other_content_under_an_id_is_told_while_no_node_is_there_and_when_one_has_taken_it() -> None:
    store = MemoryStore()
    async with client_of(store) as client:
        run = await client.start(desk.options(id="r"))
        await run.send(words, "a", id="w")
        await run.send(words, "a", id="w")
        with pytest.raises(SignalConflict, match="other content"):
            await run.send(words, "b", id="w")
        async with Engine(store, registry=registry) as node:
            async for entry in node.get("r").watch():
                if entry.name == "SignalTaken":
                    break
        assert await ids_in_inbox(store, "r") == []
        with pytest.raises(SignalConflict, match="other content"):
            await run.send(words, "b", id="w")
        await run.send(words, "a", id="w")
        async with Engine(store, registry=registry):
            await run.send(go, "on")
            assert await run.result() == ["a", "0"]
        with pytest.raises(SignalConflict):
            await run.send(words, "b", id="w")
        with pytest.raises(RunEnded):
            await run.send(words, "b", id="new")


@pytest.mark.covers("I25")
async def test_a_signal_to_a_run_that_is_stopped_is_compared_with_what_waits_there() -> None:
    store = MemoryStore()
    async with client_of(store) as client:
        run = await client.start("nobody-knows-this")
        async with Engine(store, registry=registry) as node:
            assert (await run.status()).value == "running"
            await node.get(run.id).send("words", "a", id="w")
            await node.get(run.id).send("words", "a", id="w")
            with pytest.raises(SignalConflict):
                await run.send("words", "b", id="w")
            await run.send("words", "a", id="w")
