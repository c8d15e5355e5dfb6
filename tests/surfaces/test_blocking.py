"""The engine for programs without an event loop: same names, same effects, and a thread that never leaves anybody waiting for ever."""

import asyncio
import inspect
import signal as signals
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure import Registry, Status, action, blocking, query, signal, update, workflow
from perdure.model.errors import EngineClosed, Unsupported

registry = Registry()
go = signal("go", int)
entered = threading.Event()
leave = threading.Event()


@action(registry=registry)
async def double(n: int) -> int:
    return 2 * n


@action(registry=registry)
def hold(n: int) -> int:
    entered.set()
    assert leave.wait(30)
    return n + 1


@action(registry=registry)
async def ask_elsewhere(key_name: str) -> str:
    keys[key_name] = perdure.attempt().key
    answer: str = perdure.pending()
    return answer


keys: dict[str, str] = {}


@workflow(registry=registry)
async def doubled(n: int) -> int:
    perdure.publish(n=n)
    return await double(n)


@workflow(registry=registry)
async def signalled() -> int:
    return await go.receive()


@workflow(registry=registry)
async def held(n: int) -> int:
    return await hold(n)


@workflow(registry=registry)
async def asked(name: str) -> str:
    return await ask_elsewhere(name)


@workflow(registry=registry)
async def broken() -> None:
    raise LookupError("gone")


class Counter:
    def __init__(self) -> None:
        self.n = 0

    async def run(self) -> int:
        return await go.receive() + self.n

    @update
    def add(self, n: int) -> int:
        self.n += n
        return self.n

    @query
    def now(self) -> int:
        return self.n


counter = workflow(registry=registry)(Counter)


def until(run: blocking.Run[Any], name: str) -> None:
    """Wait for a fact of that name."""
    assert any(entry.name == name for entry in run.watch())


@pytest.fixture
def engine() -> Iterator[blocking.Engine]:
    entered.clear()
    leave.clear()
    with blocking.Engine("memory://", registry=registry, drain="10s") as opened:
        yield opened
        leave.set()


def test_a_run_is_started_and_waited_for_without_await(engine: blocking.Engine) -> None:
    assert engine.run(doubled, 4) == 8
    run = engine.start(doubled.options(id="a", tags=["t"]), 5)
    assert run.result() == 10
    assert (run.status(), run.state(), run.why()) == (Status.COMPLETED, {"n": 5}, [])
    assert [row.id for row in engine.list(tag="t")] == ["a"]
    assert engine.get("a", doubled).result() == 10
    assert engine.is_node
    with pytest.raises(LookupError, match="gone"):
        engine.run(broken)


def test_the_journal_is_an_iterator_and_watching_ends_with_the_run(engine: blocking.Engine) -> None:
    run = engine.start(signalled)
    watched = run.watch()
    seen = [next(watched).name]
    run.send(go, 3)
    seen += [entry.name for entry in watched]
    assert seen == [entry.name for entry in run.journal()]
    assert (seen[0], seen[-1]) == ("RunStarted", "RunCompleted")


def test_a_watch_that_is_left_half_way_holds_nothing(engine: blocking.Engine) -> None:
    run = engine.start(signalled)
    for _ in run.watch():
        break
    run.send(go, 3)
    assert run.result() == 3


def test_updates_queries_cancel_and_outcomes_from_outside_work_alike(engine: blocking.Engine) -> None:
    run = engine.start(counter)
    assert (run.update(Counter.add, 2), run.update("add", 2, update_id="once"), run.update("add", 2, update_id="once")) == (2, 4, 4)
    assert run.query(Counter.now) == 4
    assert run.cancel("enough")
    with pytest.raises(perdure.RunCancelled):
        run.result()
    assert not run.cancel()
    first, second = engine.start(asked, "first"), engine.start(asked, "second")
    until(first, "ActionPending")
    until(second, "ActionPending")
    engine.complete(keys["first"], "yes")
    engine.fail(keys["second"], LookupError("no"))
    assert first.result() == "yes"
    with pytest.raises(LookupError, match="no"):
        second.result()


def test_a_wait_that_takes_too_long_ends_and_the_run_goes_on(engine: blocking.Engine) -> None:
    run = engine.start(signalled)
    with pytest.raises(TimeoutError):
        run.result(timeout="10ms")
    run.send(go, 1)
    assert run.result(timeout="30s") == 1


def test_an_interrupt_while_waiting_leaves_engine_and_run_usable(engine: blocking.Engine) -> None:
    def interrupt() -> None:
        entered.wait(30)
        signals.pthread_kill(threading.main_thread().ident or 0, signals.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        engine.run(held.options(id="held"), 1)
    interrupter.join()
    assert engine.run(doubled, 2) == 4
    leave.set()
    assert engine.get("held", held).result() == 2


def test_many_threads_share_one_engine(engine: blocking.Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: engine.run(doubled.options(id=f"r{n % 40}"), n % 40), range(200)))
    assert found == [2 * (n % 40) for n in range(200)]
    assert len(engine.list(limit=1_000)) == 40


