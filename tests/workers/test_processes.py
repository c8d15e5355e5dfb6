"""Actions in processes: values, errors, crashes, cancellation."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import Registry, action, errors, workflow
from perdure.codecs.compression import Compression
from perdure.deciders.code.authoring import Action
from perdure.model.call import Attempt, Outcome
from perdure.model.codec import Serializer
from perdure.model.payload import EMPTY_CONTENT, Content
from perdure.ports.system import SystemClock
from perdure.testing.env import Environment
from perdure.workers.executors import LocalPerformer
from perdure.workers.processes import pool
from tests.workers import apart
from tests.workers.broker import attempt, until


class Bench:
    """A performer, and what it said."""

    def __init__(self, serializer: Serializer, processes: int) -> None:
        self.serializer = serializer
        self.performer = LocalPerformer(SystemClock(), serializer, 2, processes_max=processes)
        self.outcomes: dict[str, Outcome] = {}
        self.beats: list[Content] = []

    def begin(self, asked: Attempt) -> Any:
        return self.performer.perform(asked, self._deliver, lambda _, content: self.beats.append(content))

    def _deliver(self, asked: Attempt, outcome: Outcome) -> None:
        self.outcomes[asked.run] = outcome

    async def outcome(self, wanted: Action[..., Any], *args: Any, run: str = "r", **options: Any) -> Outcome:
        self.begin(attempt(wanted.spec, *args, run=run, **options))
        await until(lambda: run in self.outcomes)
        return self.outcomes.pop(run)

    async def value(self, wanted: Action[..., Any], *args: Any, **options: Any) -> Any:
        found = await self.outcome(wanted, *args, **options)
        assert found.content is not None, found
        return self.serializer.decode(found.content)


@asynccontextmanager
async def bench(serializer: Serializer | None = None, processes: int = 1) -> AsyncIterator[Bench]:
    found = Bench(serializer or Serializer(), processes)
    try:
        yield found
    finally:
        await found.performer.close()


async def test_an_action_runs_in_a_process_that_serves_the_next_one_too() -> None:
    async with bench() as found:
        squared, first = await found.value(apart.square, 7)
        assert squared == 49
        assert first != os.getpid()
        assert await found.value(apart.square, 3) == [9, first]


async def test_as_many_run_at_once_as_there_are_processes() -> None:
    async with bench(processes=2) as found:
        for run in ("a", "b"):
            found.begin(attempt(apart.hang.spec, run=run))
        found.begin(attempt(apart.square.spec, 1, run="c"))
        await until(lambda: len(found.beats) == 2)
        assert found.beats[0] != found.beats[1]
        assert found.outcomes == {}


async def test_bytes_and_keywords_come_through_and_codecs_stay_with_the_worker() -> None:
    serializer = Serializer([Compression(bytes_min=1)])
    async with bench(serializer) as found:
        big = b"x" * 200_000
        asked = Attempt(
            *msgspec.structs.astuple(attempt(apart.join.spec))[:5],
            args=(serializer.encode(big),),
            kwargs={"second": serializer.encode(b"y" * 1_000)},
        )
        found.begin(asked)
        await until(lambda: found.outcomes)
        content = found.outcomes["r"].content
        assert content is not None
        assert "+" in content.codec
        assert serializer.decode(content) == big + b"y" * 1_000


async def test_the_error_of_a_process_is_the_error_of_the_attempt() -> None:
    async with bench() as found:
        outcome = await found.outcome(apart.fail, "why not")
        assert outcome.failure is not None
        assert (outcome.failure.type, outcome.failure.message) == ("tests.workers.apart:Odd", "why not")
        assert "raise Odd(text)" in outcome.failure.traceback
        assert outcome.error_types[0] == "tests.workers.apart:Odd"
        assert (await found.outcome(apart.later, "x")).retry_after_us == 5_000_000
        opened = await found.outcome(apart.leave_open)
        assert (opened.content, opened.failure) == (None, None)
        assert (await found.outcome(apart.leave_empty)).content == EMPTY_CONTENT


@pytest.mark.parametrize(
    ("wanted", "args", "type_name"),
    [
        (apart.square, ("seven",), "InvalidArguments"),
        (apart.lie, (), "InvalidValue"),
        (apart.nothing_plain, (), "InvalidValue"),
    ],
)
async def test_values_of_wrong_types_are_final_errors(wanted: Action[..., Any], args: tuple[Any, ...], type_name: str) -> None:
    async with bench() as found:
        outcome = await found.outcome(wanted, *args)
        assert outcome.failure is not None
        assert outcome.failure.is_final
        assert type_name in outcome.failure.type or type_name in str(outcome.failure.cause)


@pytest.mark.parametrize(("code", "how"), [(-signal.SIGKILL, "signal 9 (SIGKILL)"), (3, "exit code 3")])
async def test_a_crash_fails_its_attempt_alone_and_the_next_gets_a_new_process(code: int, how: str) -> None:
    async with bench() as found:
        _, first = await found.value(apart.square, 1)
        outcome = await found.outcome(apart.crash, code)
        assert outcome.failure is not None
        assert outcome.failure.type == "perdure.model.errors:ProcessDied"
        assert not outcome.failure.is_final
        assert outcome.failure.message == f"the process of crash ended by {how} during attempt 1"
        _, second = await found.value(apart.square, 1)
        assert second != first


async def test_a_process_that_dies_while_it_is_idle_costs_no_attempt() -> None:
    async with bench() as found:
        _, first = await found.value(apart.square, 1)
        os.kill(first, signal.SIGKILL)
        process = found.performer._processes._idle[0]
        await until(lambda: not process.is_alive)
        _, second = await found.value(apart.square, 1)
        assert second != first


@pytest.mark.covers("I36")
async def test_the_attempt_is_known_in_the_process() -> None:
    async with bench() as found:
        details = found.serializer.encode({"done": 3})
        asked = msgspec.structs.replace(attempt(apart.identity.spec, run="r7", number=4), details=details)
        found.begin(asked)
        await until(lambda: found.outcomes)
        content = found.outcomes["r7"].content
        assert content is not None
        assert found.serializer.decode(content) == ["r7#1#1", "r7", 4, {"done": 3}]


async def test_a_cancelled_action_sees_it_and_its_process_is_used_again(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    async with bench() as found:
        performance = found.begin(attempt(apart.beat_until_cancelled.spec, str(seen)))
        await until(lambda: found.beats)
        assert found.serializer.decode(found.beats[0]) == {"at": 1}
        process = next(iter(found.performer._processes._busy))
        performance.cancel()
        await until(lambda: found.outcomes)
        failure = found.outcomes["r"].failure
        assert failure is not None
        assert "CancelledError" in failure.type
        await until(seen.exists)
        await until(lambda: found.performer._processes._idle == [process])


async def test_an_action_that_does_not_return_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GRACE_S", 0.01)
    async with bench() as found:
        performance = found.begin(attempt(apart.hang.spec))
        await until(lambda: found.beats)
        child = found.serializer.decode(found.beats[0])
        performance.cancel()
        await until(lambda: not _lives(child))
        assert (await found.value(apart.square, 2, run="next"))[0] == 4


@pytest.mark.covers("I18")
async def test_an_attempt_that_takes_too_long_ends_and_its_process_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GRACE_S", 0.01)
    async with bench() as found:
        await found.value(apart.square, 1)
        outcome = await found.outcome(apart.hang.options(timeout="50ms"))
        assert outcome.failure is not None
        assert outcome.failure.type == "perdure.model.errors:ActionTimedOut"
        await until(lambda: not found.performer._processes._busy)


async def test_no_process_is_left_when_the_performer_is_closed() -> None:
    async with bench(processes=2) as found:
        _, idle = await found.value(apart.square, 1)
        found.begin(attempt(apart.hang.spec, run="h"))
        found.begin(attempt(apart.hang.spec, run="i"))
        await until(lambda: len(found.beats) == 2)
        children = {idle, *(found.serializer.decode(entry) for entry in found.beats)}
    assert not [child for child in children if _lives(child)]


def _lives(child: int) -> bool:
    try:
        os.kill(child, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_ends_with_its_worker(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, timeout=30, check=False, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    word, child = done.stdout.split()[0], int(done.stdout.split()[-1])
    assert word == b"mine", "an exception of the program itself comes back as its own class"
    asyncio.run(until(lambda: not _lives(child)))


_PROGRAM = """
import asyncio, os, signal
import perdure

