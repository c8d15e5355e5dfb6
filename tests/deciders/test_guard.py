"""What cannot be replayed stalls the run, and the error names the line and the durable replacement."""

import asyncio
import datetime
import os
import pathlib
import queue
import random
import secrets
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime as clock
from inspect import getsourcelines
from random import randint
from time import time as wall
from typing import Any

import pytest

import perdure
from perdure.deciders.code import guard
from perdure.insight import StalledReason
from perdure.model.errors import ForbiddenInWorkflow
from perdure.testing.env import Environment

Code = Callable[[], Any]
SETTINGS = {"clock": datetime.datetime.now}
OPEN_DATABASE = sqlite3.connect(":memory:", check_same_thread=False)


class Stopwatch:
    """Reached through a global instance."""

    def read(self) -> float:
        return time.perf_counter()


stopwatch = Stopwatch()


def through_two_functions() -> float:
    return one_more()


def one_more() -> float:
    return wall()


def with_default(now: Code = time.monotonic) -> Any:
    return now()


def lazily_imported() -> str:
    from uuid import uuid4

    return str(uuid4())


def in_a_finally() -> None:
    try:
        raise KeyError
    finally:
        os.getcwd()


def by_name() -> Any:
    return getattr(time, "time")()  # noqa: B009


def of_an_argument(some: Any = datetime) -> Any:
    return some.datetime.now()


def in_another_loop() -> None:
    coroutine = asyncio.sleep(0)
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


FORBIDDEN: list[tuple[Code, str, str]] = [
    # What the interpreter reports.
    (lambda: open("/nowhere"), "open('/nowhere')", "@action"),  # noqa: SIM115
    (lambda: pathlib.Path("/nowhere").read_text(), "open('/nowhere')", "@action"),
    (lambda: os.listdir("/"), "os.listdir()", "@action"),
    (lambda: os.remove("/nowhere"), "os.remove()", "@action"),
    (lambda: time.sleep(0), "sleep()", "await asyncio.sleep"),
    (lambda: socket.socket(), "socket", "@action"),
    (lambda: socket.getaddrinfo("localhost", 80), "socket.getaddrinfo()", "@action"),
    (lambda: urllib.request.urlopen("http://localhost:1/"), "urllib.request.urlopen()", "@action"),
    (lambda: subprocess.run(["true"], check=True), "subprocess.run()", "@action"),
    (lambda: os.system("true"), "os.system()", "@action"),
    (lambda: threading.Thread(target=print).start(), "threading.Thread.start()", "asyncio.create_task"),
    (lambda: sqlite3.connect(":memory:"), "sqlite3.connect()", "@action"),
    (lambda: input(), "input()", "a signal"),
    # Clocks.
    (lambda: time.time(), "time.time()", "perdure.now()"),
    (lambda: time.time_ns(), "time.time_ns()", "perdure.now()"),
    (lambda: time.monotonic(), "time.monotonic()", "perdure.now()"),
    (lambda: clock.now(), "datetime.now()", "perdure.now()"),  # noqa: DTZ005
    (lambda: datetime.datetime.now(datetime.UTC), "datetime.now()", "perdure.now()"),
    (lambda: clock.today(), "datetime.today()", "perdure.now()"),  # noqa: DTZ002
    (lambda: datetime.date.today(), "date.today()", "perdure.now()"),  # noqa: DTZ011
    (lambda: SETTINGS["clock"](), "datetime.now()", "perdure.now()"),
    (through_two_functions, "time.time()", "perdure.now()"),
    (with_default, "time.monotonic()", "perdure.now()"),
    (of_an_argument, "datetime.now()", "perdure.now()"),
    (by_name, "time.time()", "perdure.now()"),
    (lambda: stopwatch.read(), "time.perf_counter()", "perdure.now()"),
    # Chance.
    (lambda: random.random(), "random.random()", "perdure.random()"),
    (lambda: randint(1, 6), "random.Random.randint()", "perdure.random()"),
    (lambda: random.shuffle([1, 2, 3]), "random.Random.shuffle()", "perdure.random()"),
    (lambda: random.seed(1), "random.Random.seed()", "perdure.random()"),
    (lambda: random.Random().random(), "random.Random", "perdure.random()"),
    (lambda: random.SystemRandom().random(), "random.SystemRandom.random()", "perdure.random()"),
    (lambda: os.urandom(4), "urandom()", "perdure.random()"),
    (lambda: secrets.token_hex(), "secrets.token_hex()", "perdure.random()"),
    (lambda: uuid.uuid4(), "uuid.uuid4()", "perdure"),
    (lambda: uuid.uuid1(), "uuid.uuid1()", "perdure.uuid4()"),
    (lazily_imported, "uuid.uuid4()", "perdure"),
    # The host.
    (lambda: os.environ["HOME"], "os._Environ", "an argument of the workflow"),
    (lambda: os.environ.get("HOME"), "get()", "an argument of the workflow"),
    (lambda: os.getenv("HOME"), "os.getenv()", "an argument of the workflow"),
    (lambda: os.getpid(), "getpid()", "an argument of the workflow"),
    (lambda: pathlib.Path("/nowhere").exists(), ".exists() (posix.stat())", "perdure.record"),
    (lambda: os.path.exists("/nowhere"), "genericpath.exists()", "perdure.record"),
    (in_a_finally, "getcwd()", "an argument of the workflow"),
    (lambda: OPEN_DATABASE.execute("SELECT 1"), "Connection.execute()", "@action"),
    # What blocks the engine.
    (lambda: threading.Lock().acquire(), "acquire()", "asyncio.Lock"),
    (lambda: threading.Event().wait(0), "threading.Event.wait()", "asyncio.Lock"),
    (lambda: queue.Queue[int]().get(), "queue.Queue.get()", "asyncio.Lock"),
    (lambda: threading.current_thread().join(), "Thread.join()", "asyncio.Lock"),
    (in_another_loop, "asyncio.runners.run()", "await"),
    (lambda: asyncio.new_event_loop(), "asyncio.events.new_event_loop()", "await"),
]
AWAITED: list[tuple[Callable[[], Awaitable[Any]], str, str]] = [
    (lambda: asyncio.to_thread(print), "loop.run_in_executor()", "an @action: a plain def"),
    (lambda: asyncio.get_running_loop().run_in_executor(None, print), "loop.run_in_executor()", "an @action"),
    (lambda: asyncio.open_connection("localhost", 1), "loop.create_connection()", "an @action"),
    (lambda: asyncio.create_subprocess_exec("true"), "loop.subprocess_exec()", "an @action"),
    (lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1), "loop.getaddrinfo()", "an @action"),
]

