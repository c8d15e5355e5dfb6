"""What is wrong with one run hurts that run alone, says what it is, and can be mended (G6, G9)."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure import Registry, Status, action, signal, workflow
from perdure.insight import CodeReason, StalledReason
from perdure.testing.env import Environment
from tests.engine.stores import AnyStore, CrashableSqliteStore

go = signal("bad_go", str)


def declare(registry: Registry) -> Any:
    @action(name="shout", registry=registry)
    async def shout(word: str) -> str:
        return word.upper()

    @workflow(name="speak", registry=registry)
    async def speak(word: str) -> str:
        loud = await shout(word)
        quiet = await shout(await go.receive())
        return loud + quiet

    return speak


async def problem(run: perdure.Run[Any]) -> str:
    """Wait until the run is stalled; gives the reason."""
    async for entry in run.watch():
        if entry.name == "RunStalled":
            break
    return await stalled_problem(run)


async def stalled_problem(run: perdure.Run[Any]) -> str:
    (reason,) = await run.why()
    assert isinstance(reason, StalledReason)
    return reason.problem


@pytest.mark.covers("I30")
async def test_a_run_of_an_unknown_workflow_waits_says_so_and_goes_on_when_the_code_comes(store: AnyStore) -> None:
    registry = Registry()
    async with Environment(store, registry=registry) as env:
        run = await env.engine.start("speak", "hi")
        assert await run.status() is Status.WAITING
        (reason,) = await run.why()
        assert isinstance(reason, CodeReason)
        assert "'speak' is not registered" in reason.problem
        declare(registry)
        await run.send(go, "you")
        assert await run.result() == "HIYOU"


@pytest.mark.covers("I30")
async def test_a_run_of_an_unknown_workflow_goes_on_after_a_restart_with_the_code(store: AnyStore) -> None:
    registry = Registry()
    async with Environment(store, registry=registry) as env:
        first = (await env.engine.start("speak", "hi")).id
        await env.engine.get(first).send(go, "you")
        await env.crash()
        assert await env.get(first).status() is Status.WAITING
        declare(registry)
        await env.restart()
        assert await env.get(first).result() == "HIYOU"


@pytest.mark.covers("I30")
async def test_a_run_whose_code_is_gone_after_a_restart_waits_for_it_and_keeps_what_it_is_sent(store: AnyStore) -> None:
    registry = Registry()
    async with Environment(store, registry=registry) as env:
        run = (await env.engine.start(declare(registry), "hi")).id
        async for entry in env.get(run).watch():
            if entry.name == "SignalAwaited":
                break
        registry._definitions.clear()
        await env.crash()
        await env.get(run).send(go, "you")
        assert any("is not registered" in str(reason) for reason in await env.get(run).why())
        declare(registry)
        assert await env.get(run).result() == "HIYOU"


async def test_a_call_of_an_unknown_action_waits_for_it_while_other_branches_go_on(store: AnyStore) -> None:
    registry = Registry()

    @workflow(name="asks", registry=registry)
    async def asks() -> list[str]:
        async def other() -> str:
            word = await go.receive()
            perdure.publish(word=word)
            await asyncio.sleep(3600)
            return word

        return list(await asyncio.gather(perdure.call("shout", "hi", returns=str), other()))

    async with Environment(store, registry=registry) as env:
        run = await env.engine.start(asks)
        await run.send(go, "x")
        assert any(isinstance(reason, CodeReason) and "'shout'" in reason.problem for reason in await run.why())
        declare(registry)
        async for entry in run.watch():
            if entry.name == "ActionCompleted":
                break
        env.clock.move_to(env.clock.now_us() + 3_600_000_000)
        assert await run.result() == ["HI", "x"]


async def test_a_call_of_an_unknown_action_goes_on_after_a_restart_with_it(store: AnyStore) -> None:
    registry = Registry()

    @workflow(name="asks", registry=registry)
    async def asks() -> Any:
        return await perdure.call("shout", "hi")

    async with Environment(store, registry=registry) as env:
        await env.engine.start(asks.options(id="r"))
        await env.crash()
        declare(registry)
        await env.restart()
        assert await env.get("r").result() == "HI"


async def test_arguments_of_the_wrong_type_are_refused_at_the_start_or_end_the_run_with_the_reason(store: AnyStore) -> None:
    registry = Registry()
    async with Environment(store, registry=registry) as env:
        speak = declare(registry)
        for args in ((1,), (), ("a", "b")):
            with pytest.raises(perdure.errors.Invalid):
                await env.engine.start(speak, *args)
        assert await env.engine.list() == []
        by_name = await env.engine.start("speak", 1)
        assert "Expected `str`, got `int`" in await problem(by_name)


def spoil(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


SPOILS = {
    "flipped bytes": ("update journal set facts = x'ff00' || substr(facts, 3) where run = 'a' and number = 2", "run 'a' row 2"),
    "an unknown fact": ("update journal set facts = '[{\"fact\":\"Nonsense\"}]' where run = 'a' and number = 2", "Nonsense"),
    "a row that is gone": ("delete from journal where run = 'a' and number = 2", "row 3 where row 2 should be"),
    "a blob that is gone": ("delete from blob", "is not in the blob store"),
    "bytes beside the row that are gone": ("update journal set data = null where run = 'a' and data is not null", "does not hold bytes"),
}


@pytest.mark.covers("M31")
@pytest.mark.parametrize("how", SPOILS)
async def test_a_spoilt_journal_stalls_its_run_alone_and_names_the_place(how: str, tmp_path: Path) -> None:
    statement, words = SPOILS[how]
    registry = Registry()

    @action(name="load", registry=registry)
    async def load(size: int) -> bytes:
        return b"x" * size

    @workflow(name="keeps", registry=registry)
    async def keeps(large: int) -> int:
        total = len(await load(large)) + len(await load(3))
        await go.receive()
        return total + len(await load(4))

    path = tmp_path / "perdure.db"
    async with Environment(CrashableSqliteStore(path), registry=registry) as env:
        for id, size in (("a", 100_000), ("b", 5)):
            run = await env.engine.start(keeps.options(id=id), size)
            async for entry in run.watch():
                if entry.name == "SignalAwaited":
                    break
        await env.kill()
        spoil(path, statement)
        await env.revive()
        await env.get("a").send(go, "on")
        await env.get("b").send(go, "on")
        assert words in await stalled_problem(env.get("a"))
        assert await env.get("b").result() == 12
        assert await env.get("a").status() is Status.STALLED
        assert env.engine.is_node
        with closing(sqlite3.connect(path)) as connection:
            kept = connection.execute("select count(*) from inbox where run = 'a'").fetchone()
        assert kept == (1,)


async def test_a_mended_journal_goes_on_where_it_was(tmp_path: Path) -> None:
    registry = Registry()
    path = tmp_path / "perdure.db"
    async with Environment(CrashableSqliteStore(path), registry=registry) as env:
        run = (await env.engine.start(declare(registry), "hi")).id
        async for entry in env.get(run).watch():
            if entry.name == "SignalAwaited":
                break
        await env.kill()
        spoil(path, "update journal set facts = 'x' || facts where number = 2")
        await env.revive()
        await env.get(run).send(go, "you")
        assert "row 2" in await stalled_problem(env.get(run))
        spoil(path, "update journal set facts = substr(facts, 2) where number = 2")
        await env.get(run).resume()
        assert await env.get(run).result() == "HIYOU"


@pytest.mark.parametrize("statement", ["update run set tags = 'no list' where id = 'a'", "update run set status = 'odd' where id = 'a'"])
async def test_a_spoilt_row_of_a_run_hurts_that_run_alone(statement: str, tmp_path: Path) -> None:
    registry = Registry()
    path = tmp_path / "perdure.db"
    async with Environment(CrashableSqliteStore(path), registry=registry) as env:
        for id in ("a", "b", "c"):
            await env.engine.start(declare(registry).options(id=id), "hi")
        await env.kill()
        spoil(path, statement)
        await env.revive()
        for id in ("b", "c"):
            await env.get(id).send(go, "you")
            assert await env.get(id).result() == "HIYOU"
        with pytest.raises(perdure.PerdureError):
            await asyncio.wait_for(env.get("a").send(go, "you"), 5)


async def test_a_message_that_cannot_be_read_is_dropped_and_the_run_goes_on(tmp_path: Path) -> None:
    registry = Registry()
    path = tmp_path / "perdure.db"
    async with Environment(CrashableSqliteStore(path), registry=registry) as env:
        run = (await env.engine.start(declare(registry).options(id="a"), "hi")).id
        await env.kill()
        spoil(path, "insert into inbox (run, id, at_us, body) values ('a', 'x', 1, x'ff00')")
        spoil(path, "insert into inbox (run, id, at_us, body) values ('nobody', 'x', 1, x'ff00')")
        await env.revive()
        await env.get(run).send(go, "you")
        assert await env.get(run).result() == "HIYOU"


async def test_a_signal_of_the_wrong_type_is_refused_and_the_run_goes_on(store: AnyStore) -> None:
    registry = Registry()
    async with Environment(store, registry=registry) as env:
        run = await env.engine.start(declare(registry), "hi")
        with pytest.raises(perdure.errors.InvalidValue, match="bad_go"):
            await run.send(go, 1)  # type: ignore[misc]
        await run.send(go, "you")
        assert await run.result() == "HIYOU"


@pytest.mark.parametrize("is_early", [True, False])
async def test_a_signal_of_the_wrong_type_sent_by_name_stalls_and_code_that_takes_it_goes_on(store: AnyStore, *, is_early: bool) -> None:
    registry = Registry()
    gate = asyncio.Event()

    def deploy(channel: Any) -> Any:
        @action(name="shout", registry=registry)
        async def shout() -> None:
            await gate.wait()

        @workflow(name="listens", registry=registry)
        async def listens() -> str:
            if is_early:
                await shout()
            return str(await channel.receive())

        return listens

    async with Environment(store, registry=registry) as env:
        run = await env.engine.start(deploy(go))
        await run.send("bad_go", 1)
        gate.set()
        assert "Expected `str`, got `int`" in await problem(run)
        deploy(signal("bad_go", int))
        await run.resume()
        assert await run.result() == "1"


async def test_an_error_whose_text_is_no_unicode_ends_its_call_like_any_other(store: AnyStore) -> None:
    registry = Registry()

    @action(name="open", registry=registry)
    async def opening() -> None:
        raise ValueError("no file caf\udce9")

    @workflow(name="opens", registry=registry)
    async def opens() -> str:
        try:
            await opening()
        except perdure.ActionFailed as error:
            return str(error)
        return "no error"

    async with Environment(store, registry=registry) as env:
        assert await env.engine.run(opens) == "builtins:ValueError: no file caf\\udce9"
