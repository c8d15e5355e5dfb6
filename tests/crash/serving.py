"""A process that serves runs until it is told to end: ``python -m tests.crash.serving FOLDER DRAIN [broken]``.

It tells on its output whether it became the node, and of every attempt that began. A line on its input opens the gate.
SIGTERM closes the engine in good order.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import perdure
from perdure import Engine, Limits, action, workflow
from perdure.stores.sqlite import SqliteStore

RUNNING_MAX = 4
CALLS = 6
gate = asyncio.Event()
word = perdure.signal("serving_word", str)
_folder = Path()
_is_broken = False


def tell(what: str) -> None:
    os.write(sys.stdout.fileno(), f"{what}\n".encode())


def note(what: str) -> None:
    """A line in the ledger, whole and outliving the process."""
    ledger = os.open(_folder / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{what}\n".encode())
    os.close(ledger)


@action(name="serving_work")
async def work(number: int) -> int:
    current = perdure.attempt()
    note(f"{current.key} {current.number}")
    tell(f"began {number}")
    await gate.wait()
    return number


@action(name="serving_pay", on_lost="fail")
async def pay(number: int) -> int:
    current = perdure.attempt()
    note(f"{current.key} {current.number}")
    tell(f"began {number}")
    await gate.wait()
    return number


@action(name="serving_beat")
async def beat() -> Any:
    current = perdure.attempt()
    if current.details is not None:
        return current.details
    current.heartbeat({"done": 41})
    tell("beaten")
    await gate.wait()
    return None


@action(name="serving_ask")
async def ask() -> Any:
    note(perdure.attempt().key)
    tell("asked")
    return perdure.pending()


@workflow(name="serving_busy")
async def busy() -> list[int]:
    return list(await asyncio.gather(*(work(number) for number in range(CALLS))))


@workflow(name="serving_paying")
async def paying() -> str:
    try:
        return str(await pay(1))
    except perdure.ActionFailed as error:
        return type(error).__name__


@workflow(name="serving_beating")
async def beating() -> Any:
    return await beat()


@workflow(name="serving_asking")
async def asking() -> int:
    number: int = await perdure.call("serving_ask", returns=int)
    return number


@workflow(name="serving_cart")
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = []

    async def run(self) -> list[str]:
        self.items.append(await word.receive())
        return self.items

    @perdure.update
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @perdure.query
    def look(self) -> list[str]:
        return self.items


@workflow(name="serving_broken")
async def broken() -> str:
    return object() if _is_broken else "mended"  # type: ignore[return-value]


async def serve(drain: str) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(sys.stdin.fileno(), lambda: (os.read(sys.stdin.fileno(), 100), gate.set()))
    store = SqliteStore(_folder / "perdure.db")
    async with Engine(store, name=str(os.getpid()), drain=drain, limits=Limits(attempts_running_max=RUNNING_MAX)) as engine:
        tell("node" if engine.is_node else "standby")
        await over.wait()
        tell("closing")
    await store.close()


if __name__ == "__main__":
    _folder, _is_broken = Path(sys.argv[1]), "broken" in sys.argv
    asyncio.run(serve(sys.argv[2]))
