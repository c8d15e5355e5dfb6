"""A node of the torture: a process with an engine on the cluster, until it is told to drain, or is killed."""

import asyncio
import logging
import os
import signal
import sys

import msgspec
from msgspec import Struct

from perdure import Engine, PerdureError
from perdure.model.errors import StoreUnavailable
from perdure.stores.postgres.store import PostgresStore
from tests.torture import bank, planted

logger = logging.getLogger("torture.node")


class Life(Struct):
    """One life of a node. ``fault``: the name of a fault to plant in it. ``work_s``: how long its actions dawdle."""

    name: str
    url: str
    lease: str = "3s"
    work_s: float = 0.01
    fault: str = ""


async def live(life: Life) -> None:
    """Move runs until SIGTERM comes."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bank.till.url, bank.till.node, bank.till.work_s = life.url, life.name, life.work_s
    store = PostgresStore(f"{life.url}&application_name=node-{life.name}")
    engine = Engine(store, name=life.name, lease=life.lease, drain="5s")
    planted.plant_in_node(life.fault)
    if not await _opened(engine, stop):
        return
    logger.info("open")
    await stop.wait()
    logger.info("draining")
    await engine.close()
    await store.close()
    logger.info("closed")


async def _opened(engine: Engine, stop: asyncio.Event) -> bool:
    while not stop.is_set():
        try:
            await engine.open()
        except StoreUnavailable as error:
            logger.info("not open yet: %s", error)
            await asyncio.sleep(0.2)
        else:
            return True
    return False


def main() -> None:
    life = msgspec.json.decode(sys.argv[1], type=Life)
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s.%(msecs)03d {life.name}/{os.getpid()} %(message)s", datefmt="%H:%M:%S")
    try:
        asyncio.run(live(life))
    except PerdureError:
        logger.exception("the node ended")
        raise


if __name__ == "__main__":
    main()