class Own(Exception): ...

@perdure.action(runs_in="process")
def fail() -> None:
    raise Own("mine")

@perdure.action(runs_in="process")
def kill_the_worker() -> None:
    print(os.getpid(), flush=True)
    os.kill(os.getppid(), signal.SIGKILL)
    while True:
        pass

@perdure.workflow
async def both() -> None:
    try:
        await fail()
    except Own as error:
        print(error, flush=True)
    await kill_the_worker()

async def main() -> None:
    async with perdure.Engine("memory://") as engine:
        await engine.run(both)

if __name__ == "__main__":
    asyncio.run(main())
"""


registry = Registry()


@workflow(registry=registry)
async def squares(numbers: list[int]) -> list[int]:
    return [(await apart.square(number))[0] for number in numbers]


async def test_the_engine_performs_them_too() -> None:
    for spec in (apart.square.spec,):
        registry.add_action(spec)
    async with Environment(registry=registry) as env:
        assert await env.run(squares, [2, 3]) == [4, 9]


async def test_called_outside_a_workflow_it_is_the_plain_function() -> None:
    assert await apart.square(3) == (9, os.getpid())


def test_what_cannot_run_in_a_process_is_refused_where_it_is_declared() -> None:
    with pytest.raises(errors.InvalidOption, match="inside a function"):

        @action(registry=Registry(), runs_in="process")
        def local() -> None: ...

    with pytest.raises(errors.InvalidOption, match="async def"):

        @action(registry=Registry(), runs_in="process")
        async def waiting() -> None: ...

    with pytest.raises(errors.InvalidOption, match="runs_in"):
        action(runs_in="elsewhere")(lambda: None)  # type: ignore[call-overload]
