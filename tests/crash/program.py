"""The program that is killed: an image pipeline in 191 branches, and a ledger outside of the store of every effect it has."""

import asyncio
import hashlib
import os
import random
import signal
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

import perdure
from perdure import Engine, Limits, action, workflow
from perdure.model.ids import RunId
from perdure.model.run import RunRow
from perdure.ports.store import Batch
from perdure.stores.sqlite import SqliteStore

SIZES = range(10, 10 + 191)
CALLS = 1 + 2 * len(SIZES)


class Life(Struct):
    """One life of the process. ``commit``: the number of the commit ``before`` or ``after`` which it kills itself."""

    number: int
    folder: str
    run: str
    commit: int | None = None
    when: str = ""
    kill_s: float | None = None


_here: Life


def write_effect(image: bytes) -> str:
    """The effect: a line in the ledger. One ``write`` to a file open for appending is whole, and outlives the process."""
    attempt = perdure.attempt()
    ledger = os.open(Path(_here.folder, "ledger"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{attempt.key} {attempt.number} {_here.number}\n".encode())
    os.close(ledger)
    return hashlib.sha256(image).hexdigest()[:12]


@action(name="crash_download")
async def download(url: str) -> bytes:
    return write_effect(url.encode()).encode()


@action(name="crash_crop")
async def crop(image: bytes, size: int) -> bytes:
    write_effect(image)
    await asyncio.sleep(random.random() * 0.004)
    return image + b"/%d" % size


@action(name="crash_upload")
async def upload(image: bytes) -> str:
    await asyncio.sleep(random.random() * 0.004)
    return f"store://{write_effect(image)}"


@workflow(name="crash_thumbnails")
async def thumbnails(url: str) -> list[str]:
    image = await download(url)

    async def one(size: int) -> str:
        return await upload(await crop(image, size))

    return await asyncio.gather(*(one(size) for size in SIZES))


class MortalStore(SqliteStore):
    """Kills its own process at a chosen commit."""

    def __init__(self, path: Path, life: Life) -> None:
        super().__init__(path)
        self._life = life
        self._count = 0

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        self._count += 1
        is_last = self._count == self._life.commit
        if is_last and self._life.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        refused = await super().commit(batch)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return refused


async def live(life: Life) -> None:
    """Start the run, or go on with it, until it has ended or the process has."""
    global _here
    _here = life
    store = MortalStore(Path(life.folder, "perdure.db"), life)
    async with Engine(store, name="node", limits=Limits(attempts_running_max=8)) as engine:
        run = await engine.start(thumbnails.options(id=life.run), "image://one")
        await run.result()
    await store.close()