@pytest.mark.covers("I37")
def test_close_waits_for_attempts_under_way_and_nothing_is_done_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    entered.clear()
    leave.clear()
    engine = blocking.Engine(url, registry=registry).open()
    run = engine.start(held.options(id="held"), 1)
    assert entered.wait(30)
    closing = threading.Thread(target=engine.close)
    closing.start()
    leave.set()
    closing.join()
    entered.clear()
    with blocking.Engine(url, registry=registry) as again:
        assert again.get(run.id, held).result() == 2
        assert not entered.is_set()


def test_whoever_waits_is_told_that_the_engine_has_closed(tmp_path: Path) -> None:
    engine = blocking.Engine(f"sqlite:///{tmp_path}/app.db", registry=registry).open()
    run = engine.start(signalled)
    with ThreadPoolExecutor(2) as pool:
        waits: list[Future[Any]] = [pool.submit(run.result), pool.submit(lambda: list(run.watch()))]
        until(run, "SignalAwaited")
        engine.close()
        assert [type(wait.exception(30)) for wait in waits] == [EngineClosed, EngineClosed]


def test_a_closed_engine_says_so_and_opens_again(tmp_path: Path) -> None:
    engine = blocking.Engine(f"sqlite:///{tmp_path}/app.db", registry=registry)
    engine.close()
    with pytest.raises(EngineClosed):
        engine.start(doubled, 1)
    for n in range(2):
        with engine:
            assert engine.run(doubled, n) == 2 * n
        engine.close()


def test_an_engine_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "app.db").write_text("this is no database at all, and it is longer than one page header of a hundred bytes " * 2)
    before = threading.active_count()
    with pytest.raises(perdure.PerdureError):
        blocking.Engine(f"sqlite:///{tmp_path}/app.db").open()
    assert threading.active_count() == before


def test_a_call_in_the_engines_own_loop_is_refused_not_stuck(engine: blocking.Engine) -> None:
    inside = Registry()

    @action(registry=inside)
    async def stuck() -> int:
        return own.run(doubled, 1)

    @action(registry=inside)
    def fine() -> bool:
        return own.get("none").id == "none"

    @workflow(registry=inside)
    async def calls() -> int:
        await fine()
        return await stuck()

    with blocking.Engine("memory://", registry=inside) as own, pytest.raises(Unsupported, match="own event loop"):
        own.run(calls)


LEFT_OUT = {"crash", "node", "start_in", "store"}
"""For tests and diagnosis of the engine itself; a connection that starts in its transaction belongs to an event loop of its own."""


def members_of(owner: type) -> dict[str, Any]:
    """Give what a class has of its own and of the parts that it is made of."""
    return {name: value for part in reversed(owner.__mro__) if part is not object for name, value in vars(part).items()}


@pytest.mark.parametrize(("plain", "full"), [(blocking.Engine, perdure.Engine), (blocking.Run, perdure.Run)])
def test_the_methods_are_those_of_the_engine_with_await(plain: type, full: type) -> None:
    def public(owner: type) -> dict[str, list[str]]:
        members = {name: value for name, value in members_of(owner).items() if not name.startswith("_") and callable(value)}
        return {name: list(inspect.signature(value).parameters) for name, value in members.items() if name not in LEFT_OUT}

    expected = public(full)
    if "result" in expected:
        expected["result"].append("timeout")
    assert public(plain) == expected
    assert public_options(plain) == public_options(full) or plain is blocking.Run


def public_options(owner: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(owner).parameters)


def test_a_wait_that_has_ended_leaves_nothing_behind(engine: blocking.Engine) -> None:
    loop: Any = engine._thread._loop
    run = engine.start(signalled)
    until(run, "SignalAwaited")
    before = len(asyncio.all_tasks(loop))
    for _ in range(20):
        with pytest.raises(TimeoutError):
            run.result(timeout=0)
    until(run, "SignalAwaited")
    assert len(asyncio.all_tasks(loop)) <= before + 1


def test_a_client_that_waits_on_another_engine_is_told_when_its_own_closes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with blocking.Engine(url, registry=registry) as node, ThreadPoolExecutor(1) as pool:
        run = node.start(signalled.options(id="s"))
        client = blocking.Engine(url, registry=registry, is_client=True).open()
        assert not client.is_node
        handle = client.get("s", signalled)
        wait: Future[Any] = pool.submit(handle.result)
        until(handle, "SignalAwaited")
        client.close()
        assert isinstance(wait.exception(30), EngineClosed)
        run.send(go, 1)
        assert run.result() == 1