forbidden = pytest.mark.parametrize(
    ("code", "what", "instead"), [pytest.param(*row, id=f"{number}-{row[1]}") for number, row in enumerate(FORBIDDEN)]
)


@pytest.fixture
def registry() -> perdure.Registry:
    return perdure.Registry()


def declare(registry: perdure.Registry, code: Code) -> Any:
    """A workflow that takes one durable step and then does what it is given."""

    @perdure.workflow(name="tested", registry=registry)
    async def tested() -> str:
        await asyncio.sleep(1)
        done = code()
        if asyncio.iscoroutine(done) or asyncio.isfuture(done):
            await done
        return "done"

    return tested


async def reason(env: Environment, workflow: Any) -> str:
    """Run until the run is stalled and tell why."""
    run = await env.start(workflow.options(id="it"))
    await env.advance("2s")
    assert await run.status() is perdure.Status.STALLED
    [why] = await run.why()
    assert isinstance(why, StalledReason)
    return why.problem


def line_within(code: Code, problem: str) -> bool:
    """Tell whether the problem begins with a line of this file, inside the code or what it calls here."""
    place, _, _ = problem.partition(": ")
    path, _, number = place.rpartition(":")
    lines, first = getsourcelines(code)
    helpers = getsourcelines(one_more), getsourcelines(Stopwatch.read)
    ranges = [(first, len(lines)), *((start, len(text)) for text, start in helpers)]
    return path == "deciders/test_guard.py" and any(start <= int(number) < start + length for start, length in ranges)


@forbidden
@pytest.mark.covers("I13")
async def test_a_forbidden_call_stalls_the_run_and_names_line_call_and_replacement(
    code: Code, what: str, instead: str, registry: perdure.Registry
) -> None:
    async with Environment(registry=registry) as env:
        problem = await reason(env, declare(registry, code))
    assert what in problem
    assert instead in problem
    assert line_within(code, problem)


@pytest.mark.parametrize(("code", "what", "instead"), AWAITED)
@pytest.mark.covers("I13")
async def test_io_through_the_loop_stalls_the_run_and_names_line_and_replacement(
    code: Code, what: str, instead: str, registry: perdure.Registry
) -> None:
    async with Environment(registry=registry) as env:
        problem = await reason(env, declare(registry, code))
    assert what in problem
    assert instead in problem
    assert problem.startswith("deciders/test_guard.py:")


