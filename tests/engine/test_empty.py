"""Success with nothing to pass on: one value, whatever the declared type, wherever it travels and rests."""

import copy
import pickle
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

import perdure
from perdure import EMPTY, action, signal, workflow
from perdure.codecs import Compression
from perdure.control import Export, Import
from perdure.model.codec import Serializer
from perdure.model.errors import InvalidValue
from perdure.model.payload import EMPTY_CONTENT, Content, packed, unpacked
from perdure.stores.memory import MemoryStore
from perdure.testing.clock import VirtualClock
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore

go = signal("empty_go", int)


@action(name="empty_find")
async def find(number: int) -> list[str]:
    return EMPTY if number < 0 else [str(number)]


@action(name="empty_plain")
def find_in_thread() -> int:
    return EMPTY


@action(name="empty_takes")
async def takes(found: list[str]) -> str:
    return "nothing" if found is EMPTY else ",".join(found)


@workflow(name="empty_child")
async def child() -> int:
    return await find_in_thread()


@workflow(name="empty_run")
async def passes_on() -> str:
    found = await find(-1)
    assert found is EMPTY
    assert await find(1) == ["1"]
    assert await child() is EMPTY
    await go.receive()
    return await takes(found)


@workflow(name="empty_waits")
async def waits() -> int:
    found = await find_in_thread()
    await go.receive()
    return found


async def given(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


def test_there_is_one_and_it_is_false() -> None:
    assert not EMPTY
    assert repr(EMPTY) == "perdure.EMPTY"
    assert copy.copy(EMPTY) is EMPTY
    assert copy.deepcopy(EMPTY) is EMPTY
    assert pickle.loads(pickle.dumps(EMPTY)) is EMPTY
    assert perdure.EMPTY is EMPTY


@pytest.mark.parametrize("wanted", [Any, int, str, bytes, list[int]])
def test_it_is_read_as_itself_whatever_type_is_declared(wanted: Any) -> None:
    serializer = Serializer((Compression(bytes_min=1),))
    content = serializer.encode(EMPTY)
    assert content == EMPTY_CONTENT == Content("empty", b"null")
    assert unpacked(packed(content)) == content
    assert serializer.decode(content, wanted) is EMPTY
    assert serializer.digest((EMPTY,), {}) != serializer.digest((1,), {})


def test_inside_a_value_it_is_refused() -> None:
    with pytest.raises(InvalidValue, match="Empty is no plain value"):
        Serializer().encode([EMPTY])


@pytest.mark.covers("F4")
async def test_it_survives_the_journal_a_child_and_a_crash(store: AnyStore) -> None:
    async with Environment(store) as env:
        async for entry in (await env.start(passes_on.options(id="p"))).watch():
            if entry.name == "SignalAwaited":
                break
        await env.crash()
        await env.get("p").send(go, 1)
        assert await env.get("p").result() == "nothing"


async def test_it_survives_a_move_to_another_store_and_is_a_run_s_result(store: AnyStore) -> None:
    async with Environment(store) as env:
        await env.engine.start(waits.options(id="e"))
        await env.advance(1)
    await store.open()
    lines = [line async for line in Export(store, VirtualClock(), has_open=True).lines()]
    await store.close()
    other = MemoryStore()
    await Import(other, VirtualClock()).read(given(lines))
    async with Environment(other) as env:
        run = env.engine.get("e", waits)
        await run.send(go, 1)
        assert await run.result() is EMPTY
