"""What is harmless passes, watched or not, and costs nothing where the code is clean."""

import asyncio
import collections
import dataclasses
import datetime
import decimal
import functools
import hashlib
import itertools
import json
import logging
import math
import os.path
import pathlib
import random
import re
import subprocess
import sys
import time
import traceback
import uuid
import warnings
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

import perdure
from perdure.deciders.code import guard
from perdure.deciders.code.guard import scan
from perdure.deciders.code.guard.scan import is_suspicious
from perdure.testing.env import Environment

SEEDED = random.Random(7)
STARTED = datetime.datetime.now(datetime.UTC)
logger = logging.getLogger(__name__)


@dataclasses.dataclass(order=True)
class Point:
    x: int
    y: int = 2
    tags: list[str] = dataclasses.field(default_factory=list)


def lazy_import() -> Any:
    """A module that is not loaded yet is looked for and read."""
    sys.modules.pop("colorsys", None)
    import colorsys

    return colorsys.rgb_to_hsv(1, 0, 0)


def log_and_warn() -> None:
    logger.info("a line with %s", "arguments")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("a warning", stacklevel=1)


def format_error() -> str:
    try:
        raise ValueError("an error of the author's")
    except ValueError:
        return traceback.format_exc()


def finalise() -> None:
    """What the collector runs in the middle of a step is not the author's doing."""

    class Leaves:
        def __del__(self) -> None:
            time.sleep(0)
            time.time()

    Leaves()
    kept = Point(1)
    weakref.finalize(kept, time.sleep, 0)
    del kept


PERMITTED: list[Callable[[], Any]] = [
    lambda: sum(i * i for i in range(1000)),
    lambda: sorted([Point(2), Point(1)]),
    lambda: dataclasses.asdict(dataclasses.replace(Point(1), y=5)),
    lambda: dataclasses.make_dataclass("Made", ["a"])(1),
    lambda: collections.namedtuple("Made", "a b")(1, 2),
    lambda: json.loads(json.dumps({"a": [1, 2.5, None]})),
    lambda: re.sub(r"(\w+)-(\d+)", r"\2-\1", "abc-12"),
    lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=2) > STARTED,
    lambda: datetime.datetime.fromisoformat("2020-01-01T00:00:00+00:00").strftime("%d.%m."),
    lambda: time.strptime("2020", "%Y").tm_year,
    lambda: SEEDED.choice([1, 2, 3]) + random.Random("seed").randint(1, 6),
    lambda: perdure.random().choice([1, 2, 3]),
    lambda: [perdure.now(), perdure.uuid4(), perdure.info().id],
    lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "example.org"),
    lambda: uuid.UUID(int=5),
    lambda: os.path.join("a", "b") + os.path.basename("/c/d"),
    lambda: str(pathlib.PurePosixPath("/a") / "b"),
    lambda: hashlib.sha256(b"abc").hexdigest(),
    lambda: decimal.Decimal("1.10") * 3,
    lambda: [*itertools.accumulate([1, 2, 3]), math.floor(2.5)],
    lambda: functools.lru_cache(lambda x: x + 1)(2),
    lambda: asyncio.get_running_loop().time() > 0,
    lambda: print("to the terminal"),  # noqa: T201
    lazy_import,
    log_and_warn,
    format_error,
    finalise,
]


@pytest.mark.parametrize("watched", [True, False], ids=["strict", "usual"])
@pytest.mark.parametrize("code", PERMITTED)
@pytest.mark.covers("I13")
async def test_harmless_code_passes(code: Callable[[], Any], watched: bool) -> None:
    @perdure.workflow(name="tested", registry=(registry := perdure.Registry()))
    async def tested() -> str:
        await asyncio.sleep(1)
        code()
        return "done"

    with guard.strict() if watched else nullcontext():
        async with Environment(registry=registry) as env:
            assert await env.run(tested) == "done"


def test_a_file_handler_of_the_log_may_open_its_file_in_a_workflow(tmp_path: pathlib.Path) -> None:
    handler = logging.FileHandler(tmp_path / "log", delay=True)
    own = logging.getLogger("perdure.test.delayed")
    own.addHandler(handler)

    @perdure.workflow(name="tested", registry=(registry := perdure.Registry()))
    async def tested() -> None:
        own.warning("a line")

    async def main() -> None:
        async with Environment(registry=registry) as env:
            await env.run(tested)

    try:
        asyncio.run(main())
    finally:
        own.removeHandler(handler)
        handler.close()
    assert (tmp_path / "log").read_text() == "a line\n"


def test_a_module_read_in_the_middle_of_a_workflow_may_do_all_that_modules_do(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    (tmp_path / "perdure_test_module.py").write_text(
        "import os, time, random, uuid\nloaded = (time.time(), os.environ.get('HOME'), random.random(), uuid.uuid4(), os.listdir('.'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    @perdure.workflow(name="tested", registry=(registry := perdure.Registry()))
    async def tested() -> int:
        import perdure_test_module  # type: ignore[import-not-found]

        return len(perdure_test_module.loaded)

    async def main() -> int:
        async with Environment(registry=registry) as env:
            return await env.run(tested)

    with guard.strict():
        assert asyncio.run(main()) == 5


def clean_helper(point: Point) -> int:
    return point.x + len(json.dumps([point.y]))


@perdure.action(registry=perdure.Registry())
async def work(point: Point) -> float:
    return time.time()


async def clean(point: Point) -> list[float]:
    """Written as the documentation writes: it must not be watched."""
    image = await work(point)
    results = await asyncio.gather(*(work(Point(n)) for n in range(3)))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1))
    if perdure.now() > STARTED and perdure.random().random() > 2:
        logger.warning("at %s", perdure.uuid4())
    return [image, *results, clean_helper(point)]


class Own:
    def dirty(self) -> float:
        return time.time()


async def dirty_by_annotation(own: Own) -> None:
    own.dirty()


async def dirty_by_closure() -> None:
    own = Own()

    def inner() -> float:
        return own.dirty()

    inner()


async def dirty_by_partial() -> None:
    functools.partial(time.time)()


async def dirty_by_exec() -> None:
    exec("import time; time.time()")


def test_clean_code_is_not_watched() -> None:
    assert not is_suspicious(clean)
    assert guard.for_function(clean) is None


@pytest.mark.parametrize("code", [dirty_by_annotation, dirty_by_closure, dirty_by_partial, dirty_by_exec, Own().dirty])
def test_code_that_may_reach_a_clock_is_watched(code: Callable[..., Any]) -> None:
    assert is_suspicious(getattr(code, "__func__", code))


def test_strictness_ends_with_its_block() -> None:
    with guard.strict():
        assert guard.for_function(clean) is not None
    assert guard.for_function(clean) is None


def test_an_endless_reach_is_watched_rather_than_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "REACHED_MAX", 1)
    assert is_suspicious(clean)


HOOK_AND_NOTHING_ELSE = """
import perdure.deciders.code.guard as guard, subprocess, sys, threading, time
threads = [threading.Thread(target=guard.install) for _ in range(8)]
seen = []
original = sys.addaudithook
sys.addaudithook = lambda hook: (seen.append(hook), time.sleep(0.01), original(hook))
[thread.start() for thread in threads]; [thread.join() for thread in threads]
guard.install()
print(len(seen), open("/dev/null").read() == "", time.time() > 0)
"""


def test_the_guard_is_installed_once_whoever_asks_and_leaves_the_process_alone() -> None:
    done = subprocess.run([sys.executable, "-c", HOOK_AND_NOTHING_ELSE], capture_output=True, text=True, check=True)
    assert done.stdout == "1 True True\n"
