"""Whole runs with codecs: nothing readable in the file, nothing lost with a key, nothing stored twice."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure import Engine, Registry, Run, Status, action, query, signal, update, workflow
from perdure.codecs import Codec, Compression, Encryption
from perdure.insight import StalledReason
from perdure.model.errors import InvalidValue, RunConflict, SignalConflict

OLD, NEW = bytes(range(32)), bytes(range(50, 82))
WITH_OLD = (Compression(bytes_min=64), Encryption({"2026-10": OLD}, current="2026-10"))
ROTATED = (Compression(bytes_min=64), Encryption({"2026-10": OLD, "2026-11": NEW}, current="2026-11"))
OLD_LOST = (Compression(bytes_min=64), Encryption({"2026-11": NEW}, current="2026-11"))
WRONG = (Compression(bytes_min=64), Encryption({"2026-10": NEW}, current="2026-10"))
SECRET = "topsecret"

registry = Registry()
note = signal("note", str)
calls: list[str] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@action(registry=registry)
async def spell(text: str, *, more: str = "") -> str:
    calls.append("spell")
    perdure.attempt().heartbeat({"details": f"{SECRET} details"})
    return f"{text} {SECRET} result {more}"


@action(registry=registry)
def measure(image: bytes, n: int) -> int:
    return len(image) + n


@action(registry=registry)
async def draw(size: int) -> bytes:
    return random.Random(1).randbytes(size)


@workflow(registry=registry)
async def child(text: str) -> str:
    return f"{text} {SECRET} child"


@workflow(registry=registry, check="strict")
async def secrets(text: str) -> list[str]:
    perdure.publish(stage=f"{SECRET} state")
    spelt = await spell(text, more=f"{SECRET} keyword")
    recorded = perdure.record(lambda: f"{SECRET} recorded")
    noted = await note.receive()
    perdure.publish(noted=noted)
    return [spelt, recorded, noted, await child(f"{SECRET} argument of a child")]


class Diary:
    def __init__(self) -> None:
        self.lines: list[str] = []

    async def run(self, first: str) -> list[str]:
        self.lines.append(first)
        self.lines.append(await note.receive())
        return self.lines

    @update
    def write(self, line: str) -> str:
        self.lines.append(line)
        return f"{line} {SECRET} answer"

    @query
    def last(self) -> str:
        return self.lines[-1]


diary = workflow(registry=registry)(Diary)


@workflow(registry=registry)
async def album(branches: int) -> int:
    image = await draw(100_000)

    async def one(n: int) -> int:
        await asyncio.sleep(0.001 * (n % 3))
        return await measure(image, n) - await measure(image, 0)

    return sum(await asyncio.gather(*(one(n) for n in range(branches))))


@asynccontextmanager
async def engine_on(folder: Path, codecs: Sequence[Codec] = (), known: Sequence[Codec] = ()) -> AsyncIterator[Engine]:
    async with Engine(f"sqlite:///{folder}/app.db", registry=registry, codecs=codecs, known_codecs=known) as engine:
        yield engine


def raw(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def until(run: Run[Any], name: str) -> None:
    async for entry in run.watch():
        if entry.name == name:
            return


async def begin(engine: Engine) -> Run[list[str]]:
    run = await engine.start(secrets.options(id="s"), f"{SECRET} argument " + "long " * 100)
    await until(run, "SignalAwaited")
    return run


async def finish(run: Run[list[str]]) -> None:
    await run.send(note, f"{SECRET} signal", id="n")
    found = await run.result()
    assert [SECRET in text for text in found] == [True] * 4
    assert await run.state() == {"stage": f"{SECRET} state", "noted": f"{SECRET} signal"}
    assert calls == ["spell"]


@pytest.mark.covers("I38")
async def test_no_value_can_be_read_in_the_file(tmp_path: Path) -> None:
    async with engine_on(tmp_path, WITH_OLD) as engine:
        run = await begin(engine)
        assert await run.state() == {"stage": f"{SECRET} state"}
        await finish(run)
        book = await engine.start(diary, f"{SECRET} line")
        assert await book.update(Diary.write, f"{SECRET} update") == f"{SECRET} update {SECRET} answer"
        assert await book.query(Diary.last) == f"{SECRET} update"
        await book.send(note, f"{SECRET} end")
        assert len(await book.result()) == 3
        assert SECRET.encode() not in raw(tmp_path)
    assert SECRET.encode() not in raw(tmp_path)


async def test_without_codecs_the_same_values_can_be_read(tmp_path: Path) -> None:
    async with engine_on(tmp_path) as engine:
        await finish(await begin(engine))
        assert SECRET.encode() in raw(tmp_path)


@pytest.mark.covers("I38")
@pytest.mark.parametrize(
    ("codecs", "known"),
    [((), WITH_OLD), (WITH_OLD[:1], WITH_OLD[1:]), (ROTATED, ()), (WITH_OLD, ())],
    ids=["off", "less", "rotated", "same"],
)
async def test_codecs_may_change_while_a_run_is_half_way(tmp_path: Path, codecs: Sequence[Codec], known: Sequence[Codec]) -> None:
    async with engine_on(tmp_path, WITH_OLD) as engine:
        await begin(engine)
    async with engine_on(tmp_path, codecs, known) as engine:
        run = engine.get("s", secrets)
        assert await run.state() == {"stage": f"{SECRET} state"}
        await finish(run)
        await run.status()
    async with engine_on(
        tmp_path, (), (*codecs, *(codec for codec in WITH_OLD if codec.name not in {one.name for one in codecs}))
    ) as engine:
        assert len(await engine.get("s", secrets).result()) == 4


@pytest.mark.covers("I38")
async def test_codecs_may_be_switched_on_while_a_run_is_half_way(tmp_path: Path) -> None:
    async with engine_on(tmp_path) as engine:
        await begin(engine)
    async with engine_on(tmp_path, WITH_OLD) as engine:
        await finish(engine.get("s", secrets))


@pytest.mark.parametrize("codecs", [OLD_LOST, WRONG], ids=["missing", "wrong"])
async def test_without_its_key_a_run_stalls_and_goes_on_when_the_key_is_back(tmp_path: Path, codecs: Sequence[Codec]) -> None:
    async with engine_on(tmp_path, WITH_OLD) as engine:
        await begin(engine)
    async with engine_on(tmp_path, codecs) as engine:
        run = engine.get("s", secrets)
        await run.resume()
        assert await run.status() is Status.STALLED
        [reason] = await run.why()
        assert isinstance(reason, StalledReason)
        assert "the key '2026-10'" in reason.problem
        with pytest.raises(InvalidValue, match="2026-10"):
            await run.state()
        other = await engine.start(diary, "fine")
        await other.send(note, "end")
        assert await other.result() == ["fine", "end"]
    async with engine_on(tmp_path, ROTATED) as engine:
        run = engine.get("s", secrets)
        await run.resume()
        await finish(run)


async def test_an_open_call_whose_arguments_need_a_lost_key_is_not_failed(tmp_path: Path) -> None:
    inner = Registry()
    is_ready = asyncio.Event()

    @action(registry=inner)
    async def slow(text: str) -> str:
        is_ready.set()
        if len(calls) == 0:
            calls.append("slow")
            await asyncio.Event().wait()
        return text

    @workflow(registry=inner)
    async def waits() -> str:
        return await slow(SECRET)

    def engine(codecs: Sequence[Codec]) -> Engine:
        return Engine(f"sqlite:///{tmp_path}/app.db", registry=inner, codecs=codecs, drain=0)

    async with engine(WITH_OLD) as first:
        await first.start(waits.options(id="w"))
        await is_ready.wait()
        await first.crash()
    async with engine(OLD_LOST) as second:
        run = second.get("w", waits)
        await run.resume()
        assert await run.status() is Status.STALLED
    async with engine(ROTATED) as third:
        assert await third.get("w", waits).result() == SECRET


async def test_ids_mean_the_same_whatever_key_is_current(tmp_path: Path) -> None:
    async with engine_on(tmp_path, WITH_OLD) as engine:
        run = await engine.start(diary.options(id="d"), "first")
        await run.send(note, "end")
        assert await run.result() == ["first", "end"]
    async with engine_on(tmp_path, ROTATED) as engine:
        assert (await engine.start(diary.options(id="d"), "first")).id == "d"
        with pytest.raises(RunConflict):
            await engine.start(diary.options(id="d"), "second")


async def test_a_signal_sent_again_under_another_key_is_the_same_signal(tmp_path: Path) -> None:
    inner = Registry()

    @workflow(registry=inner)
    async def two() -> list[str]:
        return [await note.receive(), await note.receive()]

    def engine(codecs: Sequence[Codec]) -> Engine:
        return Engine(f"sqlite:///{tmp_path}/app.db", registry=inner, codecs=codecs)

    async with engine(WITH_OLD) as first:
        await (await first.start(two.options(id="t"))).send(note, "one", id="n")
    async with engine(ROTATED) as second:
        run = second.get("t", two)
        await run.send(note, "one", id="n")
        with pytest.raises(SignalConflict):
            await run.send(note, "other", id="n")
        await run.send(note, "two", id="m")
        assert await run.result() == ["one", "two"]


@pytest.mark.covers("I14")
@pytest.mark.parametrize("codecs", [(), WITH_OLD], ids=["plain", "encrypted"])
async def test_an_image_given_to_191_branches_is_stored_once(tmp_path: Path, codecs: Sequence[Codec]) -> None:
    async with engine_on(tmp_path, codecs) as engine:
        assert await engine.run(album, 191) == sum(range(191))
    with sqlite3.connect(tmp_path / "app.db") as database:
        assert database.execute("select count(*) from blob").fetchone() == (1,)
    database.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1_500_000
