"""The process that is killed: ``python -m perdure.demo.engine STORE LEDGER`` runs the workflows of the demo until it is told to stop.

It ends on SIGTERM, in good order, and when its standard input closes: a parent that died takes it along.
"""

import asyncio
import logging
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from perdure import Engine
from perdure.demo.workflow import ledger, registry

THREADS = 2
CONNECTIONS = 8


async def serve(store: str) -> None:
    """Move the runs of the store until SIGTERM or the end of standard input."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # So many requests at once, on any machine: the viewer is to see something.
    loop.set_default_executor(ThreadPoolExecutor(CONNECTIONS))
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)
    async with Engine(store, registry=registry, threads=THREADS) as engine:
        if not engine.is_node:
            raise SystemExit(f"another engine runs on {store} already")
        print("ready", flush=True)
        await stop.wait()
    loop.remove_reader(sys.stdin.fileno())


def main(store: str, ledger_path: str) -> None:
    """Serve, with the ledger open for appending: a line is in the file before the attempt it tells of begins."""
    handler = logging.FileHandler(ledger_path)
    handler.setFormatter(logging.Formatter("%(process)d\t%(message)s"))
    ledger.addHandler(handler)
    ledger.setLevel(logging.INFO)
    ledger.propagate = False
    asyncio.run(serve(store))


if __name__ == "__main__":
    main(*sys.argv[1:])
