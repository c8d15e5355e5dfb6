"""The client of such a storm: starts errands, waits for each, and sees that it is right. Ends with 0 if all came to what they should."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from perdure import Engine
from perdure.model.errors import AnswerOverdue, StoreUnavailable
from tests.torture.far import errands

logger = logging.getLogger("torture.client")


class Wishes(Struct):
    """What the client is to do. ``told``: the file of the starts that were acknowledged."""

    url: str
    seed: int
    told: str
    tellers: int
    spans_s: tuple[float, ...]
    pause_s: float = 0.05


class Client:
    def __init__(self, wishes: Wishes, engine: Engine, file: Any) -> None:
        self._wishes = wishes
        self._engine = engine
        self._file = file
        self.is_over = False
        self.wrong = 0

    async def work(self) -> None:
        """Start errands until it is over, and wait for their ends."""
        async with asyncio.TaskGroup() as group:
            for teller in range(self._wishes.tellers):
                group.create_task(self._serve(teller))

    async def _serve(self, teller: int) -> None:
        number = 0
        while not self.is_over:
            random = Random(f"{self._wishes.seed} {teller} {number}")
            await self._one(f"errand-{teller}-{number}", random)
            await asyncio.sleep(2 * self._wishes.pause_s * random.random())
            number += 1

    async def _one(self, id: str, random: Random) -> None:
        number, span_s, is_loaded = random.randrange(1_000), random.choice(self._wishes.spans_s), random.random() < 0.1
        run = await insist(lambda: self._engine.start(errands.errand.options(id=id), number, span_s, is_loaded))
        self._file.write(f"{id}\n")
        self._file.flush()
        result = await insist(run.result)
        if result != errands.result_of(number, is_loaded=is_loaded):
            self.wrong += 1
            logger.error("%s came to %r", id, result)


async def insist(ask: Any) -> Any:
    """Ask until there is an answer."""
    while True:
        try:
            return await ask()
        except (StoreUnavailable, AnswerOverdue) as error:
            logger.info("asking again: %s", error)
            await asyncio.sleep(0.2)


async def live(wishes: Wishes) -> int:
    """Work until SIGTERM comes; gives how many errands came to something else."""
    with contextlib.closing(Path(wishes.told).open("a")) as file:  # noqa: ASYNC230  # A line is written in microseconds.
        async with Engine(wishes.url, is_client=True, patience="5s") as engine:
            client = Client(wishes, engine, file)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(client, "is_over", True))
            await client.work()
    return client.wrong


def main() -> None:
    wishes = msgspec.json.decode(sys.argv[1], type=Wishes)
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s.%(msecs)03d client/{os.getpid()} %(message)s", datefmt="%H:%M:%S")
    sys.exit(1 if asyncio.run(live(wishes)) else 0)


if __name__ == "__main__":
    main()
