"""The workers of the examples, in bash and in Node.js: real processes that ask a real server."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import Engine
from perdure.api.opening import api
from perdure.client.named import NamedWorkflow
from perdure.control.tokens import Tokens
from perdure.ports.store import Hint
from perdure.ports.system import SystemClock
from perdure.ports.transport import Packet, calls_address
from perdure.stores.memory import MemoryStore
from perdure.wire.encoding import encode
from perdure.wire.messages import VERSION, Call
from tests.api.flows import registry
from tests.api.house import around, until
from tests.api.test_workers import posted

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {"worker.sh": ("bash", "curl"), "worker.mjs": ("node",)}


def command(name: str) -> list[str]:
    for program in NEEDS[name]:
        if shutil.which(program) is None:
            why = f"{program} is not installed"
            pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return [NEEDS[name][0], str(EXAMPLES / name)]


@contextlib.asynccontextmanager
async def worker(name: str, url: str, token: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "PERDURE_API": url, "PERDURE_TOKEN": token}
    process = await asyncio.create_subprocess_exec(
        *command(name), env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            # As Ctrl-C in a terminal would: bash and the curl that waits for it are told at once.
            os.killpg(process.pid, signal.SIGTERM)
            await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().rstrip()


def call(run: str, action: str, *args: Any) -> Call:
    key = f"{run}#1#2/1"
    values = [msgspec.Raw(msgspec.json.encode(value)) for value in args]
    return Call(v=VERSION, id=f"{key}~1.1", key=key, run=run, call="2/1", attempt=1, action=action, args=values, sent_ms=1, lease_ms=10_000)


async def ends(store: MemoryStore, run: str) -> dict[str, Any]:
    return (await until(lambda: posted(store, run)))[0]


@pytest.mark.covers("F6", "I15")
@pytest.mark.parametrize(
    ("name", "action", "args", "value"),
    [
        ("worker.sh", "crop", ("ä b.jpg", 60), "ä b.jpg, 60 pixels wide, by bash"),
        ("worker.mjs", "greet", ("Ann",), {"text": "Hello, Ann, from Node.js"}),
    ],
)
async def test_a_worker_in_another_language_performs_calls_and_says_what_went_wrong(
    name: str, action: str, args: tuple[Any, ...], value: Any
) -> None:
    store = MemoryStore()
    token = await Tokens(store, SystemClock()).create("worker", ["calls"])
    async with (
        Engine(store, registry=registry, is_client=True) as engine,
        api(engine, "127.0.0.1", 0, around=around(engine)) as url,
        worker(name, url, token) as process,
    ):
        assert f"for calls of {action}" in await line(process)
        for run, given in (("r 1/ü", args), ("bad", ())):
            await engine.start(NamedWorkflow(name="sleeper", id=run))
            sent = call(run, action, *given)
            address = calls_address("default", action, 1)
            await store.put_packets([(address, Packet(sent.id, encode(sent)))], 0)
            store.announce(Hint(called=frozenset([address])))
        done, failed = await ends(store, "r 1/ü"), await ends(store, "bad")
        assert done["value"]["json"] == value
        assert failed["error"]["message"] in ("crop takes a name and a width", "whom?")