@pytest.mark.covers("I13", "I31")
async def test_a_run_stalled_by_the_guard_goes_on_with_fixed_code(registry: perdure.Registry) -> None:
    async with Environment(registry=registry) as env:
        assert "time.time()" in await reason(env, declare(registry, lambda: time.time()))
        declare(registry, lambda: perdure.now())
        run = env.get("it")
        await run.resume()
        await env.settle()
        assert await run.result() == "done"


@pytest.mark.covers("I13")
async def test_code_that_swallows_the_error_is_stalled_all_the_same(registry: perdure.Registry) -> None:
    def swallow() -> None:
        for _ in range(2):
            try:
                time.sleep(0)
            except BaseException:  # noqa: S112
                continue

    async with Environment(registry=registry) as env:
        assert "time.sleep()" in await reason(env, declare(registry, swallow))


async def test_a_library_is_named_by_what_the_author_called(registry: perdure.Registry) -> None:
    def fetch() -> None:
        urllib.request.urlopen("http://localhost:1/x")

    async with Environment(registry=registry) as env:
        problem = await reason(env, declare(registry, fetch))
    assert problem.startswith(f"deciders/test_guard.py:{getsourcelines(fetch)[1] + 1}: urllib.request.urlopen() (")


async def test_a_class_workflow_is_guarded_in_all_its_methods(registry: perdure.Registry) -> None:
    @perdure.workflow(name="tested", registry=registry)
    class Tested:
        def __init__(self) -> None:
            self.clock = clock

        async def run(self) -> None:
            await asyncio.sleep(1)
            self.hidden()

        def hidden(self) -> None:
            self.clock.now()

    async with Environment(registry=registry) as env:
        assert "datetime.now()" in await reason(env, Tested)


@pytest.mark.covers("I13")
async def test_what_a_query_or_validator_may_not_do_fails_it_and_leaves_the_run_alone(registry: perdure.Registry) -> None:
    @perdure.workflow(name="tested", registry=registry)
    class Tested:
        async def run(self) -> str:
            await asyncio.sleep(1)
            return "done"

        @perdure.query
        def age(self) -> float:
            return time.time()

        @perdure.query
        def lines(self) -> str:
            return open("/nowhere").read()

        @perdure.update
        def change(self) -> None: ...

        @change.validator
        def check(self) -> None:
            random.random()

    async with Environment(registry=registry) as env:
        run = await env.start(Tested)
        with pytest.raises(ForbiddenInWorkflow, match=r"time\.time\(\).*perdure\.now\(\)"):
            await run.query(Tested.age)
        with pytest.raises(ForbiddenInWorkflow, match="open"):
            await run.query("lines")
        with pytest.raises(ForbiddenInWorkflow, match=r"random\.random\(\)"):
            await run.update("change")
        assert await env.finish(run) == "done"


@pytest.mark.covers("I13", "I27")
async def test_a_recorded_side_effect_may_do_everything(registry: perdure.Registry) -> None:
    def look() -> list[Any]:
        return [time.time() > 0, os.getpid(), bool(os.environ.get("PATH")), len(os.listdir("/")) > 0, random.random() < 1]

    @perdure.workflow(name="tested", registry=registry)
    async def tested() -> list[Any]:
        return perdure.record(look)

    async with Environment(registry=registry) as env:
        assert await env.run(tested) == [True, os.getpid(), True, True, True]


async def test_clean_up_code_of_a_run_that_is_put_down_has_no_effect(registry: perdure.Registry, tmp_path: pathlib.Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()

    @perdure.workflow(name="tested", registry=registry)
    async def tested() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            precious.unlink()

    async with Environment(registry=registry) as env:
        await env.start(tested)
    assert precious.exists()


async def test_code_outside_workflows_is_not_touched(registry: perdure.Registry) -> None:
    @perdure.action(registry=registry)
    async def work() -> bool:
        return time.time() > 0 and bool(os.listdir("/")) and random.random() < 1

    @perdure.workflow(name="tested", registry=registry)
    async def tested() -> bool:
        return await work()

    async with Environment(registry=registry) as env:
        with guard.strict():
            assert await env.run(tested)


async def test_a_profiler_at_work_is_left_in_place(registry: perdure.Registry) -> None:
    def profile(*_: object) -> None: ...

    tested = declare(registry, lambda: time.time())
    async with Environment(registry=registry) as env:
        sys.setprofile(profile)
        try:
            await env.run(tested)
            assert sys.getprofile() is profile
        finally:
            sys.setprofile(None)


async def test_the_watch_ends_with_the_transition(registry: perdure.Registry) -> None:
    async with Environment(registry=registry) as env:
        await reason(env, declare(registry, lambda: time.time()))
        assert sys.getprofile() is None
